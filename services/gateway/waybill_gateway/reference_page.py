"""The pages for people who call the API: all operations with a form to try each, and all problems."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from html import escape
from http import HTTPStatus
from typing import Any

from waybill_gateway.problems import PROBLEMS
from waybill_gateway.reference_markup import anchor, block, code, line, page, prose, table
from waybill_gateway.reference_types import fields_of, kind_of, schema_section

_LINKS = (("Console", "./"), ("OpenAPI document", "openapi.json"), ("Problems", "docs/problems"))


def reference_page(document: Mapping[str, Any]) -> str:
    """The page of a whole OpenAPI document, as it stands at `/docs`."""
    info = document["info"]
    title = f"{info['title']} API {info['version']}"
    sections = [_tag(document, tag) for tag in document["tags"]]
    schemas = "".join(schema_section(name, schema) for name, schema in document["components"]["schemas"].items())
    body = (
        f"{_header(title, _LINKS, search=True)}<div class='columns'>{_contents(document)}"
        f'<main id="main"><section><h1>{escape(title)}</h1>{prose(info["description"])}</section>'
        f'{"".join(sections)}<section id="schemas"><h2>Schemas</h2>{schemas}</section></main></div>'
    )
    return page(title, "", body)


def problems_page() -> str:
    """The page of the reasons of refused calls, as it stands at `/docs/problems`."""
    sections = "".join(
        f'<section class="problem" id="{reason}"><h2>{escape(problem.title)}</h2>'
        f"<p>{code(reason)}</p>{prose(problem.remedy)}</section>"
        for reason, problem in PROBLEMS.items()
    )
    links = (("Console", "../"), ("API", "../docs"))
    told = "Why calls are refused, by the reason that each problem tells, and what to do."
    main = f'<main id="main"><section><h1>Problems</h1><p>{told}</p></section>{sections}</main>'
    return page("Waybill problems", "../", f"{_header('Waybill', links)}{main}")


def _header(title: str, links: tuple[tuple[str, str], ...], *, search: bool = False) -> str:
    anchors = "".join(f'<a href="{where}">{text}</a>' for text, where in links)
    field = '<input id="search" type="search" placeholder="Find a call" aria-label="Find a call">' if search else ""
    skip = '<a class="skip" href="#main">Skip to the content</a>'
    places = f'<nav aria-label="Places">{anchors}</nav>'
    return f'{skip}<header class="bar"><strong>{escape(title)}</strong>{places}{field}</header>'


def _operations(document: Mapping[str, Any], tag: str) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            if tag in operation["tags"]:
                yield method.upper(), path, operation


def _contents(document: Mapping[str, Any]) -> str:
    lists = []
    for tag in (item["name"] for item in document["tags"]):
        items = "".join(
            f'<li data-call="{escape(_sought(method, path, operation))}">'
            f'<a href="#{operation["operationId"]}"><span class="method">{method}</span> {escape(path)}</a></li>'
            for method, path, operation in _operations(document, tag)
        )
        lists.append(f'<section><h2><a href="#tag-{anchor(tag)}">{escape(tag)}</a></h2><ul>{items}</ul></section>')
    return f'<nav class="contents" aria-label="Calls">{"".join(lists)}</nav>'


def _sought(method: str, path: str, operation: dict[str, Any]) -> str:
    return f"{method} {path} {operation['operationId']} {operation['summary']}".lower()


def _tag(document: Mapping[str, Any], tag: dict[str, str]) -> str:
    calls = "".join(_operation(document, *found) for found in _operations(document, tag["name"]))
    name = tag["name"]
    return f'<section id="tag-{anchor(name)}"><h2>{escape(name)}</h2>{prose(tag["description"])}{calls}</section>'


def _operation(document: Mapping[str, Any], method: str, path: str, operation: dict[str, Any]) -> str:
    parts = [prose(operation.get("description", "")), _parameters(operation), _body(document, operation)]
    parts += [_answers(document, operation), _form(document, method, path, operation)]
    summary = (
        f'<summary><span class="method" data-method="{method}">{method}</span> {code(path)} '
        f'<span class="told">{line(operation["summary"])}</span></summary>'
    )
    named = f'id="{operation["operationId"]}" data-call="{escape(_sought(method, path, operation))}"'
    return f'<details class="call" {named}>{summary}{"".join(parts)}</details>'


def _parameters(operation: dict[str, Any]) -> str:
    rows = (
        (code(item["name"]), item["in"], kind_of(item["schema"]), line(item.get("description", "")))
        for item in operation.get("parameters", ())
    )
    shown = table(("Parameter", "In", "Type", "Meaning"), rows)
    return f"<h4>Parameters</h4>{shown}" if shown else ""


def _body(document: Mapping[str, Any], operation: dict[str, Any]) -> str:
    if "requestBody" not in operation:
        return ""
    content = operation["requestBody"]["content"]["application/json"]
    examples = "".join(
        f"<h5>{escape(name)}</h5>{block(example['value'])}" for name, example in content.get("examples", {}).items()
    )
    needed = "" if operation["requestBody"]["required"] else " <small>may be left out</small>"
    schema = content["schema"]
    return f"<h4>Body: {kind_of(schema)}{needed}</h4>{fields_of(_resolved(document, schema))}{examples}"


def _answers(document: Mapping[str, Any], operation: dict[str, Any]) -> str:
    rows, shown = [], ""
    for status, answer in operation["responses"].items():
        answer = _resolved(document, answer)
        contents: dict[str, dict[str, Any]] = answer.get("content") or {"": {}}
        for kind, content in contents.items():
            schema = content.get("schema", {})
            rows.append((code(status), line(answer["description"]), escape(kind), kind_of(schema) if schema else ""))
            if status == str(HTTPStatus.OK.value):
                shown += _events(content) + (fields_of(schema) if "properties" in schema else "")
                shown += block(content["example"]) if "example" in content else ""
    return f"<h4>Answers</h4>{table(('Status', 'Meaning', 'Media type', 'Type'), rows)}{shown}"


def _events(content: dict[str, Any]) -> str:
    rows = (
        (code(name), kind_of(schema), line(schema.get("description", "")))
        for name, schema in content.get("x-events", {}).items()
    )
    return table(("Event", "Data", "Meaning"), rows)


def _resolved(document: Mapping[str, Any], item: dict[str, Any]) -> dict[str, Any]:
    if "$ref" not in item:
        return item
    found: Any = document
    for part in item["$ref"].removeprefix("#/").split("/"):
        found = found[part]
    return dict(found)


def _form(document: Mapping[str, Any], method: str, path: str, operation: dict[str, Any]) -> str:
    """The form by which a call is tried; the script of the page sends it."""
    tenant = document["components"]["securitySchemes"]["tenant"]
    given = [] if operation.get("security") == [] else [{"in": "header", "name": tenant["name"]}]
    inputs = "".join(_input(operation["operationId"], item) for item in [*operation.get("parameters", ()), *given])
    body = ""
    if "requestBody" in operation:
        examples: dict[str, Any] = operation["requestBody"]["content"]["application/json"].get("examples", {})
        first = next((example["value"] for example in examples.values()), None) or {}
        name = f"{operation['operationId']}-body"
        text = block(first).removeprefix('<pre tabindex="0"><code>').removesuffix("</code></pre>")
        body = f'<label for="{name}">body</label><textarea id="{name}" name="body" spellcheck="false">{text}</textarea>'
    buttons = '<button type="submit">Send</button> <button type="button" data-stop hidden>Stop</button>'
    return (
        f'<form class="try" data-method="{method}" data-path="{escape(path)}"><h4>Try it</h4>{inputs}{body}'
        f'<div class="buttons">{buttons}</div>'
        '<output hidden><p class="status"></p><pre tabindex="0"><code></code></pre></output></form>'
    )


def _input(call: str, parameter: dict[str, Any]) -> str:
    name, needed = escape(parameter["name"]), " required" if parameter.get("required") else ""
    field = f'id="{call}-{name}" name="{name}" data-in="{parameter["in"]}"'
    return f'<label for="{call}-{name}">{name}</label><input {field}{needed} autocomplete="off">'
