"""Model calls: what they may cost is reserved before, and replaced by what they did cost, once, whatever ends first."""

from __future__ import annotations

import random
from datetime import UTC, datetime

import pytest
from ledger_calls import GO, USED, WORST, begin, estimated, opening
from ledger_fold import check_history
from ledger_hand import Hand, failed, pass_time, succeeded
from ledger_plans import accept, chain, graph, side_by_side

from waybill.core.budget import Budget, BudgetAction
from waybill.core.task import CallState, EventType, TaskState, Usage
from waybill.ledger.call_records import CallDecision, CallVerdict, Rates
from waybill.ledger.ledger import Ledger
from waybill.ledger.records import Grant, StepRef

START_DAY = "2023-11-14"


async def granted(ledger: Ledger, hand: Hand, steps: int = 1, budget: Budget | None = None) -> list[Grant]:
    await accept(ledger, graph(side_by_side(steps)), budget=budget)
    return await hand.take()


async def test_given_a_call_that_ends_then_its_usage_takes_the_place_of_what_was_reserved(
    ledger: Ledger, hand: Hand
) -> None:
    (grant,) = await granted(ledger, hand)
    assert await begin(ledger, hand.id, grant.ref) == GO
    assert (await ledger.task(grant.ref.task)).reserved_microusd == 1_000
    assert (await ledger.tenant_budget("acme")).reserved_microusd == 1_000

    assert await ledger.end_call(grant.ref, 1, USED)

    task = await ledger.task(grant.ref.task)
    assert (task.usage, task.reserved_microusd) == (USED, 0)
    assert (await ledger.steps(grant.ref.task, 1, 1))[0].usage == USED
    (call,) = await ledger.calls(grant.ref.task)
    assert (call.state, call.usage, call.agent, call.model) == (CallState.SETTLED, USED, "echo", "gpt-x")
    budget = await ledger.tenant_budget("acme")
    assert (budget.spent_total_microusd, budget.spent_day_microusd, budget.reserved_microusd) == (640, 640, 0)
    await hand.exchange(succeeded(grant, usage=Usage(1, 1, 7)))
    await check_history(ledger, grant.ref.task)
    rows = await ledger.usage_of_days("acme", START_DAY, START_DAY)
    assert [(row.agent, row.model, row.usage, row.calls) for row in rows] == [
        ("echo", "", Usage(1, 1, 7), 0),
        ("echo", "gpt-x", USED, 1),
    ]
    of_task = await ledger.usage_of_task(grant.ref.task)
    assert [(row.step_number, row.model, row.usage) for row in of_task] == [(1, "", Usage(1, 1, 7)), (1, "gpt-x", USED)]


async def test_given_calls_made_again_then_they_change_nothing_more(ledger: Ledger, hand: Hand) -> None:
    (grant,) = await granted(ledger, hand)
    for _ in range(3):
        assert await begin(ledger, hand.id, grant.ref) == GO
    assert (await ledger.task(grant.ref.task)).reserved_microusd == 1_000
    other = await ledger.begin_call(hand.id, grant.ref, opening(1, nonce="another"))
    assert other.verdict is CallVerdict.STALE
    for _ in range(3):
        assert await ledger.end_call(grant.ref, 1, USED)
    assert (await ledger.task(grant.ref.task)).usage == USED
    assert not await ledger.end_call(grant.ref, 2, USED)
    await hand.exchange(succeeded(grant))


async def test_given_an_attempt_that_ends_with_a_call_open_then_its_worst_case_counts_until_the_truth_is_told(
    ledger: Ledger, hand: Hand
) -> None:
    (grant,) = await granted(ledger, hand)
    await begin(ledger, hand.id, grant.ref)
    await hand.exchange(failed(grant, final=True))

    task = await ledger.task(grant.ref.task)
    assert (task.state, task.usage, task.reserved_microusd) == (TaskState.FAILED, estimated(WORST), 0)
    assert (await ledger.calls(grant.ref.task))[0].state is CallState.ESTIMATED
    await check_history(ledger, grant.ref.task)

    assert await ledger.end_call(grant.ref, 1, USED)
    assert (await ledger.task(grant.ref.task)).usage == USED
    assert (await ledger.tenant_budget("acme")).spent_total_microusd == 640
    assert (await ledger.usage_of_days("acme", START_DAY, START_DAY))[0].calls == 1
    await check_history(ledger, grant.ref.task)


async def test_given_a_dead_worker_then_its_open_calls_count_as_their_worst_case(ledger: Ledger, hand: Hand) -> None:
    (grant,) = await granted(ledger, hand)
    await begin(ledger, hand.id, grant.ref)
    await pass_time(ledger, 10_000)
    assert (await ledger.task(grant.ref.task)).usage == estimated(WORST)
    late = await begin(ledger, hand.id, grant.ref, 2)
    assert late.verdict is CallVerdict.STALE


