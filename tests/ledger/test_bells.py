"""Doorbells: whoever waits is woken by news, and after the connection broke."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, suppress

import pytest
import redis.asyncio
from ledger_plans import accept

from waybill.ledger import keys
from waybill.ledger.bells import PLANNING, Bells
from waybill.ledger.ledger import Ledger


@pytest.fixture
async def bells(ledger: Ledger, store_url: str) -> AsyncIterator[Bells]:
    """Bells that run."""
    opened = Bells(store_url)
    running = asyncio.create_task(opened.run())
    yield opened
    running.cancel()
    with suppress(asyncio.CancelledError):
        await running
    await opened.close()


async def hears(store: redis.asyncio.Redis, *names: str) -> None:
    """Return once each of these bells is heard by somebody."""
    channels = [keys.key("0", "bell", name) for name in names]
    async with asyncio.timeout(10):
        while not all(count for _, count in await store.pubsub_numsub(*channels)):
            await asyncio.sleep(0.01)


async def woken(rung: asyncio.Event) -> None:
    async with asyncio.timeout(10):
        await rung.wait()
    rung.clear()


async def test_given_an_event_of_a_task_then_all_who_wait_for_it_are_woken(
    ledger: Ledger, bells: Bells, store: redis.asyncio.Redis
) -> None:
    task_id = await accept(ledger, goal="g")
    async with bells.listen(task_id) as one, bells.listen(task_id) as two:
        await hears(store, task_id)
        one.clear()
        two.clear()
        await ledger.cancel(task_id)
        await woken(one)
        await woken(two)


async def test_given_a_goal_then_planners_are_woken(ledger: Ledger, bells: Bells, store: redis.asyncio.Redis) -> None:
    async with bells.listen(PLANNING) as rung:
        await hears(store, PLANNING)
        rung.clear()
        await accept(ledger, goal="g")
        await woken(rung)


async def test_given_a_broken_connection_then_everyone_is_woken_and_hears_again(
    ledger: Ledger, bells: Bells, store: redis.asyncio.Redis
) -> None:
    task_id = await accept(ledger, goal="g")
    async with bells.listen(task_id) as rung:
        await hears(store, task_id)
        await store.publish(keys.key("0", "bell", task_id), "1")
        await woken(rung)
        assert await store.execute_command("CLIENT", "KILL", "TYPE", "pubsub") >= 1
        await woken(rung)
        await hears(store, task_id)
        await ledger.cancel(task_id)
        await woken(rung)


async def test_given_listeners_that_come_while_it_connects_then_each_is_heard(
    bells: Bells, store: redis.asyncio.Redis
) -> None:
    names = [f"task-{at}" for at in range(200)]
    async with AsyncExitStack() as stack:
        for name in names:
            await stack.enter_async_context(bells.listen(name))
            await asyncio.sleep(0)
        await hears(store, *names)
