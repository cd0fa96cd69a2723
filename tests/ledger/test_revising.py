"""Revisions: when a step fails for good the planner is asked for a patch, and nothing dropped ever starts."""

from __future__ import annotations

import pytest
from ledger_adapting import patch, plan, step, steps_of
from ledger_calls import GO, USED, begin
from ledger_fold import check_history
from ledger_hand import Hand, failed, succeeded
from ledger_plans import accept

from waybill.core.budget import TaskPolicy
from waybill.core.plan import FailurePolicy
from waybill.core.task import Event, EventType, Failure, StepState, TaskState
from waybill.errors import FailedPrecondition
from waybill.ledger.ledger import Ledger
from waybill.ledger.records import Grant, StepRef

REPLAN = FailurePolicy.REPLAN
NONE = Failure("PLAN_NOT_REVISED", "there is no other way")


async def failing(ledger: Ledger, hand: Hand, **fields: object) -> tuple[str, list[Grant]]:
    """A task whose step `bad` has failed; `slow` is held, `last` waits for both."""
    graph = plan(step("bad"), step("slow"), step("last", "slow", input=b'{"got": "${bad}"}'), on_failure=REPLAN)
    task = await accept(ledger, graph, **fields)
    bad, slow = await hand.take()
    await hand.exchange(failed(bad, final=True))
    return task, [slow]


async def test_given_a_patch_then_the_task_goes_on_without_what_failed(ledger: Ledger, hand: Hand) -> None:
    task, (slow,) = await failing(ledger, hand)
    (lease,) = await ledger.lease_revisions(1_000, 10)
    assert (lease.task, lease.revision, lease.failed) == (task, 1, (1,))
    assert await ledger.tell_planning(task, lease.round, [Event(type=EventType.PLANNING_PROGRESS, message="hm")])
    added = await patch(ledger, task, step("other"), substitutes={"bad": "other"})
    assert await ledger.patch_plan(task, 1, lease.round, lease.failed, added)
    assert not await ledger.patch_plan(task, 1, lease.round, lease.failed, added)
    (other,) = await hand.take()
    (last,) = (await hand.exchange(succeeded(other, b'"new"'), succeeded(slow))).grants
    assert last.inputs == {"bad": b'"new"'}
    await hand.exchange(succeeded(last))
    record, steps = await check_history(ledger, task)
    assert (record.state, record.revision) == (TaskState.SUCCEEDED, 2)
    assert (steps["bad"].state, steps["bad"].dropped) == (StepState.FAILED, True)


async def test_given_no_substitute_then_what_depends_on_the_failed_step_is_skipped_for_good(
    ledger: Ledger, hand: Hand
) -> None:
    task, (slow,) = await failing(ledger, hand)
    (lease,) = await ledger.lease_revisions(1_000, 10)
    await ledger.patch_plan(task, 1, lease.round, lease.failed, await patch(ledger, task, step("instead")))
    (instead,) = await hand.take()
    await hand.exchange(failed(instead, final=True))
    (second,) = await ledger.lease_revisions(1_000, 10)
    assert await ledger.decline_revision(task, second.round, NONE)
    await hand.exchange(succeeded(slow))
    record, _ = await check_history(ledger, task)
    assert (record.state, record.failure) == (TaskState.FAILED, NONE)
    await ledger.retry(task)
    assert [grant.step for grant in await hand.run_all()] == ["instead"]
    assert (await check_history(ledger, task))[0].state is TaskState.SUCCEEDED


async def test_given_a_step_that_starts_meanwhile_then_a_patch_that_drops_it_is_refused_whole(
    ledger: Ledger, hand: Hand
) -> None:
    graph = plan(step("bad"), step("slow"), on_failure=REPLAN)
    task = await accept(ledger, graph)
    (bad,) = await hand.take(1)
    await hand.exchange(failed(bad, final=True), free=0)
    (lease,) = await ledger.lease_revisions(1_000, 10)
    stale = await patch(ledger, task, step("x"), drop=("slow",))
    (slow,) = await hand.take()
    with pytest.raises(FailedPrecondition, match="slow cannot be dropped: it is running"):
        await ledger.patch_plan(task, 1, lease.round, lease.failed, stale)
    assert (await ledger.task(task)).step_count == 2
    await ledger.decline_revision(task, lease.round, NONE)
    await hand.exchange(succeeded(slow))
    await check_history(ledger, task)


