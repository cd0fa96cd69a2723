"""The OpenAPI 3.1 document of the HTTP API, made from the table of operations, the forms and the contracts."""

from __future__ import annotations

import re
from functools import cache
from importlib.metadata import version
from typing import Any

import msgspec
from google.protobuf import descriptor as pb
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from waybill.api.v1 import gateway_pb2
from waybill.rpc.caller import TENANT_KEY
from waybill_gateway.contract_notes import field_note, notes
from waybill_gateway.filters import PARAMETERS
from waybill_gateway.http_bodies import IDEMPOTENCY_KEY
from waybill_gateway.http_errors import PROBLEM_JSON
from waybill_gateway.http_requests import LAST_EVENT_ID
from waybill_gateway.openapi import IN_PATH, OPERATIONS, PLAIN_OPERATIONS, TAGS, Operation, tag_of
from waybill_gateway.openapi_examples import ANSWERS, PROBLEM_EXAMPLE, REQUESTS
from waybill_gateway.openapi_schemas import PROBLEM, Schema, form_schemas, reference, resource_schemas, used_schemas

_SERVICE = gateway_pb2.DESCRIPTOR.services_by_name["GatewayService"]
_FIELDS = {parameter: field for field, parameter in PARAMETERS.items()}
_TENANT = "Whom the caller speaks for: 1 to 64 letters, digits, `.`, `_` and `-`. Without it the tenant is `default`."
_REQUEST_ID = (
    "Names the request, as `request_id` does: repeated with the same one within a day it changes nothing more."
)
_INTRODUCTION = """\
Waybill runs multi-step agent tasks, and loses none that it accepted. This is the HTTP form of its API; the same calls
are there over gRPC.

- Names are snake_case, times RFC 3339, payloads stand inline as JSON. A field that is not known is refused.
- Money is in millionths of a US dollar (`microusd`), durations are in milliseconds (`ms`).
- Every call that changes something may carry `Idempotency-Key`; send it again with the same key if its answer was lost.
- Errors are problem details (RFC 9457). [Problems](/docs/problems) tells what each reason means and what helps.
- Streams are Server-Sent Events. Go on after a break with the id of the last event as `Last-Event-ID`.
"""
_FAILURES = {
    "400": ("Refused", "A field is wrong: `violations` names it."),
    "403": ("OtherOrigin", "A web page of another origin sent it."),
    "404": ("Missing", "There is no such thing for this tenant."),
    "405": ("OtherMethod", "Another method is meant; `Allow` names them."),
    "409": ("Conflict", "Its state does not allow the call, or the request id was used for another call."),
    "410": ("Gone", "What the cursor stands for is not kept any more."),
    "413": ("TooLarge", "The body is too large."),
    "429": ("Exhausted", "The store is full, or a limit of the gateway is reached; try again later."),
    "503": ("Unavailable", "The store or a service is away; try again."),
}
_HEADERS: dict[str, dict[str, Any]] = {
    "405": {"Allow": {"description": "The methods that are possible.", "schema": {"type": "string"}}},
    "429": {"Retry-After": {"description": "Seconds to wait.", "schema": {"type": "integer", "minimum": 0}}},
    "503": {"Retry-After": {"description": "Seconds to wait.", "schema": {"type": "integer", "minimum": 0}}},
}


@cache
def document() -> dict[str, Any]:
    """The document."""
    paths: dict[str, dict[str, Any]] = {}
    for operation in (*OPERATIONS, *PLAIN_OPERATIONS):
        paths.setdefault(operation.path, {})[operation.method.lower()] = _described(operation)
    forms = {(operation.form, request_of(operation)) for operation in OPERATIONS if operation.form is not None}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Waybill",
            "version": version("waybill"),
            "summary": "Multi-step agent tasks that are never lost.",
            "description": _INTRODUCTION,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/", "description": "This gateway."}],
        "security": [{"tenant": []}, {}],
        "tags": [{"name": name, "description": meaning} for name, (_, meaning) in TAGS.items()],
        "paths": paths,
        "components": {
            "schemas": used_schemas(paths, {**resource_schemas(), **form_schemas(forms), "Problem": PROBLEM}),
            "responses": {name: _failure(status) for status, (name, _) in _FAILURES.items()},
            "securitySchemes": {
                "tenant": {"type": "apiKey", "in": "header", "name": TENANT_KEY, "description": _TENANT}
            },
        },
    }


