"""Schedules: set, read, paused, resumed, deleted and triggered."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from contextlib import suppress

from waybill.api.v1 import dispatcher_pb2, task_pb2
from waybill.core.schedule import Terms, overdue
from waybill.errors import InvalidArgument, Unavailable, Violation, WaybillError
from waybill.ledger.ledger import Ledger
from waybill.ledger.records import Request
from waybill.ledger.schedule_records import NewSchedule, Overdue, ScheduleRecord
from waybill.ledger.scheduling import Stale
from waybill.rpc.schedules import schedule_violations, terms_of
from waybill.telemetry import metrics
from waybill_dispatcher import names
from waybill_dispatcher.firing import Firing, lease_of, spec_of
from waybill_dispatcher.history import History
from waybill_dispatcher.schedule_views import schedule_message
from waybill_dispatcher.views import accepted_task

_CALLER_FIELDS = (
    *("name", "spec", "cron", "interval_ms", "time_zone", "overlap_policy", "catch_up_policy", "catch_up_window_ms"),
    *("begin_time", "end_time"),
)
_TRIES = 20
_SPEC_PREFIX = "spec."


class Schedules:
    """The schedules of all tenants."""

    def __init__(self, ledger: Ledger, history: History, firing: Firing) -> None:
        self._ledger = ledger
        self._history = history
        self._firing = firing

    async def create(self, request: Request, schedule: task_pb2.Schedule) -> task_pb2.Schedule:
        """Keep a new schedule. May be repeated under its request.

        Raises InvalidArgument, also for what its tasks would be refused with; AlreadyExists, ResourceExhausted.
        """
        schedule_id = names.schedule_of(schedule.name, "name")
        now_ms = await self._ledger.now_ms()
        terms = await self._checked(request.tenant, schedule_id, schedule, now_ms)
        await self._ledger.create_schedule(
            NewSchedule(request.tenant, schedule_id, terms, schedule.spec.SerializeToString(deterministic=True)),
            _fingerprint(schedule, *_CALLER_FIELDS, "paused"),
            paused=schedule.paused,
            created_ms=now_ms,
            next_ms=terms.rule.next_after(now_ms) or 0,
            request=request,
        )
        return await self.read(request.tenant, schedule_id)

    async def update(self, request: Request, schedule: task_pb2.Schedule) -> task_pb2.Schedule:
        """Replace a schedule, but for whether it is paused. May be repeated under its request.

        Raises InvalidArgument as `create`, NotFound, AlreadyExists, ResourceExhausted.
        """
        schedule_id = names.schedule_of(schedule.name, "name")
        spec = schedule.spec.SerializeToString(deterministic=True)
        created_ms = (await self._ledger.schedule(request.tenant, schedule_id)).created_ms
        terms = await self._checked(request.tenant, schedule_id, schedule, created_ms)

        async def update(stored: ScheduleRecord, now_ms: int, late: Overdue) -> None:
            await self._ledger.update_schedule(
                NewSchedule(request.tenant, schedule_id, terms, spec),
                _fingerprint(schedule, *_CALLER_FIELDS),
                revision=stored.revision,
                next_ms=terms.rule.next_after(now_ms) or 0,
                overdue=late,
                request=request,
            )

        return await self._changed(request.tenant, schedule_id, update)

    async def pause(self, request: Request, schedule_id: str) -> task_pb2.Schedule:
        """Let nothing of a schedule be due. May be repeated. Raises NotFound, AlreadyExists."""

        async def pause(stored: ScheduleRecord, now_ms: int, late: Overdue) -> None:
            await self._ledger.pause_schedule(
                request.tenant, schedule_id, revision=stored.revision, overdue=late, request=request
            )

        return await self._changed(request.tenant, schedule_id, pause)

    async def resume(self, request: Request, schedule_id: str) -> task_pb2.Schedule:
        """Let a schedule be due again, next after now. May be repeated. Raises NotFound, AlreadyExists."""

        async def resume(stored: ScheduleRecord, now_ms: int, late: Overdue) -> None:
            await self._ledger.resume_schedule(
                request.tenant,
                schedule_id,
                revision=stored.revision,
                next_ms=stored.terms.rule.next_after(now_ms) or 0,
                request=request,
            )

        return await self._changed(request.tenant, schedule_id, resume)

    async def _changed(
        self, tenant: str, schedule_id: str, change: Callable[[ScheduleRecord, int, Overdue], Awaitable[None]]
    ) -> task_pb2.Schedule:
        """Apply a change to the schedule as it stands; what was due before is decided first, as far as that can be."""
        stored = await self._ledger.schedule(tenant, schedule_id)
        now_ms = await self._ledger.now_ms()
        if overdue(stored.terms, stored.next_ms, now_ms)[0]:
            with suppress(WaybillError):  # as when the store is full: what is left then is missed
                await self._firing.settle(lease_of(stored, now_ms))
        for _ in range(_TRIES):
            stored = await self._ledger.schedule(tenant, schedule_id)
            now_ms = await self._ledger.now_ms()
            try:
                await change(stored, now_ms, Overdue(*overdue(stored.terms, stored.next_ms, now_ms)))
            except Stale:
                continue
            return await self.read(tenant, schedule_id)
        raise Unavailable("the schedule fires too often to be changed now; try again", reason="SCHEDULE_BUSY")

    async def delete(self, request: Request, schedule_id: str) -> None:
        """Delete a schedule; its tasks go on. May be repeated under its request. Raises NotFound, AlreadyExists."""
        await self._ledger.delete_schedule(request.tenant, schedule_id, request)

    async def trigger(self, request: Request, schedule_id: str) -> task_pb2.Task:
        """Fire a schedule now; its task. May be repeated under its request.

        Raises NotFound, AlreadyExists, ResourceExhausted, and what a submission is refused with.
        """
        known = await self._ledger.triggered_task(schedule_id, request)
        if not known:
            record = await self._ledger.schedule(request.tenant, schedule_id)
            task = await self._firing.task(request.tenant, schedule_id, spec_of(record))
            accepted = await self._ledger.trigger_schedule(request.tenant, schedule_id, task, request)
            if not accepted.repeated:
                metrics.TASKS_ACCEPTED.inc()
                return accepted_task(task, accepted)
            known = accepted.task
        return await self._history.task(request.tenant, known)

    async def steer(
        self, request: Request, schedule_id: str, action: int
    ) -> tuple[task_pb2.Schedule | None, task_pb2.Task | None]:
        """Do something with a schedule: the schedule after it, unless it was deleted, and the task, if it was fired.

        Raises InvalidArgument for an action that is none, and as the other methods.
        """
        match action:
            case dispatcher_pb2.SCHEDULE_ACTION_DELETE:
                await self.delete(request, schedule_id)
                return None, None
            case dispatcher_pb2.SCHEDULE_ACTION_PAUSE:
                return await self.pause(request, schedule_id), None
            case dispatcher_pb2.SCHEDULE_ACTION_RESUME:
                return await self.resume(request, schedule_id), None
            case dispatcher_pb2.SCHEDULE_ACTION_TRIGGER:
                return None, await self.trigger(request, schedule_id)
        raise InvalidArgument.of_field("action", f"is {action}, which names nothing that can be done with a schedule")

    async def read(self, tenant: str, schedule_id: str) -> task_pb2.Schedule:
        """A schedule with its newest firings. Raises NotFound."""
        return _message(await self._ledger.schedule(tenant, schedule_id))

    async def page(self, tenant: str, limit: int, after: str) -> tuple[list[task_pb2.Schedule], str]:
        """A page of a tenant's schedules by name, without firings, and the last id if more follow, else ''."""
        records, last = await self._ledger.schedules(tenant, limit, after)
        return [_message(record) for record in records], last

    async def _checked(self, tenant: str, schedule_id: str, schedule: task_pb2.Schedule, created_ms: int) -> Terms:
        """The terms of a schedule whose fields and tasks are well. Raises InvalidArgument."""
        # An expression that hardly ever fires takes a moment to be found out about, beside the loop.
        found = await asyncio.to_thread(schedule_violations, schedule, created_ms)
        if found:
            raise InvalidArgument("; ".join(f"{item.field}: {item.description}" for item in found[:3]), found)
        try:
            await self._firing.task(tenant, schedule_id, schedule.spec)
        except InvalidArgument as refusal:
            within = [Violation(_SPEC_PREFIX + item.field, item.description) for item in refusal.violations]
            raise InvalidArgument(f"spec: {refusal.message}", within, reason=refusal.reason) from refusal
        return terms_of(schedule, created_ms)


def _message(record: ScheduleRecord) -> task_pb2.Schedule:
    return schedule_message(record, spec_of(record))


def _fingerprint(schedule: task_pb2.Schedule, *fields: str) -> str:
    """What makes two calls under one request id the same: 128 bits of what the caller sets."""
    asked = task_pb2.Schedule()
    asked.CopyFrom(schedule)
    for field, _ in schedule.ListFields():
        if field.name not in fields:
            asked.ClearField(field.name)  # type: ignore[arg-type]
    return hashlib.sha256(asked.SerializeToString(deterministic=True)).hexdigest()[:32]
