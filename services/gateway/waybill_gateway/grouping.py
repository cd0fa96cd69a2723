"""Grouping of submissions: those that arrive while a CreateTasks call is in flight become the next one.

An idle gateway adds no wait, and a busy one pays for one call where it would have paid for hundreds.
"""

from __future__ import annotations

import asyncio
import contextvars
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from opentelemetry.trace import Link

from waybill.api.v1 import dispatcher_pb2, gateway_pb2
from waybill.core.limits import MAX_BATCH_SUBMISSIONS, MIB
from waybill.errors import ResourceExhausted, Unavailable, WaybillError
from waybill.rpc.client_spans import LINKS
from waybill.rpc.status import OUT_OF_TIME
from waybill.telemetry import metrics, tracing
from waybill.telemetry.logs import get_logger

log = get_logger(__name__)

MAX_GROUP_BYTES = 16 * MIB
MAX_WAITING_BYTES = 128 * MIB
MAX_CALLS = 4
"""Most calls in flight at once."""
_MAX_LINKS = 128
"""Most submissions that the span of one call is linked to."""
FULL_GROUP = 100
"""So many submissions do not wait for the call in flight: there is little to save by a larger group."""

CreateTasks = Callable[[dispatcher_pb2.CreateTasksRequest, float], Awaitable[dispatcher_pb2.CreateTasksResponse]]
"""Calls the dispatcher within a number of seconds. Raises `WaybillError` alone."""


@dataclass(frozen=True, slots=True)
class _Waiting:
    """Submissions of one caller, and the results that they wait for."""

    request: dispatcher_pb2.CreateTasksRequest
    count: int
    size_bytes: int
    deadline: float
    results: asyncio.Future[Sequence[gateway_pb2.SubmitResult]]


class SubmissionGroup:
    """Sends submissions of all callers: one call at a time, and a few at once where each of them is full."""

    def __init__(self, create_tasks: CreateTasks) -> None:
        self._create_tasks = create_tasks
        self._waiting: deque[_Waiting] = deque()
        self._waiting_count = 0
        self._waiting_bytes = 0
        self._senders: set[asyncio.Task[None]] = set()

    async def submit(
        self, request: dispatcher_pb2.CreateTasksRequest, deadline: float
    ) -> Sequence[gateway_pb2.SubmitResult]:
        """The dispatcher's answers to the submissions of one caller, which travel together: at most
        MAX_BATCH_SUBMISSIONS of them. `deadline` is in seconds of the monotonic clock.

        Raises `Unavailable` if there is no answer by then, and `ResourceExhausted` if too much waits already. The tasks
        may exist even so: the same request ids find out.
        """
        count, size_bytes = len(request.submissions), request.ByteSize()
        if self._waiting_bytes + size_bytes > MAX_WAITING_BYTES:
            limit = f"over {MAX_WAITING_BYTES} bytes of submissions wait for the dispatcher; try again later"
            raise ResourceExhausted(limit, reason="GATEWAY_BUSY")
        loop = asyncio.get_running_loop()
        waiting = _Waiting(request, count, size_bytes, deadline, loop.create_future())
        self._waiting.append(waiting)
        self._waiting_count += count
        self._waiting_bytes += size_bytes
        if not self._senders or (len(self._senders) < MAX_CALLS and self._waiting_count >= FULL_GROUP):
            # A group serves many callers, so its calls belong to the trace of none.
            self._senders.add(asyncio.create_task(self._send_all(), context=contextvars.Context()))
        expiry = loop.call_later(max(0.0, deadline - time.monotonic()), _expire, waiting.results)
        try:
            return await waiting.results
        finally:
            expiry.cancel()

    async def _send_all(self) -> None:
        """Send group after group: the last sender until nothing waits, any other only while groups are full."""
        sender = asyncio.current_task()
        try:
            while len(self._senders) == 1 or self._waiting_count >= FULL_GROUP:
                group = self._next_group()
                if not group:
                    break
                await self._send(group)
        finally:
            if sender is not None:
                self._senders.discard(sender)

    def _next_group(self) -> list[_Waiting]:
        group: list[_Waiting] = []
        count = size_bytes = 0
        while self._waiting:
            first = self._waiting[0]
            is_over = count + first.count > MAX_BATCH_SUBMISSIONS or size_bytes + first.size_bytes > MAX_GROUP_BYTES
            if group and is_over:
                break
            self._waiting.popleft()
            self._waiting_count -= first.count
            self._waiting_bytes -= first.size_bytes
            if not first.results.done():
                group.append(first)
                count += first.count
                size_bytes += first.size_bytes
        return group

    async def _send(self, group: list[_Waiting]) -> None:
        request = group[0].request
        for waiting in group[1:]:
            request.submissions.MergeFrom(waiting.request.submissions)
        count = len(request.submissions)
        metrics.SUBMISSION_GROUP.observe(count)
        if tracing.recording():
            LINKS.set(_links(request))
        timeout_seconds = max(waiting.deadline for waiting in group) - time.monotonic()
        try:
            response = await self._create_tasks(request, max(0.0, timeout_seconds))
            if len(response.results) != count:
                raise WaybillError(f"{len(response.results)} results for {count} submissions")
        except Exception as error:
            if not isinstance(error, WaybillError):
                log.error("group failed", exc_info=error)
            for waiting in group:
                if not waiting.results.done():
                    waiting.results.set_exception(error)
            return
        first = 0
        for waiting in group:
            if not waiting.results.done():
                waiting.results.set_result(response.results[first : first + waiting.count])
            first += waiting.count


def _links(request: dispatcher_pb2.CreateTasksRequest) -> list[Link]:
    links = (tracing.link_to(submission.traceparent) for submission in request.submissions)
    return [link for link in links if link is not None][:_MAX_LINKS]


def _expire(results: asyncio.Future[Sequence[gateway_pb2.SubmitResult]]) -> None:
    if not results.done():
        late = "the dispatcher did not answer in time; try again with the same request_id"
        results.set_exception(Unavailable(late, reason=OUT_OF_TIME))
