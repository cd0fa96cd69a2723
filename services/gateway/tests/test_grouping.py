"""Submissions that arrive together travel together."""

from __future__ import annotations

import asyncio
import time

import pytest
from waybill_gateway.grouping import MAX_WAITING_BYTES, SubmissionGroup

from waybill.api.v1 import dispatcher_pb2, gateway_pb2, task_pb2
from waybill.core.limits import MIB
from waybill.errors import ResourceExhausted, Unavailable


class Upstream:
    """Answers when the gate is open; remembers the sizes of what it was sent."""

    def __init__(self):
        self.gate = asyncio.Event()
        self.sizes: list[int] = []
        self.error: Exception | None = None

    async def __call__(self, request, _timeout_seconds):
        self.sizes.append(len(request.submissions))
        await self.gate.wait()
        if self.error is not None:
            raise self.error
        names = [item.request_id for item in request.submissions]
        return dispatcher_pb2.CreateTasksResponse(
            results=[gateway_pb2.SubmitResult(task=task_pb2.Task(name=name)) for name in names]
        )


def submission(number: int, size_bytes: int = 0) -> dispatcher_pb2.Submission:
    spec = task_pb2.TaskSpec(input=task_pb2.Payload(data=b"x" * size_bytes))
    return dispatcher_pb2.Submission(request_id=str(number), spec=spec)


def soon(seconds: float = 30) -> float:
    return time.monotonic() + seconds


async def submit_many(group, count, size_bytes=0):
    calls = [asyncio.create_task(group.submit(submission(n, size_bytes), soon())) for n in range(count)]
    await asyncio.sleep(0)
    return calls


async def test_what_arrives_while_a_call_is_in_flight_is_the_next_call_and_each_gets_its_own_answer():
    upstream = Upstream()
    group = SubmissionGroup(upstream)
    first = asyncio.create_task(group.submit(submission(-1), soon()))
    while not upstream.sizes:
        await asyncio.sleep(0)
    others = await submit_many(group, 2500)
    upstream.gate.set()
    assert (await first).task.name == "-1"
    assert [result.task.name for result in await asyncio.gather(*others)] == [str(n) for n in range(2500)]
    assert upstream.sizes == [1, 1000, 1000, 500]


async def test_a_group_is_bounded_by_its_bytes():
    upstream = Upstream()
    upstream.gate.set()
    calls = await submit_many(SubmissionGroup(upstream), 5, size_bytes=7 * MIB)
    await asyncio.gather(*calls)
    assert upstream.sizes == [2, 2, 1]


async def test_an_error_reaches_all_of_its_group_and_nobody_else():
    upstream = Upstream()
    group = SubmissionGroup(upstream)
    upstream.error = Unavailable("store away")
    calls = await submit_many(group, 3)
    upstream.gate.set()
    assert [type(outcome) for outcome in await asyncio.gather(*calls, return_exceptions=True)] == [Unavailable] * 3
    upstream.error = None
    assert (await group.submit(submission(4), soon())).task.name == "4"


async def test_a_caller_whose_deadline_passes_is_told_and_not_sent():
    upstream = Upstream()
    group = SubmissionGroup(upstream)
    first = asyncio.create_task(group.submit(submission(1), soon()))
    with pytest.raises(Unavailable):
        await group.submit(submission(2), soon(0.05))
    upstream.gate.set()
    await first
    assert (await group.submit(submission(3), soon())).task.name == "3"
    assert sum(upstream.sizes) <= 3


async def test_given_too_many_bytes_wait_then_more_are_refused():
    upstream = Upstream()
    group = SubmissionGroup(upstream)
    size_bytes = 16 * MIB
    calls = await submit_many(group, MAX_WAITING_BYTES // size_bytes, size_bytes)
    with pytest.raises(ResourceExhausted):
        await asyncio.gather(*await submit_many(group, 2, size_bytes))
    for call in calls:
        call.cancel()
    await asyncio.gather(*calls, return_exceptions=True)
    upstream.gate.set()
