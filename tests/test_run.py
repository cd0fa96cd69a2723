"""Tasks that are submitted and followed in one call, over streams that break."""

from __future__ import annotations

import asyncio
import inspect

import pytest
from client_gateway import LAST, Gateway, connected, serving
from hypothesis import given, settings
from hypothesis import strategies as st

from waybill import Client
from waybill.core.task import EventType, Failure, TaskState
from waybill.errors import AlreadyExists, FailedPrecondition, InvalidArgument, Unavailable

cut = st.tuples(st.integers(1, 5), st.integers(0, 3), st.booleans())


async def test_a_run_tells_its_task_its_events_and_its_result() -> None:
    gateway = Gateway()
    async with connected(gateway) as client, client.run(goal="t1", labels={"team": "x"}) as run:
        assert (run.task.name, run.task.state) == ("tasks/t1", TaskState.RUNNING)
        assert [event.sequence async for event in run] == list(range(1, LAST + 1))
        assert (run.task.state, run.task.output) == (TaskState.SUCCEEDED, {"answer": 42})
        assert await run.result() == {"answer": 42}
    assert dict(gateway.seen[0].spec.labels) == {"team": "x"}


async def test_a_result_can_be_waited_for_without_more_ado() -> None:
    async with connected(Gateway()) as client:
        assert await client.run(goal="t1").result() == {"answer": 42}


async def test_given_a_failed_task_then_the_result_says_why() -> None:
    gateway = Gateway()
    gateway.failure = Failure("AGENT_ERROR", "no luck")
    async with connected(gateway) as client:
        with pytest.raises(FailedPrecondition, match="no luck") as failed:
            await client.run(goal="t1").result()
    assert failed.value.reason == "AGENT_ERROR"


@settings(deadline=None, max_examples=25)
@given(st.lists(cut, max_size=6), st.integers(0, 3))
def test_a_run_that_breaks_anywhere_has_no_gap_and_no_repeat(cuts: list[tuple[int, int, bool]], refusals: int) -> None:
    gateway = Gateway()
    gateway.cuts, gateway.refusals = list(cuts), refusals

    async def seen() -> list[int]:
        async with connected(gateway) as client, client.run(goal="t1") as run:
            return [event.sequence async for event in run]

    assert asyncio.run(seen()) == list(range(1, LAST + 1))
    assert len({request.request_id for request in gateway.seen}) == 1


@settings(deadline=None, max_examples=25)
@given(st.lists(cut, max_size=4), st.lists(st.integers(2, LAST), max_size=2))
def test_after_a_reset_the_whole_history_follows(cuts: list[tuple[int, int, bool]], resets: list[int]) -> None:
    async def watched() -> list[int]:
        gateway = Gateway()
        gateway.cuts, gateway.resets = list(cuts), list(resets)
        async with connected(gateway) as client:
            return [event.sequence async for event in client.run(goal="t1")]

    seen = asyncio.run(watched())
    last = len(seen) - seen[::-1].index(0) if 0 in seen else 0
    assert seen[last:] == list(range(1, LAST + 1))


async def test_given_a_gateway_that_dies_when_another_takes_its_port_then_the_run_goes_on() -> None:
    first = Gateway()
    first.cuts = [(4, 0, False)]
    second = Gateway()
    async with serving(first) as address:
        client = Client(address)
        await client.__aenter__()
        run = client.run(goal="t1")
        seen = [(await anext(run)).sequence for _ in range(4)]
    async with serving(second, int(address.rpartition(":")[2])):
        seen += [event.sequence async for event in run]
        await client.__aexit__()
    assert seen == list(range(1, LAST + 1))
    assert {request.request_id for request in [*first.seen, *second.seen]} == {run.request_id}


async def test_given_no_gateway_for_the_patience_then_the_run_gives_up() -> None:
    async with serving(Gateway()) as address:
        pass
    async with Client(address, patience_seconds=0.2) as client:
        with pytest.raises(Unavailable, match=address):
            await client.run(goal="t1").result()


async def test_what_is_refused_raises_where_the_run_is_entered() -> None:
    gateway = Gateway()
    gateway.error = AlreadyExists("the request id was used for another task")
    async with connected(gateway) as client:
        with pytest.raises(AlreadyExists):
            async with client.run(goal="t1", request_id="r"):
                raise AssertionError("it was accepted")
        with pytest.raises(InvalidArgument):
            client.run(plan={"steps": "none"})


async def test_leaving_a_run_stops_the_stream_and_not_the_task() -> None:
    gateway = Gateway()
    gateway.holds = True
    async with connected(gateway) as client:
        async with client.run(goal="t1") as run:
            assert (await anext(run)).sequence == 1
            assert gateway.running == 1
        while gateway.running:
            await asyncio.sleep(0.001)
        with pytest.raises(FailedPrecondition, match="closed"):
            await anext(run)
    assert not any("Cancel" in type(request).__name__ for request in gateway.seen)


async def test_a_run_that_is_not_submitted_has_no_task() -> None:
    async with connected(Gateway()) as client:
        with pytest.raises(FailedPrecondition, match="not submitted yet"):
            assert client.run(goal="t1").task


async def test_progress_begins_with_now_and_ends_with_the_end() -> None:
    gateway = Gateway()
    gateway.history[3] = EventType.STEP_TEXT
    async with connected(gateway) as client, client.run(goal="t1") as run:
        assert (await anext(run)).sequence == 1
        told = [progress async for progress in run.progress()]
    assert [progress.sequence for progress in told] == list(range(1, LAST + 1))
    assert (told[-1].task, told[-1].state, told[-1].fraction) == ("tasks/t1", TaskState.SUCCEEDED, 1.0)
    async with connected(Gateway()) as client:
        assert [progress.sequence async for progress in client.progress("t1")] == list(range(1, LAST + 1))


def test_a_run_takes_what_a_submission_takes() -> None:
    parameters = [list(inspect.signature(verb).parameters.values()) for verb in (Client.run, Client.submit)]
    assert parameters[0] == parameters[1]
