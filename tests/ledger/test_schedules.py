"""Schedules in the ledger: each decision is applied once, together with its task, or not at all."""

from __future__ import annotations

import msgspec
import pytest
import redis.asyncio
from ledger_fold import check_history
from ledger_hand import Hand, pass_time
from ledger_plans import chain, graph
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

from waybill.core import limits
from waybill.core.schedule import Decision, FiringOutcome, Overlap
from waybill.core.task import TaskState
from waybill.errors import AlreadyExists, NotFound, ResourceExhausted
from waybill.ledger import keys
from waybill.ledger.ledger import Ledger
from waybill.ledger.schedule_records import FiringVerdict, NewSchedule, Overdue
from waybill.ledger.scheduling import Stale

SUBMITTED, SKIPPED, MISSED, FAILED = FiringOutcome


async def test_given_a_schedule_when_read_then_it_is_what_was_written(ledger: Ledger) -> None:
    terms = await create(ledger)
    record = await ledger.schedule(TENANT, "hourly")
    now_ms = ledger.clock_ms
    assert (record.terms, record.spec, record.paused, record.queued_ms) == (terms, b"spec", False, 0)
    assert (record.created_ms, record.updated_ms, record.next_ms) == (now_ms, now_ms, now_ms + MINUTE_MS)
    assert (record.firings, record.submitted) == ((), 0)
    with pytest.raises(NotFound):
        await ledger.schedule("other", "hourly")


async def test_given_a_name_that_is_taken_when_created_again_then_refused_unless_the_request_is_the_same(
    ledger: Ledger,
) -> None:
    terms = await create(ledger, request_id="r")
    await create(ledger, request_id="r")
    with pytest.raises(AlreadyExists) as caught:
        await create(ledger, terms=terms)
    assert caught.value.reason == "SCHEDULE_EXISTS"
    with pytest.raises(AlreadyExists) as caught:
        await create(ledger, "other", request_id="r")
    assert caught.value.reason == "REQUEST_ID_REUSED"
    assert (await ledger.schedule(TENANT, "hourly")).revision == 1


async def test_given_many_schedules_when_listed_then_pages_have_each_once_by_name(ledger: Ledger) -> None:
    names = sorted(f"s{at}" for at in range(7))
    for name in reversed(names):
        await create(ledger, name)
    found, after = [], ""
    while True:
        page, after = await ledger.schedules(TENANT, 3, after)
        found += [record.id for record in page]
        if not after:
            break
    assert found == names
    assert await ledger.schedules("other", 3) == ([], "")


async def test_given_large_schedules_when_listed_then_a_page_ends_before_it_is_too_large(ledger: Ledger) -> None:
    now_ms = await ledger.now_ms()
    for at in range(5):
        large = NewSchedule(TENANT, f"s{at}", every(), b"x" * limits.MAX_SCHEDULE_SPEC_BYTES)
        await ledger.create_schedule(
            large, "same", paused=False, created_ms=now_ms, next_ms=now_ms + 1, request=asked()
        )
    page, after = await ledger.schedules(TENANT, 5)
    assert ([record.id for record in page], after) == (["s0", "s1", "s2", "s3"], "s3")
    page, after = await ledger.schedules(TENANT, 5, after)
    assert ([record.id for record in page], after) == (["s4"], "")


async def test_given_too_many_schedules_when_another_is_created_then_refused(
    ledger: Ledger, store: redis.asyncio.Redis
) -> None:
    names = {f"s{at}": 0 for at in range(limits.MAX_SCHEDULES_PER_TENANT)}
    await store.zadd(keys.key("0", "schedules", TENANT), names)
    with pytest.raises(ResourceExhausted) as caught:
        await create(ledger)
    assert caught.value.reason == "TOO_MANY_SCHEDULES"
    await store.delete(keys.key("0", "schedules", TENANT))