def request_of(operation: Operation) -> pb.Descriptor:
    """The message that a call is made into."""
    return _SERVICE.methods_by_name[operation.name].input_type


def openapi_routes() -> list[BaseRoute]:
    """The route of the document, which is made when it is first asked for."""

    async def openapi(_request: Request) -> Response:
        """`GET /openapi.json`: the OpenAPI document of all of this."""
        return Response(_written(), media_type="application/json")

    return [Route("/openapi.json", openapi, methods=["GET"])]


@cache
def _written() -> bytes:
    return msgspec.json.encode(document())


def _described(operation: Operation) -> dict[str, Any]:
    described: dict[str, Any] = {
        "operationId": operation.id,
        "tags": [tag_of(operation.path)],
        "summary": operation.summary.rstrip("."),
        "responses": {
            "200": _answer(operation),
            **({"204": {"description": "The task has ended, and all was seen."}} if operation.may_be_empty else {}),
        },
    }
    if operation.name in notes().rpcs:
        meaning, _, errors = notes().rpcs[operation.name].partition(" Errors: ")
        described["description"] = f"{meaning}\n\nErrors: {errors}" if errors else meaning
        described["responses"] |= {
            status: {"$ref": f"#/components/responses/{name}"} for status, (name, _) in _FAILURES.items()
        }
    else:
        described["security"] = []
    if parameters := _parameters(operation):
        described["parameters"] = parameters
    if operation.form is not None:
        content: dict[str, Any] = {"schema": reference(operation.form.__name__)}
        if operation.name in REQUESTS:
            content["examples"] = {name: {"value": value} for name, value in REQUESTS[operation.name].items()}
        described["requestBody"] = {"required": operation.needs_body, "content": {"application/json": content}}
    return described


def _answer(operation: Operation) -> dict[str, Any]:
    content: dict[str, Any] = {"schema": operation.answer}
    if operation.id in ANSWERS:
        content["example"] = ANSWERS[operation.id]
    if operation.streams:
        content["x-events"] = dict(operation.events)
    kind = "text/event-stream" if operation.streams else operation.media_type
    return {"description": operation.told, "content": {kind: content}}


def _parameters(operation: Operation) -> list[dict[str, Any]]:
    parameters = [_parameter("path", name, IN_PATH[name]) for name in re.findall(r"\{(\w+)\}", operation.path)]
    for name, schema in operation.query:
        message = request_of(operation)
        note = field_note(message, name) or field_note(_filter_of(message), _FIELDS.get(name, name))
        parameters.append(_parameter("query", name, {"description": note, **schema}))
    if operation.takes_key:
        schema = {"type": "string", "pattern": "^[!-~]{1,128}$", "description": _REQUEST_ID}
        parameters.append(_parameter("header", IDEMPOTENCY_KEY, schema))
    if operation.streams:
        parameters.append(_parameter("header", LAST_EVENT_ID, operation.last_event_id))
    return parameters


def _filter_of(message: pb.Descriptor) -> pb.Descriptor | None:
    inner = message.fields_by_name.get("filter")
    return inner.message_type if inner is not None else None


def _parameter(where: str, name: str, schema: Schema) -> dict[str, Any]:
    """A parameter, whose description moves out of its schema."""
    bare = {key: value for key, value in schema.items() if key != "description"}
    parameter = {"in": where, "name": name, "required": where == "path", "schema": bare}
    return {**parameter, "description": schema["description"]} if schema.get("description") else parameter


def _failure(status: str) -> dict[str, Any]:
    content: dict[str, Any] = {"schema": reference("Problem")}
    if status == str(PROBLEM_EXAMPLE["status"]):
        content["example"] = PROBLEM_EXAMPLE
    failure = {"description": _FAILURES[status][1], "content": {PROBLEM_JSON: content}}
    return {**failure, "headers": _HEADERS[status]} if status in _HEADERS else failure
