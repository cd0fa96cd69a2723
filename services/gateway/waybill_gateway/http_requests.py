"""Reading HTTP requests: who calls, the body under its cap, and query parameters, each checked by name."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Collection
from typing import TypeVar

from starlette.requests import Request

from waybill.api.v1 import gateway_pb2, task_pb2
from waybill.core.limits import MIB
from waybill.core.task import TaskState
from waybill.errors import InvalidArgument
from waybill.rpc.caller import DEFAULT_TENANT, TENANT_KEY, checked_tenant
from waybill.rpc.enums import TASK_STATE_TO_PROTO
from waybill.rpc.specs import submission_from_json
from waybill_gateway.caller import Caller
from waybill_gateway.filters import PARAMETERS, check_filter
from waybill_gateway.http_bodies import IDEMPOTENCY_KEY, Named, chosen_request_id, read_action, time_of
from waybill_gateway.http_errors import BodyTooLarge
from waybill_gateway.place import Place

LAST_EVENT_ID = "last-event-id"
DISCARDED_BYTES = 64 * MIB
DISCARDING_SECONDS = 5.0

_NUMBER = re.compile(r"[0-9]{1,18}")
_EVENT_ID = re.compile(r"(?P<sequence>[0-9]{1,18})(\.(?P<digest>[0-9a-f]{8}))?")
_Form = TypeVar("_Form", bound=Named)


def task_of(request: Request) -> str:
    """Resource name of the task in a request's path."""
    return f"tasks/{request.path_params['task']}"


def step_of(request: Request) -> str:
    """Resource name of the step in a request's path."""
    return f"{task_of(request)}/steps/{request.path_params['step']}"


def schedule_of(request: Request) -> str:
    """Resource name of the schedule in a request's path."""
    return f"schedules/{request.path_params['schedule']}"


def caller_of(request: Request, timeout_seconds: float) -> Caller:
    """The caller of a request. Raises `InvalidArgument` for a malformed tenant."""
    tenants = set(request.headers.getlist(TENANT_KEY))
    if len(tenants) > 1:
        raise InvalidArgument.of_field(TENANT_KEY, "is given more than once; send one value")
    tenant = checked_tenant(tenants.pop()) if tenants else DEFAULT_TENANT
    return Caller.within(tenant, timeout_seconds)


async def body_of(request: Request, max_bytes: int) -> bytes:
    """The body. Raises `BodyTooLarge` for one over its cap, of which no more than the cap is ever held."""
    body = bytearray()
    chunks = request.stream()
    async for chunk in chunks:
        body += chunk
        if len(body) > max_bytes:
            body.clear()
            await _discard(chunks)
            raise BodyTooLarge(max_bytes)
    return bytes(body)


async def action_of(request: Request, form: type[_Form], max_bytes: int) -> _Form:
    """The body as a form, its `request_id` set by the header `Idempotency-Key` too.

    Raises `BodyTooLarge`, and `InvalidArgument` with the field that does not fit.
    """
    action = read_action(await body_of(request, max_bytes), form)
    action.request_id = chosen_request_id(action.request_id, request.headers.getlist(IDEMPOTENCY_KEY))
    return action


async def submission_of(request: Request, max_bytes: int) -> gateway_pb2.SubmitTaskRequest:
    """The submission in the body, its `request_id` set by the header `Idempotency-Key` too. Raises as above."""
    submission = submission_from_json(await body_of(request, max_bytes))
    submission.request_id = chosen_request_id(submission.request_id, request.headers.getlist(IDEMPOTENCY_KEY))
    return submission


async def _discard(chunks: AsyncIterator[bytes]) -> None:
    """Read on for a while: a client that is cut off while it still sends would never see the answer."""
    left = DISCARDED_BYTES
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(DISCARDING_SECONDS):
            async for chunk in chunks:
                left -= len(chunk)
                if left < 0:
                    return


def check_parameters(request: Request, known: Collection[str] = ()) -> None:
    """Raise `InvalidArgument` for a query parameter that would be ignored."""
    for name in request.query_params:
        if name not in known:
            raise InvalidArgument.of_field(name[:100], "is not a parameter of this call")


def number_of(field: str, text: str | None) -> int:
    """The number that a parameter gives, 0 if it is absent. Raises `InvalidArgument` unless it is a natural number."""
    if text is None:
        return 0
    if not _NUMBER.fullmatch(text):
        raise InvalidArgument.of_field(field, "must be a number from 0 on, in decimal digits")
    return int(text)


def page_size_of(request: Request) -> int:
    """The parameter `page_size`, 0 if it is absent, never over what a message can hold."""
    return min(number_of("page_size", request.query_params.get("page_size")), 2**31 - 1)


def filter_of(request: Request) -> task_pb2.TaskFilter:
    """The filter that the parameters of a listing describe. Raises `InvalidArgument` under the parameters' names."""
    wanted = task_pb2.TaskFilter(
        states=_states_of(request),
        labels=_labels_of(request),
        agent=request.query_params.get("agent", ""),
        template=request.query_params.get("template", ""),
        create_time_from=time_of("created_from", request.query_params.get("created_from")),
        create_time_until=time_of("created_until", request.query_params.get("created_until")),
    )
    check_filter(wanted, PARAMETERS)
    return wanted


def _states_of(request: Request) -> list[task_pb2.TaskState.ValueType]:
    """The states of all `state` parameters; each may hold several, separated by commas."""
    names = [name for value in request.query_params.getlist("state") for name in value.split(",") if name]
    try:
        return [TASK_STATE_TO_PROTO[TaskState(name)] for name in names]
    except ValueError:
        allowed = ", ".join(state.value for state in TaskState)
        raise InvalidArgument.of_field("state", f"must be one of {allowed}") from None


def _labels_of(request: Request) -> dict[str, str]:
    """The labels of all `label` parameters, each `key=value`."""
    labels: dict[str, str] = {}
    for label in request.query_params.getlist("label"):
        key, equals, value = label.partition("=")
        if not key or not equals:
            raise InvalidArgument.of_field("label", f"{label[:100]!r} is not of the form key=value")
        if labels.setdefault(key, value) != value:
            raise InvalidArgument.of_field("label", f"{key[:100]} is given two values; no task has both")
    return labels


def place_of(request: Request) -> tuple[Place, bool]:
    """Where a watch is to begin, and whether that is after a `Last-Event-ID`. The number 0 stands for the first event.

    Raises `InvalidArgument` for what is no number, or no id of an event.
    """
    last_seen = request.headers.get(LAST_EVENT_ID)
    if not last_seen:
        return Place(number_of("from_sequence", request.query_params.get("from_sequence"))), False
    seen = _EVENT_ID.fullmatch(last_seen)
    if seen is None:
        described = "must be the id of an event of this stream, or the number of one, such as 7"
        raise InvalidArgument.of_field("Last-Event-ID", described)
    return Place(int(seen["sequence"]) + 1, int(seen["digest"] or "0", 16)), True
