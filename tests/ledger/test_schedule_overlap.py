"""Firings that are due while the task of an earlier one has not ended."""

from __future__ import annotations

import msgspec
import redis.asyncio
from ledger_fold import check_history
from ledger_hand import Hand, pass_time
from ledger_schedules import (
    LEASE_MS,
    MINUTE_MS,
    TENANT,
    asked,
    create,
    every,
    fire_due,
    fired_task,
    order_of,
    tasks_of,
    told,
)

from waybill.core.schedule import Decision, FiringOutcome, Overlap
from waybill.core.task import Failure, TaskState
from waybill.ledger import keys
from waybill.ledger.bells import SCHEDULES
from waybill.ledger.ledger import Ledger
from waybill.ledger.schedule_records import FiringVerdict

SUBMITTED, SKIPPED, MISSED, FAILED = FiringOutcome


async def test_given_a_task_that_runs_when_the_next_firing_is_due_then_it_is_skipped(
    ledger: Ledger, hand: Hand
) -> None:
    await create(ledger)
    for _ in range(3):
        await pass_time(ledger, MINUTE_MS, hand)
        await fire_due(ledger)
    assert await told(ledger) == [(SKIPPED, 3, 2), (SUBMITTED, 1, 1)]
    await hand.run_all()
    await pass_time(ledger, MINUTE_MS, hand)
    await fire_due(ledger)
    assert await told(ledger) == [(SUBMITTED, 4, 1), (SKIPPED, 3, 2), (SUBMITTED, 1, 1)]


async def test_given_a_task_that_runs_when_nobody_knows_of_it_then_a_submission_is_asked_for_only_if_needed(
    ledger: Ledger, hand: Hand
) -> None:
    """Who decides does not make a task that is skipped anyway."""
    await create(ledger)
    await pass_time(ledger, MINUTE_MS, hand)
    await fire_due(ledger)
    await pass_time(ledger, MINUTE_MS, hand)
    (lease,) = (await ledger.lease_schedules(LEASE_MS, 10)).leases
    assert lease.standing.busy
    decision = Decision(due_ms=lease.standing.next_ms, next_ms=lease.standing.next_ms + MINUTE_MS)
    await hand.run_all()
    assert (await ledger.fire_schedule(order_of(lease, decision), LEASE_MS)).verdict is FiringVerdict.FREE
    assert (await ledger.schedule(TENANT, "hourly")).next_ms == lease.standing.next_ms


async def test_given_queue_when_firings_wait_then_only_the_newest_is_made_when_the_task_ends(
    ledger: Ledger, hand: Hand
) -> None:
    await create(ledger, terms=every(overlap=Overlap.QUEUE))
    for _ in range(3):
        await pass_time(ledger, MINUTE_MS, hand)
        await fire_due(ledger)
    record = await ledger.schedule(TENANT, "hourly")
    assert record.queued_ms == record.created_ms + 3 * MINUTE_MS
    assert await told(ledger) == [(SKIPPED, 2, 1), (SUBMITTED, 1, 1)]
    assert await fire_due(ledger) == []
    await hand.run_all()
    (fired,) = await fire_due(ledger)
    assert fired.verdict is FiringVerdict.SUBMITTED
    assert await told(ledger) == [(SUBMITTED, 3, 1), (SKIPPED, 2, 1), (SUBMITTED, 1, 1)]
    record = await ledger.schedule(TENANT, "hourly")
    assert (record.queued_ms, record.next_ms) == (0, record.created_ms + 4 * MINUTE_MS)


async def test_given_a_firing_that_waits_when_its_task_is_only_thought_to_have_ended_then_it_waits_on(
    ledger: Ledger, hand: Hand
) -> None:
    await create(ledger, terms=every(overlap=Overlap.QUEUE))
    for _ in range(2):
        await pass_time(ledger, MINUTE_MS, hand)
        await fire_due(ledger)
    record = await ledger.schedule(TENANT, "hourly")
    await pass_time(ledger, MINUTE_MS, hand)
    (lease,) = (await ledger.lease_schedules(LEASE_MS, 10)).leases
    decision = Decision(due_ms=record.queued_ms, next_ms=record.next_ms, was_queued=True)
    order = order_of(lease, decision, task=fired_task("hourly"))
    assert (await ledger.fire_schedule(order, LEASE_MS)).verdict is FiringVerdict.BUSY
    assert (await ledger.schedule(TENANT, "hourly")).queued_ms == record.queued_ms


async def test_given_cancel_when_a_firing_is_due_then_the_running_task_stops_in_the_same_call(
    ledger: Ledger, hand: Hand
) -> None:
    await create(ledger, terms=every(overlap=Overlap.CANCEL))
    await pass_time(ledger, MINUTE_MS, hand)
    (first,) = await fire_due(ledger)
    (grant,) = await hand.take(1)
    await pass_time(ledger, MINUTE_MS, hand)
    (second,) = await fire_due(ledger)
    assert grant.ref.task == first.task
    assert (await ledger.task(first.task)).state is TaskState.CANCELLING
    assert (await ledger.task(second.task)).state is TaskState.RUNNING
    await pass_time(ledger, MINUTE_MS, hand)
    (third,) = await fire_due(ledger)
    assert (await check_history(ledger, second.task))[0].state is TaskState.CANCELLED
    assert (await ledger.task(third.task)).state is TaskState.RUNNING


