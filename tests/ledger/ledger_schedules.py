"""Schedules for the ledger's tests, and a dispatcher driven by hand that decides about them."""

from __future__ import annotations

import itertools
from dataclasses import replace

from ledger_plans import chain, graph, new_task

from waybill.core.plan import Graph
from waybill.core.recurrence import Recurrence
from waybill.core.schedule import CatchUp, Decision, FiringOutcome, Overlap, Terms, decide, following
from waybill.core.task import Failure
from waybill.ledger.ledger import Ledger
from waybill.ledger.records import NewTask, Request
from waybill.ledger.schedule_records import Fired, FiringOrder, FiringVerdict, NewSchedule, ScheduleLease

TENANT = "acme"
MINUTE_MS = 60_000
LEASE_MS = 5_000
_numbers = itertools.count(1)


def every(
    interval_ms: int = MINUTE_MS,
    anchor_ms: int = 0,
    overlap: Overlap = Overlap.SKIP,
    catch_up: CatchUp = CatchUp.LATEST,
    window_ms: int = 86_400_000,
) -> Terms:
    """Terms of a schedule that fires at an interval."""
    return Terms(Recurrence(interval_ms=interval_ms, anchor_ms=anchor_ms), overlap, catch_up, window_ms)


def asked(request_id: str = "") -> Request:
    """A request of its own, unless it is named."""
    return Request(TENANT, request_id or f"ask-{next(_numbers)}")


async def create(
    ledger: Ledger,
    schedule_id: str = "hourly",
    terms: Terms | None = None,
    *,
    paused: bool = False,
    request_id: str = "",
) -> Terms:
    """A schedule that was created now, anchored now; its terms."""
    now_ms = await ledger.now_ms()
    chosen = terms or every()
    chosen = replace_anchor(chosen, now_ms)
    await ledger.create_schedule(
        NewSchedule(TENANT, schedule_id, chosen, b"spec"),
        "same",
        paused=paused,
        created_ms=now_ms,
        next_ms=chosen.rule.next_after(now_ms) or 0,
        request=asked(request_id),
    )
    return chosen


def replace_anchor(terms: Terms, anchor_ms: int) -> Terms:
    """The same terms, their interval counted from another time."""
    rule = terms.rule
    moved = Recurrence(rule.cron, rule.interval_ms, rule.time_zone, anchor_ms, rule.begin_ms, rule.end_ms)
    return Terms(moved, terms.overlap, terms.catch_up, terms.window_ms)


def fired_task(schedule_id: str, planned: Graph | None = None) -> NewTask:
    """A task as a dispatcher makes it for a firing."""
    task = new_task(planned or graph(chain(1)))
    return replace(task, request_id=f"schedule {schedule_id} {task.id}")


def order_of(
    lease: ScheduleLease, decision: Decision, *, task: NewTask | None = None, failure: Failure | None = None
) -> FiringOrder:
    """The order for a decision about a leased schedule."""
    return FiringOrder(lease.tenant, lease.id, lease.revision, lease.terms, decision, task, failure)


async def fire_due(ledger: Ledger, planned: Graph | None = None) -> list[Fired]:
    """Decide all that is due now, as a dispatcher does; what became of each order."""
    done = []
    for lease in (await ledger.lease_schedules(LEASE_MS, 100)).leases:
        revision, standing, now_ms = lease.revision, lease.standing, lease.now_ms
        while decision := decide(lease.terms, standing, now_ms):
            order = order_of(lease, decision, task=fired_task(lease.id, planned) if decision.due_ms else None)
            fired = await ledger.fire_schedule(replace(order, revision=revision), LEASE_MS)
            done.append(fired)
            if fired.now_ms == 0:
                break
            revision, now_ms = fired.revision, fired.now_ms
            queued = fired.verdict is FiringVerdict.QUEUED
            standing = following(standing, decision, queued=queued, busy=fired.busy)
    return done


async def told(ledger: Ledger, schedule_id: str = "hourly") -> list[tuple[FiringOutcome, int, int]]:
    """What became of firings, newest first: outcome, minutes after the creation, and how many."""
    record = await ledger.schedule(TENANT, schedule_id)
    return [
        (firing.outcome, (firing.due_ms - record.created_ms) // MINUTE_MS, firing.count) for firing in record.firings
    ]


async def tasks_of(ledger: Ledger) -> list[str]:
    """Ids of all tasks of the tenant, oldest first."""
    found, _ = await ledger.list_tasks(TENANT, 1_000)
    return [task.id for task in reversed(found)]


def replace_overlap(terms: Terms, overlap: Overlap) -> Terms:
    """The same terms with another policy."""
    return Terms(terms.rule, overlap, terms.catch_up, terms.window_ms)
