"""A step at the limit of a budget: its author's policy stops it, or a person is asked how much may be spent besides."""

from __future__ import annotations

import pytest
from ledger_adapting import plan, step
from ledger_calls import GO, USED, begin
from ledger_fold import check_history
from ledger_hand import Hand, pass_time, succeeded
from ledger_plans import accept, graph, side_by_side

from waybill.core.budget import Budget, BudgetAction
from waybill.core.plan import FailurePolicy
from waybill.core.task import Failure, StepState, TaskState, Usage
from waybill.errors import FailedPrecondition, InvalidArgument
from waybill.ledger.call_records import CallVerdict
from waybill.ledger.ledger import Ledger
from waybill.ledger.records import Grant, Outcome, Request, Settlement

ASKS = Budget(1_200, BudgetAction.ASK)


def over(grant: Grant) -> Settlement:
    return Settlement(grant.ref, Outcome.OVER_BUDGET, failure=Failure("BUDGET_EXHAUSTED", "too dear"), run_ms=5)


async def asking(ledger: Ledger, hand: Hand, steps: int = 1, budget: Budget = ASKS) -> str:
    """A task whose steps wait for a person to raise its budget; one of them has spent some of it."""
    task = await accept(ledger, graph(side_by_side(steps)), budget=budget)
    grants = await hand.take()
    assert await begin(ledger, hand.id, grants[0].ref) == GO
    await ledger.end_call(grants[0].ref, 1, USED)
    assert (await begin(ledger, hand.id, grants[0].ref, 2)).verdict is CallVerdict.OVER
    await hand.exchange(*map(over, grants))
    return task


async def states(ledger: Ledger, task: str) -> list[StepState]:
    """Of the steps, after the history was checked."""
    _, steps = await check_history(ledger, task)
    return [found.state for found in steps.values()]


async def test_given_a_sum_then_all_steps_that_ask_go_on_and_the_budget_is_higher(ledger: Ledger, hand: Hand) -> None:
    task = await asking(ledger, hand, 3)
    assert await states(ledger, task) == [StepState.WAITING] * 3
    request = Request("acme", "more")
    for _ in range(2):
        await ledger.answer(task, 2, b'{"add_microusd": 5000}', request)
    record = await ledger.task(task)
    assert record.budget == Budget(6_200, BudgetAction.ASK)
    assert await states(ledger, task) == [StepState.READY] * 3
    with pytest.raises(FailedPrecondition):
        await ledger.answer(task, 1, b'{"add_microusd": 5000}')
    grants = await hand.take()
    assert {grant.ref.attempt for grant in grants} == {3}
    for grant in grants:
        assert await begin(ledger, hand.id, grant.ref) == GO
        await ledger.end_call(grant.ref, 1, USED)
    await hand.exchange(*map(succeeded, grants))
    record, _ = await check_history(ledger, task)
    assert (record.state, record.usage) == (TaskState.SUCCEEDED, sum([USED] * 4, Usage()))


GARBLED = [
    *(b"", b"5", b'"yes"', b"null", b"{", b"{}", b"[]", b'{"add_microusd": "5"}', b'{"add_microusd": -1}'),
    *(b'{"add_microusd": 0.5}', b'{"add_microusd": 1e400}', b'{"add_microusd": 1000000000001}', b"[[[[", b"\xff"),
    *(b'{"add_microusd": null}', b'{"add_microusd": {}}', b'{"add_microusd": NaN}', b'{"add_microusd": true}'),
]


@pytest.mark.parametrize("answer", GARBLED)
async def test_given_what_is_no_sum_then_it_is_refused_and_the_step_waits_on(
    ledger: Ledger, hand: Hand, answer: bytes
) -> None:
    task = await asking(ledger, hand)
    with pytest.raises(InvalidArgument, match="add_microusd"):
        await ledger.answer(task, 1, answer)
    assert await states(ledger, task) == [StepState.WAITING]
    await ledger.cancel(task)


