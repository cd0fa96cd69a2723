"""A step that runs for ten minutes on a worker that beats runs once, whatever happens to the store meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from full_stores import DurableServer, patiently
from ledger_fold import check_history
from ledger_hand import Hand, pass_time, succeeded
from ledger_plans import accept, graph
from store_servers import Server

from waybill.cancellation import cancel_all
from waybill.core.task import TaskState
from waybill.ledger.ledger import WORKER_TTL_MS, Ledger
from waybill.ledger.records import Grant

OpenLedger = Callable[[Server], Awaitable[Ledger]]
MINUTE_MS = 60_000
LONG_MS = 10 * MINUTE_MS
BEAT_MS = WORKER_TTL_MS // 3


async def begin(ledger: Ledger, hand: Hand) -> Grant:
    """A worker takes a step that may run for an hour; another worker is idle and would take it."""
    await accept(ledger, graph({"long": []}, run_timeout_ms=60 * MINUTE_MS))
    (grant,) = await hand.take()
    return grant


async def check_ran_once(ledger: Ledger, hand: Hand, idle: Hand, grant: Grant) -> None:
    """Nobody else got the step, and its end counts."""
    assert await idle.take() == []
    assert (await hand.renew()).lost == ()
    assert (await hand.exchange(succeeded(grant, b'"done"'))).stale == ()
    task, steps = await check_history(ledger, grant.ref.task)
    assert (task.state, steps["long"].attempt, steps["long"].losses) == (TaskState.SUCCEEDED, 1, 0)


async def test_given_a_worker_that_beats_when_its_step_runs_for_ten_minutes_then_it_runs_once(
    ledger: Ledger, hand: Hand
) -> None:
    idle = await Hand(ledger, "idle").register()
    grant = await begin(ledger, hand)
    assert await pass_time(ledger, LONG_MS, hand, idle) == 0
    assert grant.run_timeout_ms > LONG_MS
    await check_ran_once(ledger, hand, idle, grant)


@pytest.mark.parametrize("pause_ms", [WORKER_TTL_MS - 1, WORKER_TTL_MS + 1, MINUTE_MS])
async def test_given_a_store_that_stands_still_now_and_then_then_the_step_runs_once(
    ledger: Ledger, hand: Hand, pause_ms: int
) -> None:
    idle = await Hand(ledger, "idle").register()
    grant = await begin(ledger, hand)
    for _ in range(10):
        assert await pass_time(ledger, MINUTE_MS, hand, idle) == 0
        ledger.clock_ms += pause_ms
        # The tick comes before any heartbeat: the worst order there is.
        assert (await ledger.tick()).reclaimed == 0
        ledger.clock_ms += BEAT_MS
        for worker in (hand, idle):
            await worker.renew()
    await check_ran_once(ledger, hand, idle, grant)


async def test_given_a_store_that_is_killed_and_started_again_then_the_step_runs_once(
    durable: DurableServer, open_ledger: OpenLedger
) -> None:
    ledger = await open_ledger(durable)
    hand, idle = await Hand(ledger).register(), await Hand(ledger, "idle").register()
    grant = await begin(ledger, hand)
    for _ in range(3):
        assert await pass_time(ledger, 3 * MINUTE_MS, hand, idle) == 0
        # Up to here the ticks came in time: only the new run id tells that heartbeats may have been lost.
        ledger.clock_ms += WORKER_TTL_MS // 2 - 100
        assert (await ledger.tick()).reclaimed == 0
        durable.kill()
        durable.start()
        for _ in range(2):
            ledger.clock_ms += WORKER_TTL_MS // 2
            assert (await patiently(ledger.tick)).reclaimed == 0
        for worker in (hand, idle):
            await worker.renew()
    await check_ran_once(ledger, hand, idle, grant)


async def test_given_a_server_that_is_stopped_and_goes_on_when_time_is_real_then_the_step_runs_once(
    ledger: Ledger, hand: Hand, server: Server
) -> None:
    ledger.clock_ms = 0
    idle = await Hand(ledger, "idle").register()
    await hand.register()
    grant = await begin(ledger, hand)
    reclaimed = 0

    async def beat(worker: Hand) -> None:
        while True:
            await patiently(worker.renew)
            await asyncio.sleep(BEAT_MS / 1000)

    async def tick() -> None:
        nonlocal reclaimed
        while True:
            reclaimed += (await patiently(ledger.tick)).reclaimed
            await asyncio.sleep(0.1)

    running = [asyncio.create_task(part) for part in (beat(hand), beat(idle), tick())]
    try:
        await asyncio.sleep(BEAT_MS / 1000)
        server.pause()
        await asyncio.sleep(1.5 * WORKER_TTL_MS / 1000)
        server.resume()
        await asyncio.sleep(1.5 * WORKER_TTL_MS / 1000)
        assert [task.done() for task in running] == [False] * 3
    finally:
        server.resume()
        await cancel_all(running)
    assert reclaimed == 0
    await check_ran_once(ledger, hand, idle, grant)