async def test_given_cancel_when_the_submission_is_refused_then_the_running_task_goes_on(
    ledger: Ledger, hand: Hand
) -> None:
    await create(ledger, terms=every(overlap=Overlap.CANCEL))
    await pass_time(ledger, MINUTE_MS, hand)
    (first,) = await fire_due(ledger)
    await pass_time(ledger, MINUTE_MS, hand)
    (lease,) = (await ledger.lease_schedules(LEASE_MS, 10)).leases
    decision = Decision(due_ms=lease.standing.next_ms, next_ms=lease.standing.next_ms + MINUTE_MS)
    failure = Failure("PLAN_INVALID", 'the plan names "gone"')
    fired = await ledger.fire_schedule(order_of(lease, decision, failure=failure), LEASE_MS)
    assert fired.verdict is FiringVerdict.FAILED
    assert (await ledger.task(first.task)).state is TaskState.RUNNING
    newest = (await ledger.schedule(TENANT, "hourly")).firings[0]
    assert (newest.outcome, newest.failure, newest.task) == (FAILED, failure, "")


async def test_given_allow_when_a_firing_is_due_then_both_tasks_run(ledger: Ledger, hand: Hand) -> None:
    await create(ledger, terms=every(overlap=Overlap.ALLOW))
    for _ in range(3):
        await pass_time(ledger, MINUTE_MS, hand)
        await fire_due(ledger)
    states = [(await ledger.task(task_id)).state for task_id in await tasks_of(ledger)]
    assert states == [TaskState.RUNNING] * 3


async def test_given_a_triggered_task_when_a_firing_is_due_then_it_overlaps(ledger: Ledger, hand: Hand) -> None:
    await create(ledger)
    await ledger.trigger_schedule(TENANT, "hourly", fired_task("hourly"), asked())
    await pass_time(ledger, MINUTE_MS, hand)
    assert [fired.verdict for fired in await fire_due(ledger)] == [FiringVerdict.SKIPPED]


async def test_given_an_ended_task_that_is_retried_when_a_firing_is_due_then_it_overlaps_again(
    ledger: Ledger, hand: Hand
) -> None:
    await create(ledger)
    await pass_time(ledger, MINUTE_MS, hand)
    (fired,) = await fire_due(ledger)
    await ledger.cancel(fired.task)
    await ledger.retry(fired.task)
    await pass_time(ledger, MINUTE_MS, hand)
    assert [again.verdict for again in await fire_due(ledger)] == [FiringVerdict.SKIPPED]


async def test_given_a_task_of_a_deleted_schedule_when_retried_then_a_new_one_of_the_name_is_free(
    ledger: Ledger, hand: Hand
) -> None:
    await create(ledger)
    await pass_time(ledger, MINUTE_MS, hand)
    (fired,) = await fire_due(ledger)
    await ledger.cancel(fired.task)
    await ledger.delete_schedule(TENANT, "hourly")
    await pass_time(ledger, 1, hand)
    await create(ledger)
    await ledger.retry(fired.task)
    await pass_time(ledger, MINUTE_MS, hand)
    assert [again.verdict for again in await fire_due(ledger)] == [FiringVerdict.SUBMITTED]


async def test_given_a_task_that_is_gone_when_a_firing_is_due_then_it_has_ended(
    ledger: Ledger, hand: Hand, store: redis.asyncio.Redis
) -> None:
    await create(ledger)
    await store.sadd(keys.key("0", "active", TENANT, "hourly"), "0-gone")
    await pass_time(ledger, MINUTE_MS, hand)
    assert [fired.verdict for fired in await fire_due(ledger)] == [FiringVerdict.SUBMITTED]


async def test_given_a_firing_that_waits_when_its_task_ends_then_the_bell_rings(
    ledger: Ledger, hand: Hand, store: redis.asyncio.Redis
) -> None:
    await create(ledger, terms=every(overlap=Overlap.QUEUE))
    for _ in range(2):
        await pass_time(ledger, MINUTE_MS, hand)
        await fire_due(ledger)
    async with store.pubsub() as heard:
        await heard.subscribe(keys.key("0", "bell", SCHEDULES))
        await heard.get_message(timeout=10)
        await hand.run_all()
        message = await heard.get_message(timeout=10)
    assert message is not None
    assert message["data"] == b"hourly"


async def test_given_a_firing_that_waits_when_nobody_told_that_its_task_ended_then_it_is_made_all_the_same(
    ledger: Ledger, hand: Hand, store: redis.asyncio.Redis
) -> None:
    """As when an older release, which knows no schedules, has ended it."""
    await create(ledger, terms=every(5 * MINUTE_MS, overlap=Overlap.QUEUE))
    for _ in range(2):
        await pass_time(ledger, 5 * MINUTE_MS, hand)
        await fire_due(ledger)
    task_id = (await tasks_of(ledger))[0]
    await pass_time(ledger, MINUTE_MS, hand)
    assert await fire_due(ledger) == []
    name = keys.key("0", "task", task_id)
    core = await store.hget(name, "core")
    assert core is not None
    rest = core.index(0, core.index(b"acme")) + 1
    tail = msgspec.msgpack.decode(core[rest:])
    assert tail.pop() == "hourly"
    await store.hset(name, "core", core[:rest] + msgspec.msgpack.encode(tail))
    await hand.run_all()
    assert await fire_due(ledger) == []
    await pass_time(ledger, MINUTE_MS, hand)
    assert [fired.verdict for fired in await fire_due(ledger)] == [FiringVerdict.SUBMITTED]
