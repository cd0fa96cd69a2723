"""The lines before limits: they move on whatever becomes of those who stand there, and nobody is passed over."""

from __future__ import annotations

import itertools

import pytest
import redis.asyncio
from ledger_adapting import plan, step
from ledger_calls import GO, begin, opening
from ledger_fold import check_history
from ledger_hand import Hand, pass_time, succeeded
from ledger_plans import accept, graph, side_by_side

from waybill.core.budget import Budget
from waybill.core.plan import AgentSchema, Graph, Plan, PlanStep
from waybill.core.task import TaskState, Usage
from waybill.core.validation import link
from waybill.ledger import keys
from waybill.ledger.call_records import CallOpening, CallVerdict, Observed, Rates
from waybill.ledger.ledger import Ledger
from waybill.ledger.records import AgentOffer, Grant, WorkerOffer
from waybill.ledger.steering import PauseKind

ONE = Rates(max_concurrency=1)


def keyed(count: int, *names: str) -> Graph:
    return plan(*(step(f"s{at}", limits=names) for at in range(count)))


def of_agent(agent: str, count: int, *names: str) -> Graph:
    steps = tuple(PlanStep(f"s{at}", agent, limits=names) for at in range(count))
    return link(Plan(steps), {agent: AgentSchema(agent, "", '{"type": "object"}')})


async def held(ledger: Ledger, name: str) -> tuple[int, int]:
    """How many permits are held of a limit, and how many wait."""
    (limit,) = [limit for limit in await ledger.limits() if limit.name == name]
    return limit.held, limit.waiting


async def nobody_stands(ledger: Ledger, store: redis.asyncio.Redis, *beating: Hand) -> None:
    await pass_time(ledger, 6_000, *beating)
    for kind in ("lines", "line", "lined", "permits"):
        assert not await store.keys(f"{keys.prefix('0')}:{kind}*"), kind


async def test_given_steps_of_two_limits_then_those_of_one_alone_are_not_passed_over(
    ledger: Ledger, hand: Hand
) -> None:
    for name in ("key:a", "key:b"):
        await ledger.set_limit(name, ONE)
    both = await accept(ledger, keyed(8, "a", "b"))
    one = await accept(ledger, keyed(8, "b"))
    (grant,) = await hand.take()
    order = [grant]
    while grants := (await hand.exchange(succeeded(grant))).grants:
        (grant,) = grants
        order.append(grant)
    assert [item.ref.task for item in order].count(one) == 8
    assert [item.ref.task for item in order].count(both) == 8


async def test_given_lines_of_many_with_two_limits_then_all_run(ledger: Ledger, store: redis.asyncio.Redis) -> None:
    hand = await Hand(ledger, slots=1_000).register()
    for name in ("key:a", "key:b"):
        await ledger.set_limit(name, Rates(max_concurrency=40))
    tasks = [await accept(ledger, keyed(200, *names)) for names in (("a", "b"), ("b", "a"), ("a",), ("b",))]
    ran = 0
    for _ in range(200):
        grants = list(hand.held.values())
        assert len([grant for grant in grants if grant.ref.task != tasks[3]]) <= 40
        ran += len(grants)
        await hand.exchange(*map(succeeded, grants))
        if ran == 800:
            break
        await pass_time(ledger, 200, hand)
    for task in tasks:
        record, _ = await check_history(ledger, task)
        assert record.state is TaskState.SUCCEEDED
    await nobody_stands(ledger, store, hand)


