"""The tick: the policy is there whenever the store is, and silence is told from absence."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator

import pytest
from waybill_dispatcher.ticking import Ticking

from waybill.cancellation import cancel_all
from waybill.ledger import keys
from waybill.ledger.bells import PLANNING, Bells
from waybill.ledger.ledger import Ledger, new_task_id
from waybill.ledger.records import Accepted, NewTask


@pytest.fixture
async def silent_server() -> AsyncIterator[int]:
    """The port of a server that takes connections and never says a word, as a stopped process does."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as listening:
        yield listening.getsockname()[1]


async def test_given_a_store_that_lost_its_policy_then_it_is_written_when_the_store_is_back(suite) -> None:
    policy = keys.key("0", "policy")
    before = await suite.store.hgetall(policy)
    assert before[b"max_losses"] == b"25"
    await suite.store.flushall()
    await suite.store.function_flush()
    async with asyncio.timeout(30):
        while await suite.store.hgetall(policy) != before:
            await asyncio.sleep(0.05)


async def silence_after(ticking: Ticking, seconds: float) -> float:
    running = asyncio.create_task(ticking.run())
    await asyncio.sleep(seconds)
    await cancel_all([running])
    return ticking.silent_seconds


async def test_given_a_store_that_refuses_then_that_is_an_answer(unused_port) -> None:
    ledger = Ledger(f"redis://127.0.0.1:{unused_port()}/0")
    ticking = Ticking(ledger, {})
    began = ticking.silent_seconds
    assert await silence_after(ticking, 2.0) - began < 2.0
    await ledger.close()


async def test_given_a_store_that_says_nothing_then_its_silence_grows(silent_server: int) -> None:
    ledger = Ledger(f"redis://127.0.0.1:{silent_server}/0")
    ticking = Ticking(ledger, {})
    assert await silence_after(ticking, 7.0) >= 7.0, "a call that timed out is no answer"
    await ledger.close()


async def test_given_a_tick_that_sleeps_when_a_goal_comes_whose_bell_is_lost_then_it_is_rung_for_at_once(
    ledger: Ledger, store_url: str
) -> None:
    bells = Bells(store_url)  # it does not listen to the store
    ticking = asyncio.create_task(Ticking(ledger, {"max_losses": 25}, bells=bells).run())
    async with asyncio.timeout(30), bells.listen(PLANNING) as rung:
        await ledger.connect()
        while not await ledger.has_policy():
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.5)  # nothing is under way: the next tick is seconds away
        rung.clear()
        (accepted,) = await ledger.submit([NewTask(new_task_id(), "t", "r", "f", goal="g")])
        assert isinstance(accepted, Accepted)
        await rung.wait()
    await cancel_all([ticking])
    await bells.close()
    await ledger.cancel(accepted.task)