async def test_given_a_dropped_step_in_a_queue_then_it_never_starts(ledger: Ledger, hand: Hand) -> None:
    graph = plan(step("bad"), step("queued"), on_failure=REPLAN)
    task = await accept(ledger, graph)
    (bad,) = await hand.take(1)
    await hand.wait()
    await hand.exchange(failed(bad, final=True), free=0)
    (lease,) = await ledger.lease_revisions(1_000, 10)
    await ledger.patch_plan(task, 1, lease.round, lease.failed, await patch(ledger, task, step("x"), drop=("queued",)))
    assert [grant.step for grant in await hand.run_all()] == ["x"]
    record, steps = await check_history(ledger, task)
    assert (record.state, steps["queued"].state) == (TaskState.SUCCEEDED, StepState.SKIPPED)


async def test_given_a_second_failure_meanwhile_then_another_round_follows(ledger: Ledger, hand: Hand) -> None:
    task, (slow,) = await failing(ledger, hand)
    (lease,) = await ledger.lease_revisions(1_000, 10)
    added = await patch(ledger, task, step("other"), substitutes={"bad": "other"})
    await hand.exchange(failed(slow, final=True))
    assert await ledger.patch_plan(task, 1, lease.round, lease.failed, added)
    (second,) = await ledger.lease_revisions(1_000, 10)
    assert (second.round, second.failed, second.revision) == (lease.round + 1, (2,), 2)
    assert not await ledger.decline_revision(task, lease.round, NONE)
    await ledger.decline_revision(task, second.round, NONE)
    await check_history(ledger, task)


@pytest.mark.parametrize("policy", [TaskPolicy(max_revisions=0), TaskPolicy(max_revisions=1)])
async def test_given_no_revisions_left_then_the_task_stops(ledger: Ledger, hand: Hand, policy: TaskPolicy) -> None:
    task, (slow,) = await failing(ledger, hand, policy=policy)
    for lease in await ledger.lease_revisions(1_000, 10):
        added = await patch(ledger, task, step("other"), substitutes={"bad": "other"})
        await ledger.patch_plan(task, 1, lease.round, lease.failed, added)
        (other,) = await hand.take()
        await hand.exchange(failed(other, final=True))
    assert await ledger.lease_revisions(1_000, 10) == []
    await hand.exchange(succeeded(slow))
    record, _ = await check_history(ledger, task)
    assert record.state is TaskState.FAILED


async def test_given_an_agent_that_asks_then_the_plan_is_revised_whatever_its_policy(
    ledger: Ledger, hand: Hand
) -> None:
    task = await accept(ledger, plan(step("a"), step("b", "a")))
    (a,) = await hand.take()
    await hand.exchange(failed(a, final=True, failure=Failure("REPLAN", "the sources are in French")))
    (lease,) = await ledger.lease_revisions(1_000, 10)
    added = await patch(ledger, task, step("translate"), substitutes={"a": "translate"})
    assert await ledger.patch_plan(task, 1, lease.round, lease.failed, added)
    assert [grant.step for grant in await hand.run_all()] == ["translate", "b"]
    await check_history(ledger, task)


async def test_given_a_revision_then_the_planner_may_spend_in_its_round_alone(ledger: Ledger, hand: Hand) -> None:
    task, (slow,) = await failing(ledger, hand)
    (lease,) = await ledger.lease_revisions(1_000, 10)
    ref = StepRef(task, 0, lease.round)
    assert await begin(ledger, "", ref) == GO
    assert await ledger.end_call(ref, 1, USED)
    await ledger.decline_revision(task, lease.round, NONE)
    assert await begin(ledger, "", ref, 2) != GO
    await hand.exchange(succeeded(slow))
    assert (await check_history(ledger, task))[0].usage == USED


async def test_given_a_pause_or_a_cancel_then_the_revision_waits_or_is_over(ledger: Ledger, hand: Hand) -> None:
    task, (slow,) = await failing(ledger, hand)
    await ledger.pause(task)
    assert await ledger.lease_revisions(1_000, 10) == []
    await ledger.resume(task)
    ledger.clock_ms += 1_000
    await hand.renew()
    (lease,) = await ledger.lease_revisions(1_000, 10)
    await ledger.cancel(task)
    assert not await ledger.patch_plan(task, 1, lease.round, lease.failed, await patch(ledger, task, step("x")))
    await hand.exchange(succeeded(slow))
    record, _ = await check_history(ledger, task)
    assert record.state is TaskState.CANCELLED
    assert (await steps_of(ledger, task))["last"].state is StepState.CANCELLED