async def test_given_a_call_over_midnight_then_the_day_it_began_is_charged(ledger: Ledger, hand: Hand) -> None:
    (grant,) = await granted(ledger, hand)
    await begin(ledger, hand.id, grant.ref)
    ledger.clock_ms += 24 * 3_600_000
    await ledger.end_call(grant.ref, 1, USED)
    today = datetime.fromtimestamp(ledger.clock_ms / 1000, UTC).date().isoformat()
    assert (await ledger.usage_of_days("acme", START_DAY, START_DAY))[0].usage == USED
    assert await ledger.usage_of_days("acme", today, today) == []
    await hand.exchange(succeeded(grant))


async def test_given_a_budget_then_calls_wait_for_what_is_reserved_and_are_refused_at_the_limit(
    ledger: Ledger, hand: Hand
) -> None:
    budget = Budget(2_500, BudgetAction.CHEAPER_MODEL)
    first, second, third = await granted(ledger, hand, 3, budget)
    assert await begin(ledger, hand.id, first.ref) == GO
    assert await begin(ledger, hand.id, second.ref) == GO
    assert (await begin(ledger, hand.id, third.ref)).verdict is CallVerdict.WAIT
    await ledger.end_call(first.ref, 1, Usage(cost_microusd=400))
    assert await begin(ledger, hand.id, third.ref) == GO
    await ledger.end_call(second.ref, 1, Usage(cost_microusd=1_000))
    await ledger.end_call(third.ref, 1, Usage(cost_microusd=1_000))
    refused = await begin(ledger, hand.id, first.ref, 2)
    assert refused == CallDecision(CallVerdict.OVER, 0, "task", 100, BudgetAction.CHEAPER_MODEL)
    await hand.exchange(*map(succeeded, (first, second, third)))


@pytest.mark.parametrize(("total", "day", "scope"), [(1_500, 0, "tenant"), (0, 1_500, "day")])
async def test_given_a_budget_of_the_tenant_then_all_its_tasks_share_it(
    ledger: Ledger, hand: Hand, total: int, day: int, scope: str
) -> None:
    await ledger.set_tenant_budget("acme", total, day)
    (first,) = await granted(ledger, hand)
    (second,) = await granted(ledger, hand)
    assert await begin(ledger, hand.id, first.ref) == GO
    assert (await begin(ledger, hand.id, second.ref)).verdict is CallVerdict.WAIT
    await ledger.end_call(first.ref, 1, Usage(cost_microusd=900))
    assert (await begin(ledger, hand.id, second.ref)).scope == scope
    ledger.clock_ms += 24 * 3_600_000
    await hand.renew()
    tomorrow = await begin(ledger, hand.id, second.ref)
    assert (tomorrow == GO) is (scope == "day")
    await hand.exchange(succeeded(first), succeeded(second))


async def test_given_the_planner_then_its_calls_count_for_the_task(ledger: Ledger) -> None:
    task = await accept(ledger, goal="why", budget=Budget(5_000))
    ref = StepRef(task, 0, 0)
    assert await begin(ledger, "", ref) == GO
    await ledger.end_call(ref, 1, USED)
    assert await begin(ledger, "", ref, 2) == GO
    assert await ledger.attach_plan(task, 0, graph(chain(1)))
    assert (await ledger.task(task)).usage == USED + estimated(WORST)
    assert (await begin(ledger, "", ref, 3)).verdict is CallVerdict.STALE
    assert [row.agent for row in await ledger.usage_of_task(task)] == ["planner"]
    events = await ledger.events(task, 1, 100)
    assert [event.call for event in events if event.type is EventType.CALL_ENDED] == [1, 2]


@pytest.mark.parametrize("seed", range(12))
async def test_whatever_happens_no_budget_is_crossed_and_usage_is_the_sum_of_the_calls(
    ledger: Ledger, hand: Hand, seed: int
) -> None:
    rng = random.Random(seed)
    cap = rng.randint(1_000, 6_000)
    grants = await granted(ledger, hand, 3, Budget(cap))
    task, number = grants[0].ref.task, 0
    begun: list[tuple[StepRef, int, int]] = []
    for _ in range(40):
        if begun and rng.random() < 0.5:
            ref, ending, worst = begun.pop(rng.randrange(len(begun)))
            await ledger.end_call(ref, ending, Usage(cost_microusd=rng.randint(0, worst)))
        else:
            number, ref, worst = number + 1, rng.choice(grants).ref, rng.randint(1, 3_000)
            if await begin(ledger, hand.id, ref, number, Usage(cost_microusd=worst)) == GO:
                begun.append((ref, number, worst))
        stored = await ledger.task(task)
        assert stored.usage.cost_microusd + stored.reserved_microusd <= cap
        assert stored.reserved_microusd == sum(worst for _, _, worst in begun)
    await hand.exchange(*(failed(grant, final=True) for grant in grants))
    stored = await ledger.task(task)
    spent = sum((call.usage for call in await ledger.calls(task)), Usage())
    assert (stored.reserved_microusd, stored.usage) == (0, spent)
    assert spent.cost_microusd <= cap
    await check_history(ledger, task)