async def test_given_a_full_store_when_created_or_due_then_refused_and_kept_for_later(
    ledger: Ledger, store: redis.asyncio.Redis
) -> None:
    await create(ledger)
    await store.hset(keys.key("0", "pulse"), "full", "1")
    with pytest.raises(ResourceExhausted):
        await create(ledger, "other")
    ledger.clock_ms += MINUTE_MS
    assert [fired.verdict for fired in await fire_due(ledger)] == [FiringVerdict.FULL]
    assert await tasks_of(ledger) == []
    await store.hset(keys.key("0", "pulse"), "full", "0")
    ledger.clock_ms += LEASE_MS
    assert [fired.verdict for fired in await fire_due(ledger)] == [FiringVerdict.SUBMITTED]


async def test_given_a_due_time_when_fired_then_there_is_one_task_and_the_next_time_is_due(
    ledger: Ledger, hand: Hand
) -> None:
    await create(ledger)
    assert await fire_due(ledger) == []
    ledger.clock_ms += MINUTE_MS
    (fired,) = await fire_due(ledger)
    assert (fired.verdict, fired.busy) == (FiringVerdict.SUBMITTED, True)
    assert await tasks_of(ledger) == [fired.task]
    record = await ledger.schedule(TENANT, "hourly")
    assert record.next_ms == ledger.clock_ms + MINUTE_MS
    assert record.submitted == 1
    assert [(firing.outcome, firing.task, firing.count) for firing in record.firings] == [(SUBMITTED, fired.task, 1)]
    assert await fire_due(ledger) == []
    await hand.run_all()
    assert (await check_history(ledger, fired.task))[0].state is TaskState.SUCCEEDED


async def test_given_a_lease_when_it_lapses_then_another_dispatcher_decides_and_the_first_is_too_late(
    ledger: Ledger,
) -> None:
    await create(ledger)
    ledger.clock_ms += MINUTE_MS
    (slow,) = (await ledger.lease_schedules(LEASE_MS, 10)).leases
    found = await ledger.lease_schedules(LEASE_MS, 10)
    assert (found.leases, found.wait_ms) == ((), LEASE_MS)
    ledger.clock_ms += LEASE_MS
    (fired,) = await fire_due(ledger)
    decision = Decision(due_ms=slow.standing.next_ms, next_ms=slow.standing.next_ms + MINUTE_MS)
    late = await ledger.fire_schedule(order_of(slow, decision, task=fired_task("hourly")), LEASE_MS)
    assert late.verdict is FiringVerdict.STALE
    assert await tasks_of(ledger) == [fired.task]


async def test_given_an_order_when_it_is_sent_twice_then_it_is_applied_once(ledger: Ledger) -> None:
    await create(ledger, terms=every(overlap=Overlap.ALLOW))
    ledger.clock_ms += MINUTE_MS
    (lease,) = (await ledger.lease_schedules(LEASE_MS, 10)).leases
    decision = Decision(due_ms=lease.standing.next_ms, next_ms=lease.standing.next_ms + MINUTE_MS)
    order = order_of(lease, decision, task=fired_task("hourly"))
    verdicts = [(await ledger.fire_schedule(order, LEASE_MS)).verdict for _ in range(2)]
    assert verdicts == [FiringVerdict.SUBMITTED, FiringVerdict.STALE]
    assert len(await tasks_of(ledger)) == 1


async def test_given_missed_and_skipped_firings_when_told_then_those_in_a_row_are_one(
    ledger: Ledger, hand: Hand
) -> None:
    await create(ledger)
    await pass_time(ledger, 10 * MINUTE_MS + 30_000, hand)
    assert [fired.verdict for fired in await fire_due(ledger)] == [FiringVerdict.SUBMITTED]
    assert await told(ledger) == [(SUBMITTED, 10, 1), (MISSED, 9, 9)]
    await pass_time(ledger, 10 * MINUTE_MS, hand)
    await fire_due(ledger)
    assert await told(ledger) == [(SKIPPED, 20, 1), (MISSED, 19, 9), (SUBMITTED, 10, 1), (MISSED, 9, 9)]


async def test_given_many_firings_when_told_then_the_newest_are_kept(ledger: Ledger, hand: Hand) -> None:
    await create(ledger, terms=every(overlap=Overlap.ALLOW))
    for _ in range(limits.MAX_KEPT_FIRINGS + 5):
        await pass_time(ledger, MINUTE_MS, hand)
        await fire_due(ledger)
    minutes = [minute for _, minute, _ in await told(ledger)]
    assert minutes == list(range(limits.MAX_KEPT_FIRINGS + 5, 5, -1))
    assert (await ledger.schedule(TENANT, "hourly")).submitted == limits.MAX_KEPT_FIRINGS + 5


