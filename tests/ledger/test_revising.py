"""Revisions: when a step fails for good the planner is asked for a patch, and nothing dropped ever starts."""

from __future__ import annotations

import pytest
import redis.asyncio
from ledger_adapting import decide_all, patch, plan, step, steps_of
from ledger_calls import GO, USED, begin
from ledger_fold import check_history
from ledger_hand import FAILURE, Hand, failed, pass_time, succeeded
from ledger_patches import with_patch
from ledger_plans import accept

from waybill.core.budget import TaskPolicy
from waybill.core.plan import FailurePolicy, RetryPolicy
from waybill.core.task import Event, EventType, Failure, StepState, TaskState
from waybill.errors import FailedPrecondition, ResourceExhausted
from waybill.ledger import keys
from waybill.ledger.call_records import Rates
from waybill.ledger.ledger import Ledger
from waybill.ledger.records import Grant, StepRef

REPLAN = FailurePolicy.REPLAN
ASKS = Failure("REPLAN", "the sources are in French")
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
    await hand.exchange(failed(a, final=True, failure=ASKS))
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


async def test_given_a_dispatcher_that_dies_then_the_revision_is_offered_again_in_the_same_round(
    ledger: Ledger, hand: Hand
) -> None:
    task, _ = await failing(ledger, hand)
    (lease,) = await ledger.lease_revisions(1_000, 10)
    assert lease.failure == FAILURE
    assert await ledger.lease_revisions(1_000, 10) == []
    ledger.clock_ms += 1_001
    assert await ledger.lease_revisions(1_000, 10) == [lease]
    assert await ledger.postpone_revision(task, lease.round, 5_000, "no planner can be reached")
    assert (await ledger.task(task)).planning_note == "no planner can be reached"
    ledger.clock_ms += 4_999
    assert await ledger.lease_revisions(1_000, 10) == []
    ledger.clock_ms += 1
    assert await ledger.lease_revisions(1_000, 10) == [lease]
    added = await patch(ledger, task, step("other"), substitutes={"bad": "other"})
    assert await ledger.patch_plan(task, 1, lease.round, lease.failed, added)
    assert (await ledger.task(task)).planning_note == ""


async def test_given_an_agent_that_adds_steps_meanwhile_then_the_planner_begins_anew_at_once(
    ledger: Ledger, hand: Hand
) -> None:
    task, (slow,) = await failing(ledger, hand)
    (lease,) = await ledger.lease_revisions(60_000, 10)
    stale = await patch(ledger, task, step("other"), substitutes={"bad": "other"})
    await hand.exchange(with_patch(slow, await patch(ledger, task, step("more"), own_step="slow")), free=0)
    assert not await ledger.patch_plan(task, lease.revision, lease.round, lease.failed, stale)
    (again,) = await ledger.lease_revisions(60_000, 10)
    assert (again.revision, again.round, again.failed) == (2, lease.round, (1,))
    added = await patch(ledger, task, step("other"), substitutes={"bad": "other"})
    assert await ledger.patch_plan(task, again.revision, again.round, again.failed, added)
    assert sorted(grant.step for grant in await hand.run_all()) == ["last", "more", "other"]
    assert (await check_history(ledger, task))[0].state is TaskState.SUCCEEDED


async def test_given_a_deadline_then_a_revision_is_over_with_its_task(ledger: Ledger, hand: Hand) -> None:
    task, (slow,) = await failing(ledger, hand, deadline_ms=500)
    (lease,) = await ledger.lease_revisions(10_000, 10)
    added = await patch(ledger, task, step("other"), substitutes={"bad": "other"})
    await pass_time(ledger, 1_000, hand)
    assert not await ledger.patch_plan(task, 1, lease.round, lease.failed, added)
    assert not await ledger.tell_planning(task, lease.round, [Event(type=EventType.PLANNING_PROGRESS, message="hm")])
    await hand.exchange(succeeded(slow))
    record, _ = await check_history(ledger, task)
    assert (record.state, record.failure and record.failure.reason) == (TaskState.FAILED, "DEADLINE_EXCEEDED")


async def test_given_the_last_step_fails_then_the_task_does_not_end_before_its_revision(
    ledger: Ledger, hand: Hand
) -> None:
    task = await accept(ledger, plan(step("a"), on_failure=REPLAN))
    (a,) = await hand.take()
    await hand.exchange(failed(a, final=True))
    record = await ledger.task(task)
    assert (record.state, record.revising, record.ended_step_count) == (TaskState.RUNNING, True, 1)
    (lease,) = await ledger.lease_revisions(1_000, 10)
    assert await ledger.decline_revision(task, lease.round, NONE)
    assert not await ledger.decline_revision(task, lease.round, NONE)
    record, _ = await check_history(ledger, task)
    assert (record.state, record.failure) == (TaskState.FAILED, NONE)


async def test_given_a_full_store_then_a_patch_is_to_be_tried_again(
    ledger: Ledger, hand: Hand, store: redis.asyncio.Redis
) -> None:
    task, _ = await failing(ledger, hand)
    (lease,) = await ledger.lease_revisions(1_000, 10)
    added = await patch(ledger, task, step("other"), substitutes={"bad": "other"})
    await store.hset(keys.key("0", "pulse"), "full", "1")
    with pytest.raises(ResourceExhausted):
        await ledger.patch_plan(task, 1, lease.round, lease.failed, added)
    await store.hset(keys.key("0", "pulse"), "full", "0")
    assert await ledger.patch_plan(task, 1, lease.round, lease.failed, added)


