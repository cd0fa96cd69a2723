"""Every HTTP route, by its OpenAPI document: no 5xx, and responses that are what the document says."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
import requests
import schemathesis
from fuzz_store import drop_schedules, furnish
from fuzz_suite import Suite
from hypothesis import given
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi import checks
from waybill_gateway.openapi import OPERATIONS
from waybill_gateway.openapi_document import document

CHECKS = [
    not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_schema_conformance,
]
SECONDS = 60
STREAMS = {operation.id for operation in OPERATIONS if operation.streams}
COLLECTIONS = {
    "task": "tasks/",
    "step": "tasks/",
    "agent": "agents/",
    "letter": "deadLetters/",
    "limit": "limits/",
    "schedule": "schedules/",
    "template": "templates/",
}
NAMES = [operation.id for operation in OPERATIONS]


@pytest.fixture(scope="module")
def known(quiet: Suite) -> Iterator[list[str]]:
    """What can be named in the quiet suite, which is quiet again afterwards: no schedule is left to fire."""
    yield asyncio.run(furnish(quiet))
    asyncio.run(drop_schedules(quiet))


@pytest.mark.parametrize("name", [name for name in NAMES if name not in STREAMS])
def test_any_request_gets_what_the_document_says(quiet: Suite, known: list[str], name: str) -> None:
    operation = schemathesis.openapi.from_dict(document()).find_operation_by_id(name)
    fitting, wrong = (operation.as_strategy(generation_mode=mode) for mode in GenerationMode)

    @given(fitting | wrong if can_be_wrong(operation) else fitting, st.data())
    def holds(case: schemathesis.Case, data: st.DataObject) -> None:
        choose_names(case, known, data)
        case.call_and_validate(base_url=quiet.http, checks=CHECKS, timeout=SECONDS)

    holds()
    quiet.assert_serving()


@pytest.mark.parametrize("name", [name for name in NAMES if name in STREAMS])
def test_any_request_for_a_stream_gets_events_or_what_the_document_says(
    quiet: Suite, known: list[str], name: str
) -> None:
    operation = schemathesis.openapi.from_dict(document()).find_operation_by_id(name)
    fitting, wrong = (operation.as_strategy(generation_mode=mode) for mode in GenerationMode)

    @given(fitting | wrong, st.data())
    def holds(case: schemathesis.Case, data: st.DataObject) -> None:
        choose_names(case, known, data)
        sent = case.as_transport_kwargs(base_url=quiet.http)
        with requests.Session() as session, session.request(**sent, timeout=SECONDS, stream=True) as response:
            assert str(response.status_code) in operation.definition.raw["responses"], response.text
            kind = response.headers.get("content-type", "").partition(";")[0]
            if response.status_code == requests.codes.ok:
                assert kind == "text/event-stream"
                assert next(response.iter_lines()).startswith((b"id: ", b"event: ", b": "))
            elif response.status_code != requests.codes.no_content:
                assert kind == "application/problem+json"
                assert response.json()["status"] == response.status_code

    holds()
    quiet.assert_serving()


def choose_names(case: schemathesis.Case, known: list[str], data: st.DataObject) -> None:
    """Put names of what there is in place of some parameters of the path."""
    for parameter in case.path_parameters or {}:
        if names := [item for item in known if item.startswith(COLLECTIONS[parameter])]:
            chosen = data.draw(st.sampled_from(names) | st.none())
            if chosen is not None:
                case.path_parameters[parameter] = chosen.rpartition("/")[2]


def can_be_wrong(operation: Any) -> bool:
    """Whether a request can be made that the document does not allow."""
    return bool(operation.path_parameters or operation.query or operation.body)
