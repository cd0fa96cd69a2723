"""The OpenAPI document says what the app does, all that it does, and no more."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from google.protobuf import descriptor as pb
from jsonschema import Draft202012Validator
from openapi_spec_validator import OpenAPIV31SpecValidator
from starlette.routing import Route
from waybill_gateway.contract_notes import field_note
from waybill_gateway.filters import PARAMETERS
from waybill_gateway.http_app import build_app
from waybill_gateway.openapi import OPERATIONS, PLAIN_OPERATIONS, TAGS, Operation
from waybill_gateway.openapi_document import document, request_of
from waybill_gateway.openapi_examples import ANSWERS, REQUESTS
from waybill_gateway.settings import GatewaySettings

from waybill.api.v1 import gateway_pb2, task_pb2

PAGES = ("/console/", "/docs")
"""Paths of pages for people, which are no part of the API."""
BY_OTHER_NAMES = {
    "WatchTaskRequest.after_digest": "part of Last-Event-ID",
    "RunTaskRequest.after_digest": "part of Last-Event-ID",
    "WatchTasksRequest.names": "name, as often as wanted",
    "Document.data": "text, or data_base64",
    "Limit.learned_tokens_per_minute": "set by the server",
    "Limit.learned_concurrency": "set by the server",
    "Schedule.name": "id, or in the path",
    "Schedule.paused": "given on creation, and by routes of its own",
}
"""Fields that no form or parameter is named after, and why."""
IN_PATH = {"name": "{", "parent": "{", "step": "{step}"}
"""Fields that a path names."""
OF_REQUESTS = sorted({operation.name for operation in OPERATIONS})


async def ready() -> bool:
    return True


def is_page(path: str) -> bool:
    return path == "/" or path.startswith(PAGES)


def operations_of(rpc: str) -> list[Operation]:
    return [operation for operation in OPERATIONS if operation.name == rpc]


def described(operation: Operation) -> dict[str, Any]:
    return document()["paths"][operation.path][operation.method.lower()]


def test_the_document_names_every_route_and_no_other():
    app = build_app(None, GatewaySettings(), ready)
    routes = [route for route in app.routes if isinstance(route, Route) and not is_page(route.path)]
    served = {(method, route.path) for route in routes for method in route.methods if method != "HEAD"}
    listed = {(method.upper(), path) for path, methods in document()["paths"].items() for method in methods}
    assert served == listed


def test_every_rpc_has_a_route_and_every_route_an_rpc():
    rpcs = {method.name for method in gateway_pb2.DESCRIPTOR.services_by_name["GatewayService"].methods}
    assert {operation.name for operation in OPERATIONS} == rpcs
    assert not rpcs & {operation.name for operation in PLAIN_OPERATIONS}


@pytest.mark.parametrize("rpc", OF_REQUESTS)
def test_every_field_of_a_request_can_be_given_over_http(rpc):
    operations = operations_of(rpc)
    given = {name: {} for operation in operations for name, _ in operation.query}
    given |= {field: {} for field, parameter in PARAMETERS.items() if parameter in given}
    given |= {name: {} for name, part in IN_PATH.items() if any(part in operation.path for operation in operations)}
    for operation in operations:
        if operation.form is not None:
            given |= properties_of(operation.form.__name__)
    missing = list(missing_of(request_of(operations[0]), given, ()))
    assert missing == [], "give them by path, query or body, or say in BY_OTHER_NAMES how else"


def properties_of(form: str) -> dict[str, Any]:
    return document()["components"]["schemas"][form].get("properties", {})


def missing_of(message: pb.Descriptor, given: dict[str, Any], within: tuple[str, ...]) -> Iterator[str]:
    """The fields of a message that what is given leaves out; what is given may name the fields of messages in it."""
    for field in message.fields:
        kind = field.message_type
        holds_fields = kind is not None and kind.name in document_messages() and kind.name not in (*within, "Payload")
        if field.name in given:
            for form in references(given[field.name]) if holds_fields else ():
                yield from missing_of(kind, properties_of(form), (*within, message.name))
        elif holds_fields and not field.is_repeated:
            yield from missing_of(kind, given, (*within, message.name))
        elif "Set by the server" not in field_note(message, field.name):
            name = f"{message.name}.{field.name}"
            yield from () if name in BY_OTHER_NAMES else (name,)


def document_messages() -> set[str]:
    return {*task_pb2.DESCRIPTOR.message_types_by_name, *gateway_pb2.DESCRIPTOR.message_types_by_name}


def references(item: Any) -> Iterator[str]:
    """The schemas that something refers to."""
    if isinstance(item, dict):
        if isinstance(item.get("$ref"), str) and item["$ref"].startswith("#/components/schemas/"):
            yield item["$ref"].removeprefix("#/components/schemas/")
        item = list(item.values())
    if isinstance(item, list):
        for inner in item:
            yield from references(inner)


def test_the_document_is_valid():
    OpenAPIV31SpecValidator(document()).validate()


def test_no_two_operations_have_one_id():
    ids = [operation.id for operation in (*OPERATIONS, *PLAIN_OPERATIONS)]
    assert len(ids) == len(set(ids))


def test_every_schema_of_the_document_is_referred_to():
    reached, waiting = (
        set(),
        list(references(document()["paths"])) + list(references(document()["components"]["responses"])),
    )
    while waiting:
        name = waiting.pop()
        if name not in reached:
            reached.add(name)
            waiting += references(document()["components"]["schemas"][name])
    assert document()["components"]["schemas"].keys() == reached


def test_everything_is_described():
    for name, schema in document()["components"]["schemas"].items():
        assert schema.get("description"), name
        silent = [key for key, field in schema.get("properties", {}).items() if not field.get("description")]
        assert silent == [], f"of {name}"
    for path, methods in document()["paths"].items():
        for method, operation in methods.items():
            silent = [item["name"] for item in operation.get("parameters", []) if not item.get("description")]
            assert silent == [], f"of {method} {path}"
            assert operation["summary"]
            assert operation["tags"][0] in TAGS


@pytest.mark.parametrize("rpc", OF_REQUESTS)
def test_every_example_fits_its_schema(rpc):
    for operation in operations_of(rpc):
        shown = described(operation)
        for example in REQUESTS.get(rpc, {}).values():
            assert problems(shown["requestBody"]["content"]["application/json"]["schema"], example) == []
        if operation.id in ANSWERS:
            content = next(iter(shown["responses"]["200"]["content"].values()))
            assert problems(content["schema"], ANSWERS[operation.id]) == []


def problems(schema: dict[str, Any], value: Any) -> list[str]:
    whole = {**schema, "components": document()["components"]}
    return [error.message for error in Draft202012Validator(whole).iter_errors(value)]


def test_every_example_belongs_to_an_operation():
    assert REQUESTS.keys() <= set(OF_REQUESTS)
    assert ANSWERS.keys() <= {operation.id for operation in OPERATIONS}


@pytest.mark.parametrize("operation", [item for item in OPERATIONS if item.takes_key], ids=lambda item: item.id)
async def test_every_call_that_changes_something_takes_the_key_of_a_request(http, dispatcher, operation):
    path = re.sub(r"\{(\w+)\}", lambda name: NAMES[name[1]], operation.path)
    body = {**next(iter(REQUESTS.get(operation.name, {}).values()), {}), "request_id": ""}
    two = [("Idempotency-Key", "one"), ("Idempotency-Key", "another")]
    answers = [
        await http.request(operation.method, path, json=body, headers=two),
        await http.request(operation.method, path, json={**body, "request_id": "one"}, headers=two[1:]),
        await http.request(operation.method, path, json=body, headers={"Idempotency-Key": "no key"}),
    ]
    assert [answer.status_code for answer in answers] == [400, 400, 400]
    named = [violation["field"] for answer in answers for violation in answer.json()["violations"]]
    assert named == ["Idempotency-Key", "Idempotency-Key", "request_id"]
    assert not dispatcher.requests_seen
    assert not dispatcher.tasks


NAMES = {
    "task": "t1",
    "step": "a",
    "agent": "echo",
    "limit": "agent:echo",
    "letter": "t1.2",
    "schedule": "nightly",
    "template": "summary",
}


async def test_the_document_is_served(http):
    response = await http.get("/openapi.json")
    assert response.status_code == 200
    assert response.json() == document()
