"""Batches: how many steps a worker takes at once, and why not more."""

from __future__ import annotations

import pytest
import redis.asyncio
from ledger_hand import Hand, failed, handed_back, succeeded
from ledger_plans import accept, graph, side_by_side

from waybill.core.task import TaskState
from waybill.ledger import keys
from waybill.ledger.ledger import Ledger


async def measured(ledger: Ledger, hand: Hand, run_ms: float) -> None:
    """Let an agent's pace be known."""
    await accept(ledger, graph({"only": []}))
    (grant,) = await hand.take()
    await hand.exchange(succeeded(grant, run_ms=run_ms), free=0)


async def taken(hand: Hand, free: int = 1) -> list[tuple[int, str]]:
    """Sizes of the batches of one exchange, and why they hold no more."""
    reply = await hand.exchange(free=free)
    assert sum(batch.size for batch in reply.batches) == len(reply.grants)
    return [(batch.size, batch.reason) for batch in reply.batches]


async def test_given_no_measured_pace_then_batches_hold_one_step(ledger: Ledger) -> None:
    hand = await Hand(ledger, max_batch=64).register()
    await hand.take(0)
    await accept(ledger, graph(side_by_side(10)))
    assert await taken(hand) == [(1, "unmeasured")]


@pytest.mark.parametrize("run_ms", [0.05, 1])
async def test_given_a_quick_agent_then_a_batch_holds_its_maximum_beyond_the_free_slots(
    ledger: Ledger, run_ms: float
) -> None:
    hand = await Hand(ledger, max_batch=8).register()
    await measured(ledger, hand, run_ms)
    await accept(ledger, graph(side_by_side(20)))
    assert await taken(hand) == [(8, "maximum")]
    assert await taken(hand, free=9) == [(9, "slots")]
    assert await taken(hand) == [(3, "waiting")]


async def test_given_a_slower_agent_then_a_batch_fits_the_target_time(ledger: Ledger) -> None:
    hand = await Hand(ledger, max_batch=64).register()
    await measured(ledger, hand, run_ms=10)
    await accept(ledger, graph(side_by_side(20)))
    assert await taken(hand) == [(5, "target")]


async def test_given_a_slow_agent_then_no_more_is_taken_than_slots_are_free(ledger: Ledger) -> None:
    hand = await Hand(ledger, max_batch=64).register()
    await measured(ledger, hand, run_ms=3_000)
    await accept(ledger, graph(side_by_side(9)))
    assert await taken(hand) == [(1, "minimum")]
    assert await taken(hand, free=4) == [(4, "slots")]


async def test_given_attempts_that_fail_quickly_then_they_count_as_quick(ledger: Ledger) -> None:
    hand = await Hand(ledger, max_batch=64).register()
    await accept(ledger, graph({"only": []}))
    await hand.exchange(*(failed(grant, final=True, run_ms=1) for grant in await hand.take()), free=0)
    await accept(ledger, graph(side_by_side(60)))
    assert await taken(hand) == [(50, "target")]


async def test_given_steps_handed_back_then_they_do_not_count_as_quick(ledger: Ledger) -> None:
    hand = await Hand(ledger, max_batch=64).register()
    await measured(ledger, hand, run_ms=3_000)
    await accept(ledger, graph(side_by_side(12)))
    for _ in range(20):
        await hand.exchange(*map(handed_back, await hand.take()), free=0)
    assert await taken(hand) == [(1, "minimum")]


async def test_given_a_mixed_load_then_its_mean_counts(ledger: Ledger) -> None:
    hand = await Hand(ledger, slots=1_000, max_batch=64).register()
    await accept(ledger, graph(side_by_side(1_000)))
    granted = await hand.take()
    assert len(granted) == 1_000
    for at in range(0, 1_000, 20):
        ended = [succeeded(grant, run_ms=100 if not place else 0) for place, grant in enumerate(granted[at : at + 20])]
        await hand.exchange(*ended, free=0)
    await accept(ledger, graph(side_by_side(64)))
    ((size, reason),) = await taken(hand)
    assert reason == "target"
    assert 8 <= size <= 12, "a step takes 5 ms in the mean, and 10 of them fit"