@pytest.mark.parametrize("field", ["spec:3", "run:3", "spec:1"])
async def test_given_damage_during_a_revision_then_the_patch_is_made_and_the_task_ends(
    ledger: Ledger, hand: Hand, store: redis.asyncio.Redis, field: str
) -> None:
    task, (slow,) = await failing(ledger, hand)
    (lease,) = await ledger.lease_revisions(1_000, 10)
    added = await patch(ledger, task, step("other"), substitutes={"bad": "other"})
    await store.hset(keys.key("0", "task", task), field, b"\xc1")
    assert await ledger.patch_plan(task, 1, lease.round, lease.failed, added)
    await hand.exchange(succeeded(slow))
    await hand.run_all()
    for left in await ledger.lease_revisions(1_000, 10):
        assert await ledger.decline_revision(task, left.round, NONE)
    assert (await ledger.task(task)).state.ended


async def test_given_what_waits_in_any_way_when_it_is_dropped_then_it_never_starts(
    ledger: Ledger, hand: Hand, store: redis.asyncio.Redis
) -> None:
    await ledger.set_limit("key:crm", Rates(max_concurrency=1))
    patient = RetryPolicy(max_attempts=9, initial_backoff_ms=500)
    graph = plan(
        *(
            step("bad"),
            step("retried", retry=patient),
            step("holder", limits=("crm",)),
            step("limited", limits=("crm",)),
        ),
        *(step("other"), step("queued", queue_timeout_ms=700), step("undecided", when=("${task.goal}",))),
        on_failure=REPLAN,
    )
    task = await accept(ledger, graph)
    grants = {grant.step: grant for grant in await hand.take(4)}
    assert set(grants) == {"bad", "retried", "holder", "other"}
    await hand.exchange(failed(grants["retried"]), failed(grants["bad"], final=True), free=0)
    (lease,) = await ledger.lease_revisions(1_000, 10)
    drop = ("retried", "limited", "queued", "undecided")
    added = await patch(ledger, task, step("x"), drop=drop)
    assert await ledger.patch_plan(task, 1, lease.round, lease.failed, added)
    await pass_time(ledger, 2_000, hand)
    assert await decide_all(ledger) == 0
    assert [grant.step for grant in await hand.run_all()] == ["holder", "other", "x"]
    record, steps = await check_history(ledger, task)
    assert record.state is TaskState.SUCCEEDED
    assert {steps[name].state for name in drop} == {StepState.SKIPPED}
    assert steps["x"].state is StepState.SUCCEEDED
    await pass_time(ledger, 1_000, hand)
    for kind in ("timers", "decisions", "revising", "lines", "sweep"):
        assert not await store.exists(keys.key("0", kind)), kind


async def test_given_a_retry_of_a_task_without_revisions_left_then_it_has_them_again(
    ledger: Ledger, hand: Hand
) -> None:
    task = await accept(ledger, plan(step("a"), on_failure=REPLAN), policy=TaskPolicy(max_revisions=1))
    (granted,) = await hand.take()
    for number in range(2):
        await hand.exchange(failed(granted, final=True))
        (lease,) = await ledger.lease_revisions(1_000, 10)
        added = await patch(ledger, task, step(f"x{number}"), substitutes={granted.step: f"x{number}"})
        assert await ledger.patch_plan(task, lease.revision, lease.round, lease.failed, added)
        (granted,) = await hand.take()
        await hand.exchange(failed(granted, final=True))
        assert (await ledger.task(task)).state is TaskState.FAILED
        await ledger.retry(task)
        (granted,) = await hand.take()
    await hand.exchange(succeeded(granted))
    record, steps = await check_history(ledger, task)
    assert (record.state, record.revision, record.sinks) == (TaskState.SUCCEEDED, 3, (3,))
    assert {name for name, found in steps.items() if found.dropped} == {"a", "x0"}


async def test_given_damage_that_stops_a_task_while_it_is_patched_then_no_other_round_begins(
    ledger: Ledger, hand: Hand, store: redis.asyncio.Redis
) -> None:
    task = await accept(ledger, plan(step("a"), step("b"), step("c"), step("after", "a")))
    a, b, c = await hand.take()
    await hand.exchange(failed(a, final=True, failure=ASKS))
    (lease,) = await ledger.lease_revisions(1_000, 10)
    await hand.exchange(failed(b, final=True, failure=ASKS))
    added = await patch(ledger, task, step("x"), substitutes={"a": "x"})
    await store.hset(keys.key("0", "task", task), "spec:4", b"\xc1")
    assert await ledger.patch_plan(task, 1, lease.round, lease.failed, added)
    record = await ledger.task(task)
    assert (record.state, record.revising) == (TaskState.CANCELLING, False)
    await hand.exchange(succeeded(c))
    assert (await ledger.task(task)).state is TaskState.FAILED
    assert await ledger.lease_revisions(1_000, 10) == []
