"""Following results through streams that break, end and begin anew."""

from __future__ import annotations

import asyncio
import contextlib
from datetime import UTC, datetime

import pytest
from client_gateway import LAST, Gateway, connected, serving
from hypothesis import given, settings
from hypothesis import strategies as st

from waybill import Client
from waybill.core.task import TaskState
from waybill.errors import InvalidArgument, OutOfRange, Unavailable

ALL = [f"tasks/t{number}" for number in range(1, LAST + 1)]
cut = st.tuples(st.integers(0, 5), st.integers(1, 4), st.just(False))


@settings(deadline=None, max_examples=15)
@given(st.lists(cut, max_size=5), st.integers(0, LAST))
def test_results_over_streams_that_break_anywhere_have_no_gap_and_no_repeat(
    cuts: list[tuple[int, int, bool]], first: int
) -> None:
    async def followed() -> list[str]:
        gateway = Gateway()
        gateway.cuts = list(cuts)
        async with connected(gateway) as client:
            return [result.task.name async for result in client.results(ALL, cursor=str(first))]

    assert asyncio.run(followed()) == ALL[first:]


async def test_given_a_gateway_that_dies_when_another_takes_its_port_then_the_results_go_on() -> None:
    first = Gateway()
    first.cuts = [(4, 2, False)]
    async with contextlib.AsyncExitStack() as stack:
        async with serving(first) as address:
            client = await stack.enter_async_context(Client(address))
            results = client.results()
            seen = [(await anext(results)).task.name for _ in range(3)]
        await stack.enter_async_context(serving(Gateway(), int(address.rpartition(":")[2])))
        seen += [result.task.name async for result in results]
    assert seen == ALL


async def test_a_cursor_that_was_kept_goes_on_after_its_result() -> None:
    async with connected(Gateway()) as client:
        results = [result async for result in client.results()]
        assert results[3].task.output == {"answer": 42}
        rest = [result.task.name async for result in client.results(cursor=results[3].cursor)]
    assert rest == ALL[4:]


async def test_what_is_wanted_reaches_the_gateway_and_only_the_first_stream_begins_now() -> None:
    gateway = Gateway()
    gateway.cuts = [(2, 1, False)]
    async with connected(gateway) as client:
        wanted = client.results(
            states=[TaskState.FAILED], labels={"a": "b"}, created_from=datetime(2026, 1, 1, tzinfo=UTC), from_now=True
        )
        assert len([result async for result in wanted]) == LAST
    first, second = gateway.seen
    assert dict(first.filter.labels) == {"a": "b"}
    assert first.filter == second.filter
    assert (first.from_now, first.cursor, second.cursor) == (True, "", "2")


async def test_refusals_end_the_results() -> None:
    gateway = Gateway()
    async with connected(gateway) as client:
        gateway.error = OutOfRange("results after this cursor have expired")
        with pytest.raises(OutOfRange):
            await anext(client.results(cursor="1"))
        with pytest.raises(InvalidArgument):
            await anext(client.results(labels={"a": 1}))  # type: ignore[dict-item]


async def test_given_no_contact_for_the_patience_then_it_gives_up_and_says_where() -> None:
    async with serving(Gateway()) as address:
        pass
    async with Client(address, patience_seconds=0.2) as client:
        with pytest.raises(Unavailable, match=address):
            await anext(client.results())


async def test_given_two_refusals_in_a_row_when_patient_then_the_results_come() -> None:
    gateway = Gateway()
    gateway.refusals = 2
    async with connected(gateway) as client:
        assert len([result async for result in client.results(ALL)]) == LAST
