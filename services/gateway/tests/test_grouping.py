"""Submissions that arrive together travel together."""

from __future__ import annotations

import asyncio
import random
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from waybill_gateway.grouping import FULL_GROUP, MAX_CALLS, MAX_WAITING_BYTES, SubmissionGroup

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


def submissions(*numbers: int, size_bytes: int = 0) -> dispatcher_pb2.CreateTasksRequest:
    spec = task_pb2.TaskSpec(input=task_pb2.Payload(data=b"x" * size_bytes))
    return dispatcher_pb2.CreateTasksRequest(
        submissions=[dispatcher_pb2.Submission(request_id=str(number), spec=spec) for number in numbers]
    )


def names(results) -> list[str]:
    return [result.task.name for result in results]


def soon(seconds: float = 30) -> float:
    return time.monotonic() + seconds


async def submit_many(group, count, size_bytes=0):
    calls = [asyncio.create_task(group.submit(submissions(n, size_bytes=size_bytes), soon())) for n in range(count)]
    await asyncio.sleep(0)
    return calls


async def test_what_arrives_while_a_call_is_in_flight_is_the_next_call_and_each_gets_its_own_answer():
    upstream = Upstream()
    group = SubmissionGroup(upstream)
    first = asyncio.create_task(group.submit(submissions(-1), soon()))
    while not upstream.sizes:
        await asyncio.sleep(0)
    others = await submit_many(group, 2500)
    upstream.gate.set()
    assert names(await first) == ["-1"]
    assert [names(results) for results in await asyncio.gather(*others)] == [[str(n)] for n in range(2500)]
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
    assert names(await group.submit(submissions(4), soon())) == ["4"]


async def test_a_caller_whose_deadline_passes_is_told_and_not_sent():
    upstream = Upstream()
    group = SubmissionGroup(upstream)
    first = asyncio.create_task(group.submit(submissions(1), soon()))
    with pytest.raises(Unavailable):
        await group.submit(submissions(2), soon(0.05))
    upstream.gate.set()
    await first
    assert names(await group.submit(submissions(3), soon())) == ["3"]
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


async def test_batches_travel_whole_and_a_few_full_ones_at_once_each_with_its_own_answers():
    upstream = Upstream()
    group = SubmissionGroup(upstream)
    batches = [range(start, start + 400) for start in range(0, 4000, 400)]
    calls = [asyncio.create_task(group.submit(submissions(*batch), soon())) for batch in batches]
    while len(upstream.sizes) < MAX_CALLS:
        await asyncio.sleep(0)
    for _ in range(20):
        await asyncio.sleep(0)
    assert upstream.sizes == [800] * MAX_CALLS
    upstream.gate.set()
    assert [names(found) for found in await asyncio.gather(*calls)] == [list(map(str, batch)) for batch in batches]
    assert upstream.sizes == [800] * 5


async def test_given_few_wait_then_they_wait_for_the_call_in_flight_and_are_all_sent_after_it():
    upstream = Upstream()
    group = SubmissionGroup(upstream)
    full = asyncio.create_task(group.submit(submissions(*range(FULL_GROUP)), soon()))
    while not upstream.sizes:
        await asyncio.sleep(0)
    few = await submit_many(group, FULL_GROUP - 1)
    for _ in range(20):
        await asyncio.sleep(0)
    assert upstream.sizes == [FULL_GROUP]
    upstream.gate.set()
    await asyncio.gather(full, *few)
    assert upstream.sizes == [FULL_GROUP, FULL_GROUP - 1]


@given(
    st.lists(st.tuples(st.integers(1, 250), st.integers(0, 3), st.booleans()), min_size=1, max_size=30),
    st.integers(0, 2**32),
)
def test_whatever_arrives_when_and_whoever_leaves_each_caller_gets_its_own_answers(arrivals, seed):
    asyncio.run(_some_leave(arrivals, random.Random(seed)))


async def _some_leave(arrivals, chance):
    async def answer(request, _timeout_seconds):
        for _ in range(chance.randrange(4)):
            await asyncio.sleep(0)
        found = [gateway_pb2.SubmitResult(task=task_pb2.Task(name=item.request_id)) for item in request.submissions]
        return dispatcher_pb2.CreateTasksResponse(results=found)

    group = SubmissionGroup(answer)
    calls, first = [], 0
    for count, pause, leaves in arrivals:
        numbers = range(first, first + count)
        call = asyncio.create_task(group.submit(submissions(*numbers), soon()))
        calls.append((numbers, call, leaves))
        first += count
        for _ in range(pause):
            await asyncio.sleep(0)
        if leaves:
            call.cancel()
    for numbers, call, leaves in calls:
        if leaves:
            await asyncio.wait([call])
        else:
            assert names(await call) == list(map(str, numbers))