async def test_given_a_paused_schedule_when_resumed_then_it_goes_on_with_the_next_firing(ledger: Ledger) -> None:
    terms = await create(ledger)
    ledger.clock_ms += MINUTE_MS
    (lease,) = (await ledger.lease_schedules(LEASE_MS, 10)).leases
    await ledger.pause_schedule(TENANT, "hourly", revision=1, overdue=Overdue(1, ledger.clock_ms))
    decision = Decision(due_ms=lease.standing.next_ms, next_ms=lease.standing.next_ms + MINUTE_MS)
    fired = await ledger.fire_schedule(order_of(lease, decision, task=fired_task("hourly")), LEASE_MS)
    assert fired.verdict is FiringVerdict.STALE
    record = await ledger.schedule(TENANT, "hourly")
    assert (record.paused, record.next_ms) == (True, 0)
    ledger.clock_ms += 5 * MINUTE_MS
    assert await fire_due(ledger) == []
    next_ms = terms.rule.next_after(ledger.clock_ms) or 0
    await ledger.resume_schedule(TENANT, "hourly", revision=record.revision, next_ms=next_ms)
    assert await fire_due(ledger) == []
    ledger.clock_ms += MINUTE_MS
    assert [fired.verdict for fired in await fire_due(ledger)] == [FiringVerdict.SUBMITTED]
    assert await told(ledger) == [(SUBMITTED, 7, 1), (MISSED, 1, 1)]


async def test_given_a_firing_that_waits_when_paused_then_it_is_made_after_the_schedule_is_resumed(
    ledger: Ledger, hand: Hand
) -> None:
    await create(ledger, terms=every(overlap=Overlap.QUEUE))
    for _ in range(2):
        await pass_time(ledger, MINUTE_MS, hand)
        await fire_due(ledger)
    record = await ledger.schedule(TENANT, "hourly")
    await ledger.pause_schedule(TENANT, "hourly", revision=record.revision, overdue=Overdue())
    await hand.run_all()
    assert await fire_due(ledger) == []
    revision = (await ledger.schedule(TENANT, "hourly")).revision
    await ledger.resume_schedule(TENANT, "hourly", revision=revision, next_ms=ledger.clock_ms + MINUTE_MS)
    assert [fired.verdict for fired in await fire_due(ledger)] == [FiringVerdict.SUBMITTED]
    assert await told(ledger) == [(SUBMITTED, 2, 1), (SUBMITTED, 1, 1)]


async def test_given_requests_when_pause_resume_and_delete_are_repeated_then_they_change_nothing(
    ledger: Ledger,
) -> None:
    await create(ledger)
    pause, resume, delete = asked(), asked(), asked()
    for _ in range(2):
        await ledger.pause_schedule(TENANT, "hourly", revision=1, overdue=Overdue(), request=pause)
    await ledger.pause_schedule(TENANT, "hourly", revision=0, overdue=Overdue())
    revision = (await ledger.schedule(TENANT, "hourly")).revision
    for _ in range(2):
        await ledger.resume_schedule(TENANT, "hourly", revision=revision, next_ms=1, request=resume)
    await ledger.pause_schedule(TENANT, "hourly", revision=1, overdue=Overdue(), request=pause)
    assert not (await ledger.schedule(TENANT, "hourly")).paused
    with pytest.raises(AlreadyExists):
        await ledger.resume_schedule(TENANT, "hourly", revision=revision, next_ms=1, request=pause)
    with pytest.raises(Stale):
        await ledger.pause_schedule(TENANT, "hourly", revision=revision, overdue=Overdue())
    for _ in range(2):
        await ledger.delete_schedule(TENANT, "hourly", delete)
    with pytest.raises(NotFound):
        await ledger.delete_schedule(TENANT, "hourly")
    with pytest.raises(NotFound):
        await ledger.pause_schedule(TENANT, "hourly", revision=1, overdue=Overdue())


