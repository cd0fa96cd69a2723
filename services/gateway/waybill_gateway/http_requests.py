"""Reading HTTP requests: who calls, the body under its cap, and query parameters, each checked by name."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Collection

from starlette.requests import Request

from waybill.api.v1 import task_pb2
from waybill.core.limits import MIB
from waybill.core.task import TaskState
from waybill.errors import InvalidArgument
from waybill.rpc.caller import DEFAULT_TENANT, TENANT_KEY, checked_tenant
from waybill.rpc.enums import TASK_STATE_TO_PROTO
from waybill_gateway.caller import Caller
from waybill_gateway.http_errors import BodyTooLarge

LAST_EVENT_ID = "last-event-id"
DISCARDED_BYTES = 64 * MIB
DISCARDING_SECONDS = 5.0

_NUMBER = re.compile(r"[0-9]{1,18}")


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


def states_of(request: Request) -> list[task_pb2.TaskState.ValueType]:
    """The states of all `state` parameters; each may hold several, separated by commas."""
    names = [name for value in request.query_params.getlist("state") for name in value.split(",") if name]
    try:
        return [TASK_STATE_TO_PROTO[TaskState(name)] for name in names]
    except ValueError:
        allowed = ", ".join(state.value for state in TaskState)
        raise InvalidArgument.of_field("state", f"must be one of {allowed}") from None


def first_sequence_of(request: Request) -> int:
    """The first event wanted: the one after `Last-Event-ID`, else `from_sequence`, else 1."""
    last_seen = request.headers.get(LAST_EVENT_ID)
    if last_seen:
        return number_of("Last-Event-ID", last_seen) + 1
    return number_of("from_sequence", request.query_params.get("from_sequence"))
