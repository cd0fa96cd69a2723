"""Watching through streams that break, end and begin anew."""

from __future__ import annotations

import asyncio
import contextlib

import pytest
from client_gateway import LAST, Gateway, connected, serving
from hypothesis import given, settings
from hypothesis import strategies as st

from waybill import Client
from waybill.core.task import EventType
from waybill.errors import Unavailable

cut = st.tuples(st.integers(1, 5), st.integers(0, 3), st.booleans())


@settings(deadline=None, max_examples=25)
@given(st.lists(cut, max_size=6), st.integers(1, LAST))
def test_a_watch_that_breaks_anywhere_has_no_gap_and_no_repeat(cuts: list[tuple[int, int, bool]], first: int) -> None:
    async def watched() -> list[int]:
        gateway = Gateway()
        gateway.cuts = list(cuts)
        async with connected(gateway) as client:
            return [event.sequence async for event in client.watch("t1", from_sequence=first)]

    assert asyncio.run(watched()) == list(range(first, LAST + 1))


async def test_given_a_gateway_that_dies_when_another_takes_its_port_then_the_watch_goes_on() -> None:
    first = Gateway()
    first.cuts = [(4, 0, False)]
    async with contextlib.AsyncExitStack() as stack:
        async with serving(first) as address:
            client = await stack.enter_async_context(Client(address))
            events = client.watch("t1")
            seen = [(await anext(events)).sequence for _ in range(4)]
        await stack.enter_async_context(serving(Gateway(), int(address.rpartition(":")[2])))
        seen += [event.sequence async for event in events]
    assert seen == list(range(1, LAST + 1))


async def test_a_watch_beyond_the_last_event_of_an_ended_task_has_nothing() -> None:
    async with connected(Gateway()) as client:
        assert [event async for event in client.watch("t1", from_sequence=LAST + 1)] == []


async def test_given_no_contact_for_the_patience_when_watching_then_it_gives_up_and_says_where() -> None:
    async with serving(Gateway()) as address:
        pass
    async with Client(address, patience_seconds=0.2) as client:
        with pytest.raises(Unavailable, match=address) as failed:
            await anext(client.watch("t1"))
    assert failed.value.reason == "GATEWAY_UNREACHABLE"


async def test_given_a_retry_after_an_end_then_the_watch_goes_on_to_the_last_end() -> None:
    gateway = Gateway()
    gateway.history = [EventType.STEP_PROGRESS, EventType.TASK_FINISHED, EventType.TASK_RETRIED]
    gateway.history += [EventType.STEP_PROGRESS, EventType.TASK_FINISHED]
    gateway.cuts = [(2, 0, False), (2, 1, True)]
    async with connected(gateway) as client:
        assert [event.type async for event in client.watch("t1")] == gateway.history
    assert gateway.watched_from == [1, 3, 5]
    assert gateway.digests == [0, 102, 104]


async def test_given_an_orderly_end_after_the_first_end_then_the_watch_takes_it_as_the_end() -> None:
    gateway = Gateway()
    gateway.history = [EventType.STEP_PROGRESS, EventType.TASK_FINISHED, EventType.TASK_RETRIED]
    gateway.cuts = [(2, 0, True)]
    async with connected(gateway) as client:
        assert [event.sequence async for event in client.watch("t1")] == [1, 2]


@settings(deadline=None, max_examples=25)
@given(st.lists(cut, max_size=4), st.lists(st.integers(2, LAST), max_size=2))
def test_after_a_reset_the_watcher_is_told_and_gets_the_whole_history(
    cuts: list[tuple[int, int, bool]], resets: list[int]
) -> None:
    async def watched() -> list[int]:
        gateway = Gateway()
        gateway.cuts, gateway.resets = list(cuts), list(resets)
        async with connected(gateway) as client:
            return [event.sequence async for event in client.watch("t1")]

    seen = asyncio.run(watched())
    runs: list[list[int]] = [[]]
    for sequence in seen:
        if sequence == 0:
            runs.append([])
        else:
            runs[-1].append(sequence)
    assert all(run == list(range(1, len(run) + 1)) for run in runs)
    assert len(runs[-1]) == LAST
