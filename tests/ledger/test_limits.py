"""Limits: no more runs at once or starts in a minute than is allowed, and tenants take turns in the line."""

from __future__ import annotations

import itertools
import random

import pytest
from ledger_adapting import plan, step
from ledger_calls import GO, begin
from ledger_fold import check_history
from ledger_hand import Hand, failed, pass_time, succeeded
from ledger_plans import accept, chain, graph, side_by_side

from waybill.core.plan import Graph
from waybill.core.task import TaskState, Usage
from waybill.errors import AlreadyExists
from waybill.ledger.call_records import CallVerdict, Rates
from waybill.ledger.ledger import Ledger
from waybill.ledger.records import AgentOffer, Grant, Request, WorkerOffer
from waybill.ledger.steering import PauseKind


def keyed(count: int, *keys: str) -> Graph:
    return plan(*(step(f"s{at}", limits=keys) for at in range(count)))


async def drain(ledger: Ledger, hand: Hand, most: int) -> list[Grant]:
    """Run all there is, never more than `most` at once."""
    ran: list[Grant] = []
    await hand.take()
    while hand.held:
        assert len(hand.held) <= most
        ran.append(next(iter(hand.held.values())))
        await hand.exchange(succeeded(ran[-1]))
    return ran


@pytest.mark.parametrize("name", ["agent:echo", "tenant:acme", "key:crm"])
async def test_given_a_limit_then_no_more_run_at_once_and_all_run(ledger: Ledger, hand: Hand, name: str) -> None:
    await ledger.set_limit(name, Rates(max_concurrency=3))
    task = await accept(ledger, keyed(10, "crm"))
    assert len(await hand.take()) == 3
    (limit,) = await ledger.limits()
    assert (limit.name, limit.held, limit.waiting) == (name, 3, 7)
    assert len(await drain(ledger, hand, 3)) == 10
    record, _ = await check_history(ledger, task)
    assert record.state is TaskState.SUCCEEDED
    (limit,) = await ledger.limits()
    assert (limit.held, limit.waiting) == (0, 0)


async def test_given_a_step_that_waits_for_a_permit_then_others_take_the_slot(ledger: Ledger, hand: Hand) -> None:
    await ledger.set_limit("key:crm", Rates(max_concurrency=1))
    await accept(ledger, keyed(5, "crm"))
    await accept(ledger, graph(side_by_side(3)))
    assert len(await hand.take()) == 4
    await drain(ledger, hand, 4)


async def test_given_two_limits_then_a_step_takes_all_or_none(ledger: Ledger, hand: Hand) -> None:
    await ledger.set_limit("key:a", Rates(max_concurrency=1))
    await ledger.set_limit("key:b", Rates(max_concurrency=1))
    await accept(ledger, keyed(2, "a", "b"))
    await accept(ledger, keyed(2, "b", "a"))
    (first,) = await hand.take()
    held = {limit.name: limit.held for limit in await ledger.limits()}
    assert held == {"key:a": 1, "key:b": 1}
    await hand.exchange(succeeded(first))
    assert len(await drain(ledger, hand, 1)) == 3


async def test_given_tenants_in_line_then_they_take_turns(ledger: Ledger, hand: Hand) -> None:
    await ledger.set_limit("agent:echo", Rates(max_concurrency=1))
    for tenant in ("first", "second"):
        await accept(ledger, graph(side_by_side(6)), tenant=tenant)
    (grant,) = await hand.take()
    order = [grant.tenant]
    while grants := (await hand.exchange(succeeded(grant))).grants:
        (grant,) = grants
        order.append(grant.tenant)
    assert len(order) == 12
    assert sum(a == b for a, b in itertools.pairwise(order[2:])) <= 3