async def test_given_a_decision_in_flight_when_the_schedule_is_updated_then_the_decision_is_too_late(
    ledger: Ledger,
) -> None:
    terms = await create(ledger)
    ledger.clock_ms += MINUTE_MS
    (lease,) = (await ledger.lease_schedules(LEASE_MS, 10)).leases
    changed = NewSchedule(TENANT, "hourly", msgspec.structs.replace(terms, overlap=Overlap.ALLOW), b"other")
    update = asked()
    for _ in range(2):
        await ledger.update_schedule(
            changed,
            "other",
            revision=1,
            next_ms=ledger.clock_ms + MINUTE_MS,
            overdue=Overdue(1, ledger.clock_ms),
            request=update,
        )
    decision = Decision(due_ms=lease.standing.next_ms, next_ms=lease.standing.next_ms + MINUTE_MS)
    fired = await ledger.fire_schedule(order_of(lease, decision, task=fired_task("hourly")), LEASE_MS)
    assert fired.verdict is FiringVerdict.STALE
    record = await ledger.schedule(TENANT, "hourly")
    assert (record.spec, record.terms.overlap, record.revision) == (b"other", Overlap.ALLOW, 2)
    assert await told(ledger) == [(MISSED, 1, 1)]
    with pytest.raises(Stale):
        await ledger.update_schedule(changed, "other", revision=1, next_ms=0, overdue=Overdue(), request=asked())


async def test_given_a_decision_in_flight_when_the_schedule_is_made_anew_then_the_decision_is_too_late(
    ledger: Ledger,
) -> None:
    await create(ledger)
    ledger.clock_ms += MINUTE_MS
    (lease,) = (await ledger.lease_schedules(LEASE_MS, 10)).leases
    await ledger.delete_schedule(TENANT, "hourly")
    decision = Decision(due_ms=lease.standing.next_ms, next_ms=lease.standing.next_ms + MINUTE_MS)
    order = order_of(lease, decision, task=fired_task("hourly"))
    assert (await ledger.fire_schedule(order, LEASE_MS)).verdict is FiringVerdict.STALE
    await create(ledger)
    assert (await ledger.fire_schedule(order, LEASE_MS)).verdict is FiringVerdict.STALE
    assert await tasks_of(ledger) == []


async def test_given_a_trigger_when_repeated_then_there_is_one_task_and_the_next_time_stays(
    ledger: Ledger, hand: Hand
) -> None:
    await create(ledger, paused=True)
    request = asked()
    first = await ledger.trigger_schedule(TENANT, "hourly", fired_task("hourly"), request)
    again = await ledger.trigger_schedule(TENANT, "hourly", fired_task("hourly"), request)
    assert (again.task, again.repeated) == (first.task, True)
    assert await ledger.triggered_task("hourly", request) == first.task
    assert await ledger.triggered_task("other", request) == ""
    assert await tasks_of(ledger) == [first.task]
    record = await ledger.schedule(TENANT, "hourly")
    assert [(firing.outcome, firing.triggered) for firing in record.firings] == [(SUBMITTED, True)]
    assert (record.next_ms, record.submitted) == (0, 1)
    with pytest.raises(AlreadyExists):
        await ledger.trigger_schedule(TENANT, "other", fired_task("other"), request)
    with pytest.raises(NotFound):
        await ledger.trigger_schedule(TENANT, "other", fired_task("other"), asked())


async def test_given_the_last_firing_when_it_was_made_then_nothing_is_due_any_more(
    ledger: Ledger, store: redis.asyncio.Redis
) -> None:
    await create(ledger)
    ledger.clock_ms += MINUTE_MS
    (lease,) = (await ledger.lease_schedules(LEASE_MS, 10)).leases
    decision = Decision(due_ms=lease.standing.next_ms, next_ms=0)
    await ledger.fire_schedule(order_of(lease, decision, task=fired_task("hourly", graph(chain(1)))), LEASE_MS)
    assert await store.zcard(keys.key("0", "due")) == 0
    found = await ledger.lease_schedules(LEASE_MS, 10)
    assert (found.leases, found.wait_ms) == ((), None)