@pytest.mark.parametrize("policy", [FailurePolicy.STOP, FailurePolicy.CONTINUE])
async def test_given_nothing_then_the_step_fails_and_the_others_as_their_plan_says(
    ledger: Ledger, hand: Hand, policy: FailurePolicy
) -> None:
    task = await accept(ledger, plan(step("a"), step("b"), step("c", "a"), on_failure=policy), budget=ASKS)
    await hand.exchange(*map(over, await hand.take()))
    await ledger.answer(task, 1, b'{"add_microusd": 0}')
    found = await states(ledger, task)
    if policy is FailurePolicy.STOP:
        assert found == [StepState.FAILED, StepState.CANCELLED, StepState.CANCELLED]
    else:
        assert found == [StepState.FAILED, StepState.WAITING, StepState.SKIPPED]
        await ledger.answer(task, 2, b'{"add_microusd": 1}')
        await hand.run_all()
    record, steps = await check_history(ledger, task)
    assert (record.state, record.failure and record.failure.reason) == (TaskState.FAILED, "BUDGET_EXHAUSTED")
    assert steps["a"].failure == record.failure


async def test_given_a_paused_task_then_a_raised_budget_starts_its_steps_once_it_goes_on(
    ledger: Ledger, hand: Hand
) -> None:
    task = await asking(ledger, hand)
    await ledger.pause(task)
    await ledger.answer(task, 1, b'{"add_microusd": 5000}')
    assert await hand.take() == []
    await ledger.resume(task)
    assert len(await hand.run_all()) == 1
    record, _ = await check_history(ledger, task)
    assert record.state is TaskState.SUCCEEDED


async def test_given_a_step_that_runs_in_a_paused_task_then_it_asks_all_the_same(ledger: Ledger, hand: Hand) -> None:
    task = await accept(ledger, graph(side_by_side(1)), budget=ASKS)
    (grant,) = await hand.take()
    await ledger.pause(task)
    await hand.exchange(over(grant))
    (found,) = await ledger.steps(task, 1, 1)
    assert (found.state, found.question is not None) == (StepState.WAITING, True)
    await ledger.resume(task)
    await ledger.answer(task, 1, b'{"add_microusd": 1}')
    assert len(await hand.run_all()) == 1
    await check_history(ledger, task)


@pytest.mark.parametrize("end", ["cancel", "deadline"])
async def test_given_a_task_that_stops_while_it_asks_then_it_ends_and_a_retry_begins_anew(
    ledger: Ledger, hand: Hand, end: str
) -> None:
    task = await accept(ledger, graph(side_by_side(2)), budget=ASKS, deadline_ms=60_000)
    await hand.exchange(*map(over, await hand.take()))
    if end == "cancel":
        await ledger.cancel(task)
    else:
        await pass_time(ledger, 61_000, hand)
    assert await states(ledger, task) == [StepState.CANCELLED] * 2
    with pytest.raises(FailedPrecondition):
        await ledger.answer(task, 1, b'{"add_microusd": 5000}')
    await ledger.retry(task)
    assert len(await hand.run_all()) == 2
    record, _ = await check_history(ledger, task)
    assert record.state is TaskState.SUCCEEDED


async def test_given_a_step_over_budget_in_a_task_that_stops_then_it_is_cancelled(ledger: Ledger, hand: Hand) -> None:
    task = await accept(ledger, graph(side_by_side(1)), budget=ASKS)
    (grant,) = await hand.take()
    await ledger.cancel(task)
    await hand.exchange(over(grant))
    assert await states(ledger, task) == [StepState.CANCELLED]


@pytest.mark.parametrize("action", [BudgetAction.STOP, BudgetAction.CHEAPER_MODEL])
async def test_given_a_policy_that_does_not_ask_then_the_step_fails_for_good(
    ledger: Ledger, hand: Hand, action: BudgetAction
) -> None:
    task = await asking(ledger, hand, budget=Budget(1_200, action))
    record, steps = await check_history(ledger, task)
    assert (record.state, steps["p0"].attempt) == (TaskState.FAILED, 1)


async def test_given_the_tenant_has_no_more_then_asking_raises_nothing_of_a_task_without_a_budget(
    ledger: Ledger, hand: Hand
) -> None:
    await ledger.set_tenant_budget("acme", 700, 0)
    task = await accept(ledger, graph(side_by_side(1)), budget=Budget(0, BudgetAction.ASK))
    (grant,) = await hand.take()
    for answered in range(2):
        decision = await begin(ledger, hand.id, grant.ref)
        assert (decision.verdict, decision.scope) == (CallVerdict.OVER, "tenant")
        await hand.exchange(over(grant))
        if answered:
            await ledger.set_tenant_budget("acme", 7_000, 0)
        await ledger.answer(task, 1, b'{"add_microusd": 100}')
        (grant,) = await hand.take()
    assert await begin(ledger, hand.id, grant.ref) == GO
    await ledger.end_call(grant.ref, 1, USED)
    await hand.exchange(succeeded(grant))
    await check_history(ledger, task)