@pytest.mark.parametrize("why", ["paused", "unserved"])
async def test_given_steps_that_nobody_may_run_then_they_keep_no_permits_from_others(
    ledger: Ledger, hand: Hand, why: str
) -> None:
    other = await Hand(ledger, "other", ("other",)).register()
    await ledger.set_limit("key:crm", ONE)
    await accept(ledger, keyed(1, "crm"))
    (running,) = await hand.take()
    held_up = await accept(ledger, of_agent("other", 5, "crm"))
    assert await other.take() == []
    last = await accept(ledger, keyed(1, "crm"))
    assert await hand.take() == []
    if why == "paused":
        await ledger.set_paused(PauseKind.AGENT, "other", True)
    else:
        await ledger.unregister(other.id)
    (grant,) = (await hand.exchange(succeeded(running))).grants
    assert grant.ref.task == last
    if why == "paused":
        await ledger.set_paused(PauseKind.AGENT, "other", False)
    else:
        await other.restart()
    await hand.exchange(succeeded(grant))
    ran = 0
    for _ in range(20):
        await pass_time(ledger, 200, hand, other)
        ran += len((await other.exchange(*map(succeeded, list(other.held.values())))).grants)
    assert ran == 5
    record, _ = await check_history(ledger, held_up)
    assert record.state is TaskState.SUCCEEDED


async def test_given_a_slow_queue_then_steps_whose_permits_lapsed_in_it_go_before_the_line(
    ledger: Ledger, hand: Hand
) -> None:
    await ledger.set_limit("key:crm", ONE)
    await accept(ledger, keyed(4, "crm"))
    (running,) = await hand.take()
    await hand.exchange(succeeded(running), free=0)
    starts = 0
    for _ in range(3):
        await pass_time(ledger, 6_000, hand)  # in which every permit lapses before its step is claimed
        grants = await hand.take(1)
        starts += len(grants)
        await hand.exchange(*map(succeeded, grants), free=0)
    assert starts == 3


async def test_given_a_limit_removed_while_many_stand_then_all_go_on_and_nothing_is_left(
    ledger: Ledger, store: redis.asyncio.Redis
) -> None:
    hand = await Hand(ledger, slots=2_000).register()
    await ledger.set_limit("key:crm", ONE)
    await accept(ledger, keyed(1_200, "crm"))
    (running,) = await hand.take()
    for _ in range(20):
        await hand.take()
    assert await held(ledger, "key:crm") == (1, 1_199)
    await ledger.set_limit("key:crm", Rates())
    await pass_time(ledger, 2_000, hand)
    ran = await hand.run_all()
    assert len(ran) == 1_200
    assert running in ran
    await nobody_stands(ledger, store, hand)
    assert not await store.exists(keys.key("0", "limit", "key:crm"))


async def test_given_a_limit_removed_and_set_again_then_it_holds_for_all_that_start_from_then_on(
    ledger: Ledger, hand: Hand
) -> None:
    await ledger.set_limit("key:crm", Rates(max_concurrency=2))
    await accept(ledger, keyed(6, "crm"))
    before = await hand.take()
    await ledger.set_limit("key:crm", Rates())
    await ledger.set_limit("key:crm", ONE)
    await hand.exchange(*map(succeeded, before))
    while grants := list(hand.held.values()):
        assert len(grants) <= 4
        await hand.exchange(*map(succeeded, grants))
        await pass_time(ledger, 200, hand)
    assert await held(ledger, "key:crm") == (0, 0)


async def test_given_calls_and_a_limit_that_is_removed_then_nothing_of_it_is_left(
    ledger: Ledger, hand: Hand, store: redis.asyncio.Redis
) -> None:
    await ledger.set_limit("model:default", ONE)
    await accept(ledger, graph(side_by_side(2)))
    first, second = await hand.take()
    assert await begin(ledger, hand.id, first.ref) == GO
    assert (await begin(ledger, hand.id, second.ref)).verdict is CallVerdict.WAIT
    await ledger.set_limit("model:default", Rates())
    assert await begin(ledger, hand.id, second.ref) == GO
    for grant in (first, second):
        await ledger.end_call(grant.ref, 1, Usage())
    await hand.exchange(succeeded(first), succeeded(second))
    await nobody_stands(ledger, store, hand)
    assert not await store.exists(keys.key("0", "limit", "model:default"))


