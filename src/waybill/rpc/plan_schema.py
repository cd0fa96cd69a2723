"""The JSON Schema of plan files, made from the forms that read them, and what in a value does not fit it."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache, reduce
from typing import Any

import msgspec
from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError

from waybill.core.violations import closest, shown
from waybill.core.written import part_of
from waybill.errors import Violation
from waybill.rpc.plan_forms import SCHEMA_KEY, PlanForm

DIALECT = "https://json-schema.org/draft/2020-12/schema"

_REFERENCE = "#/$defs/{name}"
_HINTS = frozenset({"pattern", "minLength", "maxLength", "minItems", "maxItems", "uniqueItems"})
"""What the schema says beside the forms: it is checked where plans are linked."""


def plan_schema() -> dict[str, Any]:
    """The schema of a plan file, for editors and programs."""
    return file_schema(PlanForm, "Waybill plan")


def file_schema(form: type[msgspec.Struct], title: str) -> dict[str, Any]:
    """The schema of a file that fills in a form, which may also name this schema."""
    _, definitions = msgspec.json.schema_components([form], ref_template=_REFERENCE)
    root = _told(definitions.pop(form.__name__))
    root["properties"] = {SCHEMA_KEY: {"type": "string", "description": "This schema."}, **root["properties"]}
    named = {name: _told(definition) for name, definition in sorted(definitions.items())}
    return {SCHEMA_KEY: DIALECT, **root, "title": title, "$defs": named}


def structure_violations(value: Any) -> list[Violation]:
    """Every field of a plan's JSON value that is unknown, missing, of a wrong type or out of its range."""
    return [
        Violation(reduce(part_of, path, "") or "plan", problem)
        for error in _structure().iter_errors(value)
        for path, problem in _problems(error)
    ]


def _told(definition: dict[str, Any]) -> dict[str, Any]:
    """A definition without names and defaults of the forms, which stand for what was left out."""
    told = {key: value for key, value in definition.items() if key != "title"}
    if "properties" in told:
        told["properties"] = {
            name: {key: value for key, value in field.items() if key != "default"}
            for name, field in told["properties"].items()
        }
    return told


@cache
def _structure() -> Draft202012Validator:
    return Draft202012Validator(_bare(plan_schema()))


def _bare(schema: Any) -> Any:
    if isinstance(schema, dict):
        return {
            key: {name: _bare(field) for name, field in value.items()}
            if key in ("properties", "$defs")
            else _bare(value)
            for key, value in schema.items()
            if key not in _HINTS
        }
    return [_bare(item) for item in schema] if isinstance(schema, list) else schema


def _problems(error: ValidationError) -> Iterator[tuple[list[str | int], str]]:
    """What an error is about, field by field."""
    path = list(error.absolute_path)
    schema: Any = error.schema
    instance: Any = error.instance
    wanted: Any = error.validator_value
    match error.validator:
        case "additionalProperties":
            known = schema["properties"]
            for name in instance:
                if name not in known:
                    yield [*path, name], f"is not a known field{closest(name, known)}"
        case "required":
            for name in wanted:
                if name not in instance:
                    yield [*path, name], "is required"
        case "anyOf":
            inners = [inner for inner in error.context or () if inner.validator_value != "null"]
            for inner in inners:
                yield from _problems(inner)
        case "type":
            yield path, f"must be of type {_listed(wanted)}, and is {_kind(instance)}"
        case "enum":
            yield path, f"must be one of {_listed(wanted)}, and is {shown(str(instance))}"
        case "minimum" | "maximum":
            bound = "at least" if error.validator == "minimum" else "at most"
            yield path, f"is {instance}, and must be {bound} {wanted}"
        case _:
            yield path, error.message[:300]


def _listed(names: Any) -> str:
    return names if isinstance(names, str) else " or ".join(map(str, names))


def _kind(value: Any) -> str:
    if isinstance(value, bool):
        return "boolean"
    names = {str: "string", int: "integer", float: "number", list: "array", dict: "object"}
    return names.get(type(value), "null")
