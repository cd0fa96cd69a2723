"""Firing: a decision about a schedule becomes a task, made and checked like any submission, and is applied once."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from google.protobuf.message import DecodeError
from opentelemetry.context import Context

from waybill.api.v1 import dispatcher_pb2, task_pb2
from waybill.core.limits import MAX_FAILURE_MESSAGE_CHARS
from waybill.core.schedule import LABEL, Decision, Overlap, Standing, decide, following
from waybill.core.task import Failure
from waybill.errors import FailedPrecondition, InvalidArgument, NotFound
from waybill.ledger.ledger import Ledger, new_task_id
from waybill.ledger.records import NewTask
from waybill.ledger.schedule_records import Fired, FiringOrder, FiringVerdict, ScheduleLease, ScheduleRecord
from waybill.telemetry import conventions, metrics, tracing
from waybill.telemetry.logs import get_logger
from waybill_dispatcher.accept import Acceptance, kept_trace

log = get_logger(__name__)

LEASE_MS = 5_000
"""How long the schedules of a dispatcher that died are not looked at, at most; less than what counts as late."""
_LONG_AGO_MS = 3_600_000
_REQUEST = "schedule"


class Firing:
    """Makes the firings of schedules."""

    def __init__(self, ledger: Ledger, acceptance: Acceptance) -> None:
        self._ledger = ledger
        self._acceptance = acceptance

    async def task(self, tenant: str, schedule_id: str, spec: task_pb2.TaskSpec) -> NewTask:
        """A task of a schedule, not stored yet. Raises what its submission is refused with, and Unavailable."""
        labelled = task_pb2.TaskSpec()
        labelled.CopyFrom(spec)
        labelled.labels[LABEL] = schedule_id
        submission = dispatcher_pb2.Submission(tenant=tenant, request_id=_REQUEST, spec=labelled)
        return _of_its_own(schedule_id, await self._acceptance.new_task(submission))

    async def settle(self, lease: ScheduleLease) -> None:
        """Decide all that is due of a leased schedule. Whatever is left, by an error too, is leased by somebody later.

        Raises Unavailable, and ResourceExhausted while the store is full.
        """
        orders = _Orders(self, self._ledger, lease)
        standing, revision, now_ms = lease.standing, lease.revision, lease.now_ms
        while decision := await _decided(lease, standing, now_ms):
            fired = await orders.fire(decision, revision, standing)
            if not fired.revision:
                log.info("firing", tenant=lease.tenant, schedule=lease.id, status=fired.verdict.value)
                return
            _tell(lease, decision, fired)
            queued = fired.verdict is FiringVerdict.QUEUED
            standing = following(standing, decision, queued=queued, busy=fired.busy)
            revision, now_ms = fired.revision, fired.now_ms


class _Orders:
    """The orders for one leased schedule: what it submits is read and checked once, and only if it is needed."""

    def __init__(self, firing: Firing, ledger: Ledger, lease: ScheduleLease) -> None:
        self._firing = firing
        self._ledger = ledger
        self._lease = lease
        self._made: NewTask | Failure | None = None

    async def fire(self, decision: Decision, revision: int, standing: Standing) -> Fired:
        """Have a decision applied."""
        order = FiringOrder(self._lease.tenant, self._lease.id, revision, self._lease.terms, decision)
        is_held_up = standing.busy and self._lease.terms.overlap in (Overlap.SKIP, Overlap.QUEUE)
        if decision.due_ms and not is_held_up:
            return await self._submit(order)
        fired = await self._ledger.fire_schedule(order, LEASE_MS)
        return await self._submit(order) if fired.verdict is FiringVerdict.FREE else fired

    async def _submit(self, order: FiringOrder) -> Fired:
        if self._made is None:
            record = await self._ledger.schedule(order.tenant, order.id)
            if record.revision != order.revision:
                return Fired(FiringVerdict.STALE)
            self._made = await self._make(record)
        if isinstance(self._made, Failure):
            return await self._ledger.fire_schedule(replace(order, failure=self._made), LEASE_MS)
        task = _of_its_own(order.id, self._made)
        attributes = {conventions.SCHEDULE: order.id, conventions.TENANT: order.tenant}
        with tracing.span(conventions.FIRE, attributes=attributes, parent=Context()):
            task = replace(task, traceparent=kept_trace(tracing.current_traceparent()))
            return await self._ledger.fire_schedule(replace(order, task=task), LEASE_MS)

    async def _make(self, record: ScheduleRecord) -> NewTask | Failure:
        try:
            return await self._firing.task(record.tenant, record.id, spec_of(record))
        except (InvalidArgument, NotFound, FailedPrecondition) as refusal:
            return Failure(refusal.reason, refusal.message[:MAX_FAILURE_MESSAGE_CHARS])


def spec_of(record: ScheduleRecord) -> task_pb2.TaskSpec:
    """What a stored schedule submits. Raises FailedPrecondition if that cannot be read."""
    try:
        return task_pb2.TaskSpec.FromString(record.spec)
    except DecodeError as error:
        raise FailedPrecondition(
            "what the schedule submits cannot be read; update it", reason="SPEC_DAMAGED"
        ) from error


def lease_of(record: ScheduleRecord, now_ms: int) -> ScheduleLease:
    """A schedule that was read, as if it were leased: who decides first decides."""
    standing = Standing(record.next_ms, record.queued_ms, busy=bool(record.queued_ms))
    return ScheduleLease(record.tenant, record.id, record.revision, now_ms, standing, record.terms)


def _of_its_own(schedule_id: str, task: NewTask) -> NewTask:
    """The task under an id of its own, and a request id that no caller can send, for it has spaces."""
    task_id = new_task_id()
    return replace(task, id=task_id, request_id=f"{_REQUEST} {schedule_id} {task_id}")


async def _decided(lease: ScheduleLease, standing: Standing, now_ms: int) -> Decision | None:
    """The next decision; the due times of a long outage are counted beside the loop."""
    if standing.next_ms and now_ms - standing.next_ms > _LONG_AGO_MS:
        return await asyncio.to_thread(decide, lease.terms, standing, now_ms)
    return decide(lease.terms, standing, now_ms)


def _tell(lease: ScheduleLease, decision: Decision, fired: Fired) -> None:
    if decision.missed:
        metrics.SCHEDULE_FIRINGS.labels("missed").inc(decision.missed)
    if decision.due_ms:
        metrics.SCHEDULE_FIRINGS.labels(fired.verdict.value).inc()
    if fired.task:
        metrics.TASKS_ACCEPTED.inc()
        if not decision.was_queued:
            metrics.SCHEDULE_LAG_SECONDS.observe(max(0, fired.now_ms - decision.due_ms) / 1000)
    log.info(
        "firing",
        tenant=lease.tenant,
        schedule=lease.id,
        status=fired.verdict.value,
        task=fired.task,
        due_ms=decision.due_ms,
        missed=decision.missed,
    )
