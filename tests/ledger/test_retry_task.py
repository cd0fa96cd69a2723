"""`retry_task`: an ended task runs again from what did not succeed, once for each request."""

from __future__ import annotations

import pytest
from ledger_fold import check_history
from ledger_hand import Hand, cancelled, died, failed, pass_time, succeeded
from ledger_plans import DIAMOND, accept, chain, graph, side_by_side

from waybill.core.plan import FailurePolicy, RetryPolicy
from waybill.core.task import Failure, StepState, TaskState
from waybill.errors import FailedPrecondition, NotFound
from waybill.ledger.ledger import Ledger
from waybill.ledger.records import Request


async def test_given_a_failed_step_when_retried_then_what_succeeded_stays_and_the_rest_runs(
    ledger: Ledger, hand: Hand
) -> None:
    task_id = await accept(ledger, graph(DIAMOND))
    (first,) = await hand.take()
    second = (await hand.exchange(succeeded(first, b'"kept"'))).grants
    by_name = {grant.step: grant for grant in second}
    await hand.exchange(failed(by_name["b"], final=True), succeeded(by_name["c"]))
    assert (await ledger.task(task_id)).state is TaskState.FAILED

    assert await ledger.retry(task_id) is TaskState.RUNNING
    ran = await hand.run_all()
    assert [(grant.step, grant.ref.attempt) for grant in ran] == [("b", 2), ("d", 1)]
    task, steps = await check_history(ledger, task_id)
    assert (task.state, task.failure, task.ended_step_count) == (TaskState.SUCCEEDED, None, 4)
    assert steps["a"].output == b'"kept"'
    assert {step.tries for step in steps.values()} == {0}


async def test_given_a_step_that_succeeded_while_its_task_was_stopping_then_it_stays_too(
    ledger: Ledger, hand: Hand
) -> None:
    task_id = await accept(ledger, graph({"bad": [], "good": [], "after": ["good"]}))
    by_name = {grant.step: grant for grant in await hand.take()}
    await hand.exchange(failed(by_name["bad"], final=True))
    await hand.exchange(succeeded(by_name["good"]))
    await ledger.retry(task_id)
    assert sorted(grant.step for grant in await hand.run_all()) == ["after", "bad"]
    await check_history(ledger, task_id)


async def test_given_a_cancelled_task_when_retried_then_it_runs_to_its_end(ledger: Ledger, hand: Hand) -> None:
    task_id = await accept(ledger, graph(chain(2)))
    (grant,) = await hand.take()
    await ledger.cancel(task_id)
    with pytest.raises(FailedPrecondition, match="cancelling"):
        await ledger.retry(task_id)
    await hand.exchange(cancelled(grant))
    await ledger.retry(task_id)
    await hand.run_all()
    assert (await check_history(ledger, task_id))[0].state is TaskState.SUCCEEDED


async def test_given_every_step_succeeded_before_the_cancellation_counted_then_a_retry_succeeds_at_once(
    ledger: Ledger, hand: Hand
) -> None:
    task_id = await accept(ledger, graph(chain(1)))
    (grant,) = await hand.take()
    await ledger.cancel(task_id)
    await hand.exchange(succeeded(grant))
    assert (await ledger.task(task_id)).state is TaskState.CANCELLED
    assert await ledger.retry(task_id) is TaskState.SUCCEEDED
    await check_history(ledger, task_id)


async def test_given_a_retried_task_then_retrying_again_and_late_repetitions_change_nothing(
    ledger: Ledger, hand: Hand
) -> None:
    task_id = await accept(ledger, graph(chain(1)))
    request = Request("acme", "again")
    for _ in range(2):
        (grant,) = await hand.take()
        await hand.exchange(failed(grant, final=True))
        state = await ledger.retry(task_id, request)
        if state is TaskState.FAILED:
            break
        assert await ledger.retry(task_id, Request("acme", "other")) is TaskState.RUNNING
    assert (await ledger.task(task_id)).state is TaskState.FAILED, "the repetition of the first retry ran it again"
    _, steps = await check_history(ledger, task_id)
    assert steps["s0"].attempt == 2