async def planned(ledger: Ledger, budget: int = 0, worst_microusd: int = 1_000) -> StepRef:
    """A task that is being planned, with call 1 of its planner open."""
    task = await accept(ledger, goal="why?", budget=Budget(budget))
    ref = StepRef(task, 0, 0)
    assert await begin(ledger, "", ref, worst=Usage(cost_microusd=worst_microusd)) == GO
    return ref


async def test_given_planner_calls_that_follow_one_another_then_each_is_told_and_the_rest_stays_reserved(
    ledger: Ledger,
) -> None:
    ref = await planned(ledger, budget=1_000)
    for _ in range(2):
        assert await ledger.pass_call(ref, 1, "n2", "gpt-y", "elsewhere", USED)
    task = await ledger.task(ref.task)
    assert (task.usage, task.reserved_microusd) == (USED, 360)
    assert await ledger.pass_call(ref, 2, "n3", "gpt-x", "default", Usage(1, 1, 60))
    assert not await ledger.pass_call(ref, 2, "other", "gpt-x", "default", Usage(1, 1, 60))
    assert await ledger.drop_call(ref, 3)
    assert not await ledger.drop_call(ref, 3)
    calls = await ledger.calls(ref.task)
    assert [(call.number, call.state, call.model, call.endpoint) for call in calls] == [
        (1, CallState.SETTLED, "gpt-y", "elsewhere"),
        (2, CallState.SETTLED, "gpt-x", "default"),
    ]
    task = await ledger.task(ref.task)
    assert (task.usage, task.reserved_microusd) == (USED + Usage(1, 1, 60), 0)
    told = [event.call for event in await ledger.events(ref.task, 1, 100) if event.type is EventType.CALL_ENDED]
    assert told == [1, 2]
    assert [row.calls for row in await ledger.usage_of_days("acme", START_DAY, START_DAY)] == [1, 1]


async def test_given_a_planner_that_is_gone_then_what_it_had_left_counts_and_its_late_call_is_told_all_the_same(
    ledger: Ledger,
) -> None:
    ref = await planned(ledger)
    await ledger.pass_call(ref, 1, "n2", "gpt-x", "default", USED)
    await ledger.cancel(ref.task)
    task = await ledger.task(ref.task)
    assert (task.usage, task.reserved_microusd) == (USED + Usage(0, 0, 360, estimated_microusd=360), 0)
    assert not await ledger.pass_call(ref, 2, "n3", "gpt-x", "default", Usage(1, 1, 60))
    assert not await ledger.drop_call(ref, 2)
    assert (await ledger.task(ref.task)).usage == USED + Usage(1, 1, 60)
    assert len(await ledger.calls(ref.task)) == 2
    await check_history(ledger, ref.task)


async def test_given_planner_calls_then_they_hold_one_permit_and_count_as_requests_each(ledger: Ledger) -> None:
    rates = Rates(max_concurrency=1, requests_per_minute=40)
    first = await accept(ledger, goal="why?")
    second = await accept(ledger, goal="how?")
    ref, other = StepRef(first, 0, 0), StepRef(second, 0, 0)
    assert await begin(ledger, "", ref, worst=Usage(), rates=rates) == GO
    await ledger.pass_call(ref, 1, "n2", "gpt-x", "default", USED)
    await ledger.pass_call(ref, 2, "n3", "gpt-x", "default", USED)
    assert (await begin(ledger, "", other, worst=Usage(), rates=rates)).verdict is CallVerdict.WAIT
    (limit,) = await ledger.limits()
    assert (limit.held, limit.waiting) == (1, 1)
    await ledger.drop_call(ref, 3)
    assert await begin(ledger, "", other, worst=Usage(), rates=rates) == GO
    await ledger.drop_call(other, 1)
    third = StepRef(await accept(ledger, goal="when?"), 0, 0)
    assert (await begin(ledger, "", third, worst=Usage(), rates=rates)).verdict is CallVerdict.WAIT
