"""Grouping of submissions: those that arrive while a CreateTasks call is in flight become the next one.

An idle gateway adds no wait, and a busy one pays for one call where it would have paid for hundreds.
"""

from __future__ import annotations

import asyncio
import contextvars
import time
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from waybill.api.v1 import dispatcher_pb2, gateway_pb2
from waybill.core.limits import MAX_BATCH_SUBMISSIONS, MIB
from waybill.errors import ResourceExhausted, Unavailable, WaybillError
from waybill.rpc.status import OUT_OF_TIME
from waybill.telemetry import metrics
from waybill.telemetry.logs import get_logger

log = get_logger(__name__)

MAX_GROUP_BYTES = 16 * MIB
MAX_WAITING_BYTES = 128 * MIB

CreateTasks = Callable[[dispatcher_pb2.CreateTasksRequest, float], Awaitable[dispatcher_pb2.CreateTasksResponse]]
"""Calls the dispatcher within a number of seconds. Raises `WaybillError` alone."""


@dataclass(frozen=True, slots=True)
class _Waiting:
    submission: dispatcher_pb2.Submission
    size_bytes: int
    deadline: float
    result: asyncio.Future[gateway_pb2.SubmitResult]


class SubmissionGroup:
    """Sends submissions of all callers, one call at a time."""

    def __init__(self, create_tasks: CreateTasks) -> None:
        self._create_tasks = create_tasks
        self._waiting: deque[_Waiting] = deque()
        self._waiting_bytes = 0
        self._sending: asyncio.Task[None] | None = None

    async def submit(self, submission: dispatcher_pb2.Submission, deadline: float) -> gateway_pb2.SubmitResult:
        """The dispatcher's answer to one submission. `deadline` is in seconds of the monotonic clock.

        Raises `Unavailable` if there is none by then, and `ResourceExhausted` if too much waits already. The task may
        exist even so: the same request id finds out.
        """
        size_bytes = submission.ByteSize()
        if self._waiting_bytes + size_bytes > MAX_WAITING_BYTES:
            limit = f"over {MAX_WAITING_BYTES} bytes of submissions wait for the dispatcher; try again later"
            raise ResourceExhausted(limit, reason="GATEWAY_BUSY")
        waiting = _Waiting(submission, size_bytes, deadline, asyncio.get_running_loop().create_future())
        self._waiting.append(waiting)
        self._waiting_bytes += size_bytes
        if self._sending is None:
            # A group serves many callers, so its calls belong to the trace of none.
            self._sending = asyncio.create_task(self._send_all(), context=contextvars.Context())
        try:
            async with asyncio.timeout(max(0.0, deadline - time.monotonic())):
                return await waiting.result
        except TimeoutError:
            raise Unavailable(
                "the dispatcher did not answer in time; try again with the same request_id", reason=OUT_OF_TIME
            ) from None

    async def _send_all(self) -> None:
        """Send group after group until nothing waits."""
        try:
            while group := self._next_group():
                await self._send(group)
        finally:
            self._sending = None

    def _next_group(self) -> list[_Waiting]:
        group: list[_Waiting] = []
        size_bytes = 0
        while self._waiting and len(group) < MAX_BATCH_SUBMISSIONS:
            first = self._waiting[0]
            if group and size_bytes + first.size_bytes > MAX_GROUP_BYTES:
                break
            self._waiting.popleft()
            self._waiting_bytes -= first.size_bytes
            if not first.result.done():
                group.append(first)
                size_bytes += first.size_bytes
        return group

    async def _send(self, group: list[_Waiting]) -> None:
        metrics.SUBMISSION_GROUP.observe(len(group))
        request = dispatcher_pb2.CreateTasksRequest(submissions=[waiting.submission for waiting in group])
        timeout_seconds = max(waiting.deadline for waiting in group) - time.monotonic()
        try:
            response = await self._create_tasks(request, max(0.0, timeout_seconds))
            if len(response.results) != len(group):
                raise WaybillError(f"{len(response.results)} results for {len(group)} submissions")
        except Exception as error:
            if not isinstance(error, WaybillError):
                log.error("group failed", exc_info=error)
            for waiting in group:
                if not waiting.result.done():
                    waiting.result.set_exception(error)
            return
        for waiting, result in zip(group, response.results, strict=True):
            if not waiting.result.done():
                waiting.result.set_result(result)