async def test_given_a_rate_then_starts_are_spread_over_the_minute(ledger: Ledger, hand: Hand) -> None:
    await ledger.set_limit("key:crm", Rates(requests_per_minute=60))
    await accept(ledger, keyed(16, "crm"))
    await accept(ledger, keyed(16, "crm"))
    started = len(await hand.take())
    assert started == 6
    for second in range(1, 31):
        ledger.clock_ms += 1_000
        await hand.renew()
        await ledger.tick()
        await hand.exchange(*map(succeeded, list(hand.held.values())))
        started = 32 - (await ledger.limits())[0].waiting
        assert started <= 6 + second
    assert started == 32
    await hand.run_all()


async def test_given_a_rate_that_is_set_after_many_starts_then_those_do_not_count(ledger: Ledger, hand: Hand) -> None:
    await ledger.set_limit("key:crm", Rates(max_concurrency=50))
    await accept(ledger, keyed(40, "crm"))
    await hand.run_all()
    await ledger.set_limit("key:crm", Rates(max_concurrency=50, requests_per_minute=60))
    await accept(ledger, keyed(6, "crm"))
    assert len(await hand.run_all()) == 6


@pytest.mark.parametrize("seed", range(6))
async def test_whatever_comes_when_then_no_minute_sees_many_more_starts_than_its_rate(
    ledger: Ledger, seed: int
) -> None:
    rng = random.Random(seed)
    hand = await Hand(ledger, slots=200).register()
    rate = rng.choice([5, 30, 60, 600])
    await ledger.set_limit("key:crm", Rates(requests_per_minute=rate))
    started: list[int] = []
    for _ in range(60):
        if rng.random() < 0.5:
            await accept(ledger, keyed(rng.randint(1, 1 + rate // 3), "crm"))
        await pass_time(ledger, rng.choice([100, 1_000, 3_000, 5_000]), hand)
        grants = await hand.take()
        started += [ledger.clock_ms] * len(grants)
        await hand.exchange(*map(succeeded, grants), free=0)
    most = rate + max(1, rate / 10) + rate / 12  # a minute's, a bucket, and what was called up just before
    for at in started:
        assert sum(at <= other < at + 60_000 for other in started) <= most


async def test_given_the_same_request_then_a_limit_is_set_once(ledger: Ledger) -> None:
    request = Request("acme", "r1")
    await ledger.set_limit("key:a", Rates(1), request)
    await ledger.set_limit("key:a", Rates(2))
    await ledger.set_limit("key:a", Rates(1), request)
    assert (await ledger.limits())[0].rates == Rates(2)
    with pytest.raises(AlreadyExists):
        await ledger.set_limit("key:b", Rates(1), request)


@pytest.mark.parametrize("rates", [Rates(), Rates(max_concurrency=100)])
async def test_given_a_limit_that_is_lifted_then_who_waits_goes_on(ledger: Ledger, hand: Hand, rates: Rates) -> None:
    await ledger.set_limit("key:crm", Rates(max_concurrency=1))
    await accept(ledger, keyed(8, "crm"))
    held = await hand.take()
    await ledger.set_limit("key:crm", rates)
    assert len(held) + len(await hand.take()) == 8
    await hand.run_all()
    assert len(await ledger.limits()) == bool(rates != Rates())


async def test_given_a_dead_worker_then_its_permits_are_free_again(ledger: Ledger, hand: Hand) -> None:
    await ledger.set_limit("key:crm", Rates(max_concurrency=2))
    await accept(ledger, keyed(4, "crm"))
    assert len(await hand.take()) == 2
    await pass_time(ledger, 10_000)
    other = await Hand(ledger, "other").register()
    assert len(await other.take()) == 2
    await drain(ledger, other, 2)


@pytest.mark.parametrize("verb", ["cancel", "pause", "retry"])
async def test_given_a_task_in_line_that_is_steered_then_the_line_moves_on(
    ledger: Ledger, hand: Hand, verb: str
) -> None:
    await ledger.set_limit("key:crm", Rates(max_concurrency=1))
    (first,) = [await accept(ledger, keyed(1, "crm"))]
    (running,) = await hand.take()
    steered = await accept(ledger, keyed(3, "crm"))
    last = await accept(ledger, keyed(1, "crm"))
    assert await hand.take() == []
    if verb == "pause":
        await ledger.pause(steered)
    else:
        await ledger.cancel(steered)
    if verb == "retry":
        await ledger.retry(steered)
    (grant,) = (await hand.exchange(succeeded(running))).grants
    if verb != "retry":
        assert grant.ref.task == last
    await hand.exchange(succeeded(grant))
    if verb == "pause":
        await ledger.resume(steered)
    await hand.run_all()
    for task in (first, steered, last):
        record, _ = await check_history(ledger, task)
        assert record.state.ended


async def test_given_a_paused_tenant_then_others_pass_it_in_the_line(ledger: Ledger, hand: Hand) -> None:
    await ledger.set_limit("agent:echo", Rates(max_concurrency=1))
    await accept(ledger, graph(chain(1)), tenant="first")
    (running,) = await hand.take()
    await accept(ledger, graph(chain(1)), tenant="paused")
    await accept(ledger, graph(chain(1)), tenant="third")
    await hand.take()
    await ledger.set_paused(PauseKind.TENANT, "paused", True)
    (grant,) = (await hand.exchange(succeeded(running))).grants
    assert grant.tenant == "third"
    await ledger.set_paused(PauseKind.TENANT, "paused", False)
    await hand.exchange(succeeded(grant))
    await pass_time(ledger, 500, hand)
    assert [grant.tenant for grant in await hand.run_all()] == ["paused"]


async def test_given_permits_of_steps_that_no_worker_takes_then_they_lapse(ledger: Ledger) -> None:
    hand = await Hand(ledger, agents=("echo", "other")).register()
    await ledger.set_limit("key:crm", Rates(max_concurrency=1))
    await accept(ledger, graph(chain(1)))
    both = plan(step("a", limits=("crm",)))
    first = await accept(ledger, both)
    grants = await hand.take()
    await accept(ledger, both)
    assert await hand.take() == []
    await hand.exchange(*map(succeeded, grants), free=0)  # the permit passes to the step in line, and nobody takes it
    assert (await ledger.limits())[0].held == 1
    await pass_time(ledger, 6_000, hand)
    assert (await ledger.limits())[0].held == 0
    assert len(await hand.run_all()) == 1
    assert (await ledger.task(first)).state is TaskState.SUCCEEDED


async def test_given_calls_at_the_limit_then_they_wait_their_turn(ledger: Ledger, hand: Hand) -> None:
    rates = Rates(max_concurrency=1)
    await accept(ledger, graph(side_by_side(2)))
    first, second = await hand.take()
    assert await begin(ledger, hand.id, first.ref, rates=rates) == GO
    for _ in range(2):
        assert (await begin(ledger, hand.id, second.ref, rates=rates)).verdict is CallVerdict.WAIT
    assert (await ledger.limits())[0].waiting == 1
    await ledger.end_call(first.ref, 1, Usage())
    assert (await begin(ledger, hand.id, first.ref, 2, rates=rates)).verdict is CallVerdict.WAIT
    assert await begin(ledger, hand.id, second.ref, rates=rates) == GO
    await ledger.end_call(second.ref, 1, Usage())
    await hand.exchange(failed(first, final=True), succeeded(second))
    await pass_time(ledger, 6_000, hand)
    assert (await ledger.limits())[0].waiting == 0


async def test_given_an_agent_with_a_model_then_its_step_starts_with_the_permit_of_its_first_call(
    ledger: Ledger,
) -> None:
    offer = AgentOffer("echo", "", "{}", "", limits=("model:default",))
    hand = Hand(ledger)
    await ledger.register(WorkerOffer(hand.id, hand.name, "127.0.0.1:1", 16, (offer,)))
    await ledger.set_limit("model:default", Rates(max_concurrency=2))
    await accept(ledger, graph(side_by_side(4)))
    first, second = await hand.take()
    assert await begin(ledger, hand.id, first.ref) == GO
    assert (await ledger.limits())[0].held == 2
    await ledger.end_call(first.ref, 1, Usage())
    assert len(await hand.take()) == 1
    assert (await begin(ledger, hand.id, first.ref, 2)).verdict is CallVerdict.WAIT
    await hand.exchange(succeeded(second))
    assert await begin(ledger, hand.id, first.ref, 2) == GO
    await ledger.end_call(first.ref, 2, Usage())
    await drain(ledger, hand, 3)
    await pass_time(ledger, 6_000, hand)
    await hand.run_all()


@pytest.mark.parametrize("seed", range(8))
async def test_whatever_happens_permits_never_exceed_the_limits_and_all_ends(ledger: Ledger, seed: int) -> None:
    rng = random.Random(seed)
    most = {f"key:{key}": rng.randint(1, 4) for key in "abc"}
    for name, limit in most.items():
        await ledger.set_limit(name, Rates(limit))
    hands = [await Hand(ledger, f"w{at}", slots=4).register() for at in range(3)]
    tasks: list[str] = []
    limits_of: dict[str, set[str]] = {}
    for _ in range(60):
        hand = rng.choice(hands)
        match rng.choice(["submit", "exchange", "exchange", "exchange", "crash", "time", "cancel"]):
            case "submit":
                keys = rng.sample("abc", rng.randint(0, 3))
                tasks.append(await accept(ledger, keyed(rng.randint(1, 4), *keys), tenant=rng.choice(["x", "y"])))
                limits_of[tasks[-1]] = {f"key:{key}" for key in keys}
            case "exchange":
                ended = rng.sample(list(hand.held), rng.randint(0, len(hand.held)))
                await hand.exchange(*(rng.choice([succeeded, failed])(ref) for ref in ended))
            case "crash":
                await hand.restart()
            case "time":
                await pass_time(ledger, rng.randint(100, 4_000), *hands)
            case "cancel" if tasks:
                if not (await ledger.task(chosen := rng.choice(tasks))).state.ended:
                    await ledger.cancel(chosen)
        for limit in await ledger.limits():
            assert limit.held <= most[limit.name]
        for name, limit in most.items():
            running = [grant for hand in hands for grant in hand.held.values() if name in limits_of[grant.ref.task]]
            assert len(running) <= limit
    for _ in range(200):
        await pass_time(ledger, 1_000, *hands)
        for hand in hands:
            await hand.exchange(*map(succeeded, list(hand.held)))
        if all([(await ledger.task(task)).state.ended for task in tasks]):
            break
    for task in tasks:
        record, _ = await check_history(ledger, task)
        assert record.state.ended
    assert all((limit.held, limit.waiting) == (0, 0) for limit in await ledger.limits())


async def test_given_steps_in_a_line_then_it_is_known_which(ledger: Ledger, hand: Hand) -> None:
    await ledger.set_limit("key:crm", Rates(max_concurrency=2))
    task = await ledger.task(await accept(ledger, keyed(5, "crm")))
    numbers = range(1, 6)
    assert await ledger.lines_of(task, numbers) == {}
    ran = {grant.ref.number for grant in await hand.take()}
    while hand.held:
        standing = await ledger.lines_of(task, numbers)
        assert set(standing) == set(numbers) - ran
        assert set(standing.values()) <= {"key:crm"}
        assert await ledger.lines_of(task, sorted(ran)) == {}
        exchange = await hand.exchange(succeeded(next(iter(hand.held.values()))))
        ran |= {grant.ref.number for grant in exchange.grants}
    assert await ledger.lines_of(task, numbers) == {}
    assert await ledger.lines_of(task, ()) == {}
