"""Lines before limits that are always busy: everybody gets through, and nobody holds others up."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import AsyncIterator

import pytest
import redis.asyncio
from ledger_adapting import plan, step
from ledger_calls import begin
from ledger_fold import check_history
from ledger_hand import Hand, pass_time, succeeded
from ledger_plans import accept, graph, side_by_side

from waybill.core.plan import Graph
from waybill.core.task import TaskState
from waybill.ledger import keys
from waybill.ledger.call_records import Rates
from waybill.ledger.ledger import Ledger
from waybill.ledger.records import Grant
from waybill.ledger.steering import PauseKind


def keyed(count: int, *names: str) -> Graph:
    return plan(*(step(f"s{at}", limits=names) for at in range(count)))


async def waiting(ledger: Ledger) -> dict[str, int]:
    return {limit.name: limit.waiting for limit in await ledger.limits()}


async def one_by_one(ledger: Ledger, hand: Hand, count: int) -> AsyncIterator[Grant]:
    """Ends what runs, the one that was granted first, `count` times."""
    await hand.take()
    for _ in range(count):
        grant = next(iter(hand.held.values()))
        yield grant
        await hand.exchange(succeeded(grant))
        await pass_time(ledger, 150, hand)


async def test_given_limits_that_are_always_busy_then_a_step_that_needs_both_gets_through(
    ledger: Ledger, hand: Hand
) -> None:
    await ledger.set_limit("key:a", Rates(1))
    await ledger.set_limit("key:b", Rates(1))
    for key in "ab":
        await accept(ledger, keyed(1, key))
    assert len(await hand.take()) == 2
    both = [await accept(ledger, keyed(1, "a", "b")) for _ in range(3)]
    ledger.clock_ms += 1
    for key in "ab" * 10:
        await accept(ledger, keyed(2, key))
    async for _ in one_by_one(ledger, hand, 30):
        pass
    assert [(await ledger.task(task)).state for task in both] == [TaskState.SUCCEEDED] * 3
    assert all((await waiting(ledger)).values()), "both limits were to be busy all the time"
    await hand.run_all()


@pytest.mark.parametrize("seed", range(6))
async def test_whatever_the_limits_then_all_steps_run_and_none_lies_idle(ledger: Ledger, hand: Hand, seed: int) -> None:
    rng = random.Random(seed)
    most = {f"key:{key}": rng.randint(1, 2) for key in "abcd"}
    for name, limit in most.items():
        await ledger.set_limit(name, Rates(limit))
    count = 0
    for _ in range(12):
        count += (size := rng.randint(1, 4))
        await accept(ledger, keyed(size, *rng.sample("abcd", rng.randint(1, 4))), tenant=rng.choice("xyz"))
    ran = 0
    async for _ in one_by_one(ledger, hand, count):
        ran += 1
    assert ran == count
    assert not any((await waiting(ledger)).values())


async def test_given_a_key_shared_with_a_paused_agent_then_the_other_agent_is_not_held_up(ledger: Ledger) -> None:
    hand = await Hand(ledger, agents=("echo", "other")).register()
    await ledger.set_limit("tenant:acme", Rates(1))
    (first,) = [await accept(ledger, graph(side_by_side(1)))]
    (running,) = await hand.take()
    assert running.ref.task == first
    await accept(ledger, graph(side_by_side(5), agents={f"p{at}": "other" for at in range(5)}))
    mine = await accept(ledger, graph(side_by_side(1)))
    assert await hand.take() == []
    assert await waiting(ledger) == {"tenant:acme": 6}
    await ledger.set_paused(PauseKind.AGENT, "other", True)
    (grant,) = (await hand.exchange(succeeded(running))).grants
    assert grant.ref.task == mine
    await ledger.set_paused(PauseKind.AGENT, "other", False)
    await hand.exchange(succeeded(grant))
    ran = 0
    async for _ in one_by_one(ledger, hand, 5):
        ran += 1
    assert ran == 5


async def test_given_a_key_shared_with_an_agent_that_nobody_runs_then_the_other_agent_is_not_held_up(
    ledger: Ledger, hand: Hand
) -> None:
    away = await Hand(ledger, "away", agents=("other",)).register()
    await ledger.set_limit("tenant:acme", Rates(1))
    await accept(ledger, graph(side_by_side(1)))
    (running,) = await hand.take()
    await accept(ledger, graph(side_by_side(5), agents={f"p{at}": "other" for at in range(5)}))
    mine = await accept(ledger, graph(side_by_side(1)))
    assert await hand.take() == await away.take() == []
    await ledger.unregister(away.id)
    (grant,) = (await hand.exchange(succeeded(running))).grants
    assert grant.ref.task == mine


async def test_given_workers_without_a_free_slot_then_pledges_lapse_and_the_steps_run_once_there_is_one(
    ledger: Ledger, hand: Hand
) -> None:
    await ledger.set_limit("key:crm", Rates(max_concurrency=1, requests_per_minute=40))
    await accept(ledger, keyed(1, "crm"))
    (running,) = await hand.take()
    tasks = [await accept(ledger, keyed(1, "crm")) for _ in range(3)]
    assert await hand.take() == []
    await hand.exchange(succeeded(running), free=0)
    for _ in range(20):
        await pass_time(ledger, 3_000, hand)
        assert (await ledger.limits())[0].held <= 1
    assert {grant.ref.task async for grant in one_by_one(ledger, hand, 3)} == set(tasks)


@pytest.mark.parametrize("verb", ["cancel", "deadline", "impatience"])
async def test_given_a_step_in_line_that_shall_not_run_then_it_leaves_the_line_at_once(
    ledger: Ledger, hand: Hand, verb: str
) -> None:
    await ledger.set_limit("agent:echo", Rates(1))
    await accept(ledger, graph(side_by_side(1)))
    (running,) = await hand.take()
    patience_ms = 2_000 if verb == "impatience" else 0
    deadline_ms = 2_000 if verb == "deadline" else 0
    task = await accept(ledger, graph(side_by_side(3), queue_timeout_ms=patience_ms), deadline_ms=deadline_ms)
    assert await hand.take() == []
    assert await waiting(ledger) == {"agent:echo": 3}
    if verb == "cancel":
        await ledger.cancel(task)
    else:
        await pass_time(ledger, 3_000, hand)
    assert await waiting(ledger) == {"agent:echo": 0}
    record, _ = await check_history(ledger, task)
    assert record.state is (TaskState.CANCELLED if verb == "cancel" else TaskState.FAILED)
    await hand.exchange(succeeded(running))


@pytest.mark.parametrize("seed", range(6))
async def test_whatever_tenants_submit_then_those_in_line_take_turns(ledger: Ledger, hand: Hand, seed: int) -> None:
    rng = random.Random(seed)
    await ledger.set_limit("agent:echo", Rates(rng.randint(1, 3)))
    tenants = "xyz"[: rng.randint(2, 3)]
    for tenant in tenants:
        for _ in range(rng.randint(2, 5)):
            await accept(ledger, graph(side_by_side(rng.randint(10, 20))), tenant=tenant)
    await hand.take()
    async for _ in one_by_one(ledger, hand, 5):  # what was in the queue before there was a line
        pass
    ran: Counter[str] = Counter()
    async for grant in one_by_one(ledger, hand, 15):
        ran[grant.tenant] += 1
        counts = [ran[tenant] for tenant in tenants]
        assert max(counts) - min(counts) <= 4


async def test_given_a_long_line_then_each_call_moves_a_part_of_it(ledger: Ledger) -> None:
    hand = await Hand(ledger, slots=5_000).register()
    await ledger.set_policy({"queue_window": 5_000})
    await ledger.set_limit("key:crm", Rates(1))
    await accept(ledger, keyed(2_000, "crm"))
    assert len(await hand.take()) == 1
    for _ in range(5):
        assert await hand.take() == []
    assert await waiting(ledger) == {"key:crm": 1_999}
    await ledger.set_limit("key:crm", Rates(5_000))
    assert 1_000 <= (await waiting(ledger))["key:crm"] < 1_999
    ran = len(hand.held)
    for _ in range(6):
        await pass_time(ledger, 100, hand)
        ran += len(await hand.take())
    assert ran == 2_000


async def test_given_garbage_in_a_line_then_those_behind_it_go_on(
    ledger: Ledger, hand: Hand, store: redis.asyncio.Redis
) -> None:
    await ledger.set_limit("key:crm", Rates(1))
    await accept(ledger, keyed(1, "crm"))
    (running,) = await hand.take()
    damaged = await accept(ledger, keyed(1, "crm"))
    intact = await accept(ledger, keyed(1, "crm"))
    assert await hand.take() == []
    room = keys.key("0", "lined", "key:crm", "normal", "acme")
    garbage = ("", ":", "x", "no-task:1", "no-task:1:1:1", f"{intact}:77", f"{intact}:1:9:1", b"\xc1")
    await store.zadd(room, dict.fromkeys(garbage, 1))
    await store.hset(keys.key("0", "task", damaged), "run:1", b"\xc1")
    await store.hset(keys.key("0", "limit", "key:crm"), mapping={"requests": "much", "at": b"\xc1", "slowed": "x"})
    assert [grant.ref.task async for grant in one_by_one(ledger, hand, 2)] == [running.ref.task, intact]
    assert (await ledger.task(damaged)).state is TaskState.FAILED
    assert await waiting(ledger) == {"key:crm": 0}


async def test_given_a_call_in_line_whose_attempt_ends_then_it_holds_nobody_up(ledger: Ledger, hand: Hand) -> None:
    rates = Rates(max_concurrency=1)
    await accept(ledger, graph(side_by_side(3)))
    first, second, third = await hand.take()
    for grant in (first, second, third):
        await begin(ledger, hand.id, grant.ref, rates=rates)
    await hand.exchange(succeeded(second))
    await hand.exchange(succeeded(first))
    assert (await begin(ledger, hand.id, third.ref, rates=rates)).verdict == "go"
    await hand.exchange(succeeded(third))
    await pass_time(ledger, 500, hand)
    assert [(limit.held, limit.waiting) for limit in await ledger.limits()] == [(0, 0)]