async def test_given_a_caller_who_does_not_wait_then_no_permit_is_kept_for_it(ledger: Ledger, hand: Hand) -> None:
    await accept(ledger, graph(side_by_side(3)))
    first, second, third = await hand.take()
    assert await begin(ledger, hand.id, first.ref, rates=ONE) == GO
    asked = opening(rates=ONE)
    impatient = CallOpening(1, "n", asked.model, asked.endpoint, asked.worst, ONE, patient=False)
    assert (await ledger.begin_call(hand.id, second.ref, impatient)).verdict is CallVerdict.WAIT
    assert await held(ledger, "model:default") == (1, 0)
    await ledger.end_call(first.ref, 1, Usage())
    assert await begin(ledger, hand.id, third.ref, rates=ONE) == GO
    await ledger.end_call(third.ref, 1, Usage())
    assert await ledger.begin_call(hand.id, second.ref, impatient) == GO
    await ledger.end_call(second.ref, 1, Usage())
    await hand.exchange(*map(succeeded, (first, second, third)))


async def test_given_a_rate_of_tokens_then_no_more_are_called_up_than_it_allows(ledger: Ledger, hand: Hand) -> None:
    rates = Rates(tokens_per_minute=6_000)  # 100 a second, 600 at once
    worst = Usage(500, 100)
    await accept(ledger, graph(side_by_side(10)))
    grants = await hand.take()
    waiting = [grant for grant in grants if await begin(ledger, hand.id, grant.ref, worst=worst, rates=rates) != GO]
    assert len(waiting) == 9
    gone: list[Grant] = []
    for second in range(1, 60):
        await pass_time(ledger, 1_000, hand)
        for grant in list(waiting):
            if await begin(ledger, hand.id, grant.ref, worst=worst, rates=rates) == GO:
                waiting.remove(grant)
                gone.append(grant)
        assert 600 * len(gone) <= 100 * second + 600
    assert len(gone) == 9
    await hand.exchange(*map(succeeded, grants))


async def test_given_steps_that_start_with_permits_then_their_first_calls_keep_to_the_rate_of_tokens(
    ledger: Ledger,
) -> None:
    hand = Hand(ledger)
    offer = AgentOffer("echo", "", "{}", "", limits=("model:default",))
    await ledger.register(WorkerOffer(hand.id, hand.name, "127.0.0.1:1", 16, (offer,)))
    await ledger.set_limit("model:default", Rates(tokens_per_minute=6_000))
    await accept(ledger, graph(side_by_side(8)))
    grants = await hand.take()
    worst = Usage(500, 100)
    assert [(await begin(ledger, hand.id, grant.ref, worst=worst)) == GO for grant in grants].count(True) == 1
    for _ in range(120):
        await pass_time(ledger, 1_000, hand)
        for grant in grants:
            await begin(ledger, hand.id, grant.ref, worst=worst)
    assert (await ledger.task(grants[0].ref.task)).reserved_microusd == 0
    assert len(await ledger.calls(grants[0].ref.task)) == 8
    await hand.exchange(*map(succeeded, grants))


async def test_given_a_worker_that_announces_other_limits_then_permits_come_back_all_the_same(ledger: Ledger) -> None:
    hand = Hand(ledger)
    for limits in (("model:old",), ("model:new",)):
        offer = AgentOffer("echo", "", "{}", "", limits=limits)
        await ledger.register(WorkerOffer(hand.id, hand.name, "127.0.0.1:1", 16, (offer,)))
        await ledger.set_limit(limits[0], ONE)
        await accept(ledger, graph(side_by_side(1)))
        await hand.take()
    assert await held(ledger, "model:old") == (1, 0)
    await hand.exchange(*map(succeeded, list(hand.held.values())))
    assert (await held(ledger, "model:old"), await held(ledger, "model:new")) == ((0, 0), (0, 0))