async def test_given_a_succeeded_or_unknown_task_then_it_cannot_be_retried(ledger: Ledger, hand: Hand) -> None:
    task_id = await accept(ledger, graph(chain(1)))
    await hand.run_all()
    with pytest.raises(FailedPrecondition, match="succeeded"):
        await ledger.retry(task_id)
    with pytest.raises(NotFound):
        await ledger.retry("0-none")


async def test_given_a_goal_that_no_plan_was_found_for_when_retried_then_it_is_planned_again(
    ledger: Ledger, hand: Hand
) -> None:
    task_id = await accept(ledger, goal="why?")
    await ledger.fail_planning(task_id, Failure("PLAN_INVALID", "no"))
    assert await ledger.retry(task_id) is TaskState.PLANNING
    (lease,) = await ledger.lease_planning(1_000, 10)
    assert await ledger.attach_plan(lease.task, 0, graph(chain(1)), lease.round)
    await hand.run_all()
    assert (await check_history(ledger, task_id))[0].state is TaskState.SUCCEEDED


async def test_given_a_planner_of_an_earlier_round_then_what_it_says_late_is_refused(ledger: Ledger) -> None:
    task_id = await accept(ledger, goal="why?")
    (earlier,) = await ledger.lease_planning(1_000, 10)
    await ledger.cancel(task_id)
    await ledger.retry(task_id)
    (later,) = await ledger.lease_planning(1_000, 10)
    assert not await ledger.fail_planning(task_id, Failure("PLAN_INVALID", "no"), earlier.round)
    assert not await ledger.postpone_planning(task_id, 1_000, "later", earlier.round)
    assert not await ledger.attach_plan(task_id, 0, graph(chain(1)), earlier.round)
    assert await ledger.attach_plan(task_id, 0, graph(chain(2)), later.round)
    assert (await ledger.task(task_id)).step_count == 2


async def test_given_a_retried_task_then_it_does_not_expire_by_its_first_end(ledger: Ledger, hand: Hand) -> None:
    await ledger.set_policy({"retention_ms": 1_000})
    task_id = await accept(ledger, graph(chain(1)))
    (grant,) = await hand.take()
    await hand.exchange(failed(grant, final=True))
    await ledger.retry(task_id)
    await pass_time(ledger, 5_000, hand)
    assert (await ledger.task(task_id)).state is TaskState.RUNNING
    await hand.run_all()
    await pass_time(ledger, 3_000, hand)
    with pytest.raises(NotFound):
        await ledger.task(task_id)


async def test_given_a_retry_then_tries_and_deaths_begin_anew(ledger: Ledger, hand: Hand) -> None:
    await ledger.set_policy({"max_deaths": 2})
    retry = RetryPolicy(max_attempts=2, initial_backoff_ms=1, max_backoff_ms=1)
    task_id = await accept(ledger, graph(chain(1), retry=retry))
    for _ in range(2):
        (grant,) = await hand.take()
        (again,) = (await hand.exchange(died(grant))).grants
        assert again.suspect
        await hand.exchange(died(again))
        task, steps = await check_history(ledger, task_id)
        assert (task.state, steps["s0"].deaths, steps["s0"].state) == (TaskState.FAILED, 2, StepState.FAILED)
        await ledger.retry(task_id)
    await hand.run_all()


async def test_given_a_plan_that_goes_on_when_retried_then_failed_and_skipped_steps_run(
    ledger: Ledger, hand: Hand
) -> None:
    plan = graph({"bad": [], "after": ["bad"], "far": ["after"], "free": []}, on_failure=FailurePolicy.CONTINUE)
    task_id = await accept(ledger, plan)
    by_name = {grant.step: grant for grant in await hand.take()}
    await hand.exchange(failed(by_name["bad"], final=True), succeeded(by_name["free"]))
    await ledger.retry(task_id)
    assert [grant.step for grant in await hand.run_all()] == ["bad", "after", "far"]
    assert (await check_history(ledger, task_id))[0].state is TaskState.SUCCEEDED


async def test_given_a_retried_task_that_is_cancelled_then_it_ends_and_leaves_nothing(
    ledger: Ledger, hand: Hand
) -> None:
    task_id = await accept(ledger, graph(side_by_side(3)))
    grants = await hand.take()
    await hand.exchange(*(failed(grant, final=True) for grant in grants))
    await ledger.retry(task_id)
    assert await ledger.cancel(task_id) is TaskState.CANCELLED
    await check_history(ledger, task_id)