async def test_given_one_very_long_step_then_it_is_forgotten_within_a_hundred_short_ones(ledger: Ledger) -> None:
    hand = await Hand(ledger, slots=100, max_batch=64).register()
    await measured(ledger, hand, run_ms=3_600_000)
    await accept(ledger, graph(side_by_side(100)))
    await hand.exchange(*(succeeded(grant, run_ms=0.1) for grant in await hand.take(100)), free=0)
    await accept(ledger, graph(side_by_side(64)))
    ((size, _),) = await taken(hand)
    assert size > 1


async def test_given_other_idle_workers_then_each_gets_its_share(ledger: Ledger) -> None:
    hand = await Hand(ledger, max_batch=64).register()
    await measured(ledger, hand, run_ms=1)
    others = [await Hand(ledger, name, max_batch=64).register() for name in ("two", "three", "four")]
    await accept(ledger, graph(side_by_side(40)))
    for worker in (hand, *others) * 2:
        await worker.wait()
        await worker.take()
    sizes = [len(worker.held) for worker in (hand, *others)]
    assert sum(sizes) == 40
    assert max(sizes) <= 16, sizes


async def test_given_other_busy_workers_then_nothing_is_left_for_them(ledger: Ledger) -> None:
    hand = await Hand(ledger, max_batch=64).register()
    await measured(ledger, hand, run_ms=1)
    await (await Hand(ledger, "two", max_batch=64).register()).take(0)
    await accept(ledger, graph(side_by_side(40)))
    assert await taken(hand) == [(40, "waiting")]


class TestWaking:
    async def test_given_idle_workers_then_a_step_for_each_lies_in_the_queue_and_the_rest_waits(
        self, ledger: Ledger, store: redis.asyncio.Redis
    ) -> None:
        for name in ("one", "two", "three"):
            await Hand(ledger, name).register()
        await accept(ledger, graph(side_by_side(30)))
        entries = await store.xrange(keys.key("0", "queue", "echo", "normal"))
        assert [len(fields[b"steps"].split()) for _, fields in entries] == [1, 1, 1]
        (agent,) = await ledger.agents()
        assert (agent.queued_batches, agent.waiting_steps) == (3, 27)

    async def test_given_a_narrow_window_then_the_queue_holds_no_more(self, ledger: Ledger) -> None:
        await ledger.set_policy({"queue_window": 2})
        for name in ("one", "two", "three"):
            await Hand(ledger, name).register()
        await accept(ledger, graph(side_by_side(30)))
        (agent,) = await ledger.agents()
        assert (agent.queued_batches, agent.waiting_steps) == (2, 28)

    async def test_given_busy_workers_then_nothing_lies_in_the_queue(self, ledger: Ledger) -> None:
        hand = await Hand(ledger, slots=4).register()
        await accept(ledger, graph(side_by_side(30)))
        assert len(await hand.take()) == 4
        (agent,) = await ledger.agents()
        assert (agent.queued_batches, agent.waiting_steps) == (0, 26)
        await hand.exchange(succeeded(next(iter(hand.held))), free=0)
        await ledger.tick()
        assert (await ledger.agents())[0].queued_batches == 0

    async def test_given_a_worker_that_is_free_again_then_it_is_woken(self, ledger: Ledger) -> None:
        hand = await Hand(ledger, slots=1).register()
        await accept(ledger, graph(side_by_side(1)))
        (grant,) = await hand.take()
        await hand.exchange(succeeded(grant))
        await accept(ledger, graph(side_by_side(2)))
        assert len(await hand.wait()) == 1

    async def test_given_a_busy_worker_that_dies_then_the_next_one_is_woken(self, ledger: Ledger) -> None:
        hand = await Hand(ledger, slots=1).register()
        await accept(ledger, graph(side_by_side(3)))
        assert len(await hand.take()) == 1
        await hand.restart()
        assert len(await hand.wait()) == 1
        assert len(await hand.run_all()) == 3

    async def test_given_a_step_that_follows_when_its_worker_goes_on_then_nobody_else_is_woken_for_it(
        self, ledger: Ledger
    ) -> None:
        hand, other = await Hand(ledger).register(), await Hand(ledger, "other").register()
        task_id = await accept(ledger, graph({"a": [], "b": ["a"]}))
        await hand.wait()
        (first,) = await hand.take()
        assert [grant.step for grant in (await hand.exchange(succeeded(first))).grants] == ["b"]
        assert await other.wait() == []
        await hand.exchange(*map(succeeded, hand.held.values()))
        assert (await ledger.task(task_id)).state is TaskState.SUCCEEDED