async def test_given_a_tenant_that_was_paused_in_line_then_it_takes_turns_and_does_not_make_up_for_it(
    ledger: Ledger, hand: Hand
) -> None:
    await ledger.set_limit("agent:echo", ONE)
    for tenant in ("a", "b"):
        await accept(ledger, graph(side_by_side(10)), tenant=tenant)
    (grant,) = await hand.take()
    await ledger.set_paused(PauseKind.TENANT, "a", True)
    for _ in range(5):
        (grant,) = (await hand.exchange(succeeded(grant))).grants
    await ledger.set_paused(PauseKind.TENANT, "a", False)
    order = []
    while grants := (await hand.exchange(succeeded(grant))).grants:
        (grant,) = grants
        order.append(grant.tenant)
    assert sum(x == y for x, y in itertools.pairwise(order[:8])) <= 1


@pytest.mark.parametrize("how", ["cancel", "late", "called up"])
async def test_given_steps_in_line_that_stop_waiting_then_they_stand_there_no_longer(
    ledger: Ledger, hand: Hand, how: str
) -> None:
    await ledger.set_limit("key:crm", ONE)
    await accept(ledger, keyed(1, "crm"))
    (running,) = await hand.take()
    task = await accept(ledger, plan(*(step(f"s{at}", limits=("crm",), queue_timeout_ms=900) for at in range(9))))
    await hand.take()
    assert await held(ledger, "key:crm") == (1, 9)
    if how == "called up":
        await hand.exchange(succeeded(running), free=0)
        assert await held(ledger, "key:crm") == (1, 8)
    if how == "late":
        await pass_time(ledger, 2_000, hand)
    else:
        await ledger.cancel(task)
    assert await held(ledger, "key:crm") == (0 if how == "called up" else 1, 0)
    assert (await ledger.task(task)).state.ended
    if how != "called up":
        await hand.exchange(succeeded(running))


async def test_given_a_call_that_was_called_up_and_is_over_budget_then_the_next_goes_at_once(
    ledger: Ledger, hand: Hand
) -> None:
    await accept(ledger, graph(side_by_side(2)), budget=Budget(1_000))
    first, second = await hand.take()
    await accept(ledger, graph(side_by_side(1)))
    (third,) = await hand.take()
    assert await begin(ledger, hand.id, third.ref, rates=ONE) == GO
    for grant in (first, second):
        assert (await begin(ledger, hand.id, grant.ref, rates=ONE)).verdict is CallVerdict.WAIT
    await ledger.end_call(third.ref, 1, Usage())
    assert (await begin(ledger, hand.id, first.ref, worst=Usage(100, 50, 2_000), rates=ONE)).scope == "task"
    assert await held(ledger, "model:default") == (1, 0)
    assert await begin(ledger, hand.id, second.ref, rates=ONE) == GO
    await ledger.end_call(second.ref, 1, Usage())
    await hand.exchange(*map(succeeded, (first, second, third)))


async def test_given_a_provider_that_asks_for_endless_patience_then_it_gets_a_day(ledger: Ledger, hand: Hand) -> None:
    await accept(ledger, graph(side_by_side(1)))
    (grant,) = await hand.take()
    await begin(ledger, hand.id, grant.ref)
    await ledger.end_call(grant.ref, 1, Usage(), Observed(throttled=True, retry_after_ms=10**15))
    (limit,) = await ledger.limits()
    assert limit.blocked_until_ms == ledger.clock_ms + 86_400_000
    await hand.exchange(succeeded(grant))


async def test_given_the_highest_priority_then_it_goes_first_and_calls_before_steps(ledger: Ledger, hand: Hand) -> None:
    offer = AgentOffer("echo", "", "{}", "", limits=("model:default",))
    await ledger.register(WorkerOffer(hand.id, hand.name, "127.0.0.1:1", 16, (offer,)))
    await ledger.set_limit("model:default", ONE)
    await accept(ledger, graph(side_by_side(3)))
    (first,) = await hand.take()
    assert await begin(ledger, hand.id, first.ref) == GO
    assert (await begin(ledger, hand.id, first.ref, 2)).verdict is CallVerdict.WAIT
    await ledger.end_call(first.ref, 1, Usage())
    assert await begin(ledger, hand.id, first.ref, 2) == GO
    await ledger.end_call(first.ref, 2, Usage())
    await hand.exchange(succeeded(first))
    await hand.run_all()
