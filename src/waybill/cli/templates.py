"""Owns the commands about plan templates, and the parameters that are typed for one."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from waybill.api.v1 import gateway_pb2
from waybill.cli import exits
from waybill.cli.gateway import client_of, json_line
from waybill.cli.layout import Column, print_table
from waybill.cli.lines import printable, readable
from waybill.cli.reading import Typed
from waybill.errors import InvalidArgument
from waybill.rpc.templates import COLLECTION, template_to_json
from waybill.templates import Template

_TEMPLATES = (("template", Column.NAME), ("parameters", Column.TEXT), ("what it does", Column.CUT))
_PARAMETERS = (
    ("parameter", Column.NAME),
    ("type", Column.NAME),
    ("default", Column.TEXT),
    ("meaning", Column.TEXT),
)


async def list_templates(address: str, tenant: str, *, as_json: bool) -> int:
    """Print the templates by name."""
    async with client_of(address, tenant) as client:
        found = (await client.call("ListTemplates", gateway_pb2.ListTemplatesRequest())).templates
    if as_json:
        for template in found:
            print(json_line(template_to_json(template)))
        return exits.OK
    rows = [Template.of(template) for template in found]
    if rows:
        print_table(_TEMPLATES, [(row.id, _signature(row), printable(row.description)) for row in rows])
    else:
        exits.say("the planner has no templates: name a folder of them with `waybill up --templates DIR`")
    return exits.OK


async def show_template(address: str, tenant: str, name: str, *, as_json: bool) -> int:
    """Print a template with its parameters and its plan."""
    asked = gateway_pb2.GetTemplateRequest(name=COLLECTION + name.removeprefix(COLLECTION))
    async with client_of(address, tenant) as client:
        found = (await client.call("GetTemplate", asked)).template
    if as_json:
        print(json_line(template_to_json(found)))
        return exits.OK
    template = Template.of(found)
    print(template.id)
    if template.description:
        print(readable(template.description))
    if _properties(template):
        print()
        print_table(_PARAMETERS, list(_rows(template)))
    from waybill.core.yaml_writing import yaml_text  # no other command needs YAML

    print()
    print(yaml_text(template.plan), end="")
    return exits.OK


async def typed_parameters(address: str, tenant: str, typed: Typed) -> Mapping[str, Any] | None:
    """The parameters that were typed as NAME=VALUE, each as its template's schema wants it; None if none were.

    Raises `InvalidArgument`, and `NotFound` for a template that does not exist.
    """
    if not typed.parameters:
        return None
    pairs = [_pair(text) for text in typed.parameters]
    if not typed.template or typed.goal or typed.plan is not None:
        raise InvalidArgument.of_field("--param", "is for a template: give --template, and neither --goal nor --plan")
    async with client_of(address, tenant) as client:
        properties = _properties(await client.template(typed.template))
    return {name: value_of(text, properties.get(name)) for name, text in pairs}


def value_of(text: str, schema: Any) -> Any:
    """What a typed text stands for: itself where only texts will do, else the JSON that it is, if it is JSON."""
    if isinstance(schema, dict) and (schema.get("type") == "string" or _is_choice_of_texts(schema)):
        return text
    try:
        return msgspec.json.decode(text)
    except (ValueError, RecursionError):
        return text


def _is_choice_of_texts(schema: Mapping[str, Any]) -> bool:
    choices = schema.get("enum", [schema["const"]] if "const" in schema else [])
    return bool(choices) and all(isinstance(choice, str) for choice in choices)


def _pair(text: str) -> Sequence[str]:
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise InvalidArgument.of_field("--param", f"{text!r} is not of the form name=value")
    return name, value


def _properties(template: Template) -> Mapping[str, Any]:
    found: Mapping[str, Any] = template.parameters_schema.get("properties", {})
    return found


def _signature(template: Template) -> str:
    required = template.parameters_schema.get("required", ())
    return " ".join(name if name in required else f"[{name}]" for name in _properties(template))


def _rows(template: Template) -> Iterator[Sequence[str]]:
    required = template.parameters_schema.get("required", ())
    for name, schema in _properties(template).items():
        told = schema if isinstance(schema, dict) else {}
        default = "required" if name in required else json.dumps(told.get("default"), ensure_ascii=False)
        yield name, _type(told), printable(default), printable(str(told.get("description", "")))


def _type(schema: Mapping[str, Any]) -> str:
    kind = schema.get("type", "any")
    return printable(" or ".join(map(str, kind)) if isinstance(kind, list) else str(kind))
