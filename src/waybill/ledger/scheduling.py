"""Schedules: set, paused, deleted, triggered, and decided once by whoever looks at what is due.

A change of one names the revision that it was made for: `Stale` says to read it again. Calls with a `Request` may be
repeated under it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from waybill.core import limits
from waybill.core.schedule import Firing, Standing, Terms
from waybill.errors import AlreadyExists, FailedPrecondition, NotFound, ResourceExhausted, WaybillError
from waybill.ledger import packing
from waybill.ledger.connection import Part
from waybill.ledger.records import Accepted, NewTask, Request
from waybill.ledger.replies import is_missing_function, translate
from waybill.ledger.revising import Revising
from waybill.ledger.schedule_records import (
    Fired,
    FiringOrder,
    FiringVerdict,
    NewSchedule,
    Overdue,
    ScheduleLease,
    ScheduleLeases,
    ScheduleRecord,
)
from waybill.ledger.steering import ANYBODY, REUSED
from waybill.telemetry.logs import get_logger

_log = get_logger(__name__)

NOTHING_OVERDUE = Overdue()
_FULL = "the store is full; try again when tasks have ended or expired"
_FIELDS = (
    *("revision", "next", "queued", "paused", "created", "updated", "submitted"),
    *("terms", "spec"),
)
_LISTED_BYTES = 16 * limits.MIB
_terms = msgspec.json.Decoder(Terms).decode
_firing = msgspec.json.Decoder(Firing).decode


class Stale(FailedPrecondition):
    """The schedule has another revision by now: read it, and decide again."""

    reason = "SCHEDULE_CHANGED"


class Scheduling(Revising):
    """The calls for schedules, in one partition."""

    async def now_ms(self) -> int:
        """The store's clock."""
        if self.clock_ms:
            return self.clock_ms
        seconds, micros = await self._store.command("TIME")
        return int(seconds) * 1000 + int(micros) // 1000

    async def create_schedule(
        self, schedule: NewSchedule, fingerprint: str, *, paused: bool, created_ms: int, next_ms: int, request: Request
    ) -> bool:
        """Keep a new schedule; False if that was done before under this request.

        Raises AlreadyExists for a name that is taken, and ResourceExhausted if the tenant has too many or the store is
        full.
        """
        return await self._set(
            schedule, fingerprint, (0, 0, int(paused), created_ms, next_ms), NOTHING_OVERDUE, request
        )

    async def update_schedule(
        self,
        schedule: NewSchedule,
        fingerprint: str,
        *,
        revision: int,
        next_ms: int,
        overdue: Overdue,
        request: Request,
    ) -> bool:
        """Replace a schedule of this revision; False if that was done before under this request.

        It stays paused if it is. Raises NotFound, Stale, and ResourceExhausted if the store is full.
        """
        return await self._set(schedule, fingerprint, (1, revision, 0, 0, next_ms), overdue, request)

    async def _set(
        self, schedule: NewSchedule, fingerprint: str, state: tuple[int, ...], overdue: Overdue, request: Request
    ) -> bool:
        reply = await self._replicated(
            "set_schedule",
            schedule.tenant,
            schedule.id,
            request.id,
            fingerprint,
            *state,
            overdue.count,
            overdue.newest_ms,
            limits.MAX_SCHEDULES_PER_TENANT,
            msgspec.json.encode(schedule.terms),
            schedule.spec,
        )
        match reply:
            case b"exists":
                raise AlreadyExists(
                    f"there is a schedule {schedule.id} already; update it, or choose another name",
                    reason="SCHEDULE_EXISTS",
                )
            case b"many":
                most = limits.MAX_SCHEDULES_PER_TENANT
                raise ResourceExhausted(
                    f"the tenant has {most} schedules, which is the most; delete some", reason="TOO_MANY_SCHEDULES"
                )
            case b"known":
                return False
        _check(reply, schedule.id)
        return True

    async def delete_schedule(self, tenant: str, schedule_id: str, request: Request = ANYBODY) -> None:
        """Delete a schedule; its tasks go on. Raises NotFound."""
        _check(await self._call("delete_schedule", tenant, schedule_id, request.id), schedule_id)

    async def pause_schedule(
        self, tenant: str, schedule_id: str, *, revision: int, overdue: Overdue, request: Request = ANYBODY
    ) -> None:
        """Let nothing of a schedule be due. Raises NotFound and Stale; one that is paused is left alone."""
        await self._pause(tenant, schedule_id, request, (1, revision, 0, overdue.count, overdue.newest_ms))

    async def resume_schedule(
        self, tenant: str, schedule_id: str, *, revision: int, next_ms: int, request: Request = ANYBODY
    ) -> None:
        """Let a paused schedule be due again, next at `next_ms`. Raises NotFound and Stale; one that is not paused is
        left alone.
        """
        await self._pause(tenant, schedule_id, request, (0, revision, next_ms, 0, 0))

    async def _pause(self, tenant: str, schedule_id: str, request: Request, state: tuple[int, ...]) -> None:
        _check(await self._call("pause_schedule", tenant, schedule_id, request.id, *state), schedule_id)

    async def lease_schedules(self, lease_ms: int, limit: int) -> ScheduleLeases:
        """Take schedules of which something is due; each is offered again after `lease_ms` if nothing came of it."""
        now_ms, wait_ms, rows = await self._call("lease_schedules", lease_ms, limit)
        leases = []
        for tenant, name, revision, next_ms, queued_ms, busy, packed in rows:
            try:
                terms = _terms(packed)
            except (msgspec.MsgspecError, UnicodeDecodeError) as error:
                # One record that is damaged must not keep the others from being due.
                _log.warning(
                    "a schedule cannot be read", tenant=tenant.decode(), schedule=name.decode(), error=str(error)
                )
                continue
            standing = Standing(next_ms, queued_ms, bool(busy))
            leases.append(ScheduleLease(tenant.decode(), name.decode(), revision, now_ms, standing, terms))
        return ScheduleLeases(tuple(leases), wait_ms if wait_ms >= 0 else None)

    async def fire_schedule(self, order: FiringOrder, hold_ms: int) -> Fired:
        """Apply a decision, once: after Unavailable it may have been, and the order is stale.

        If more is due, the schedule stays leased for `hold_ms`. The task's request id must be one of its own.
        """
        decision = order.decision
        arguments: list[Part] = [
            order.tenant,
            order.id,
            order.revision,
            hold_ms,
            decision.missed,
            decision.missed_ms,
            decision.due_ms,
            int(decision.was_queued),
            decision.next_ms,
            order.terms.overlap.value,
            msgspec.json.encode(order.failure) if order.failure else b"",
        ]
        if order.task is not None:
            arguments += packing.submit_arguments([order.task])
        verdict, *rest = await self._call("fire_schedule", *arguments)
        if not rest:
            return Fired(FiringVerdict(verdict.decode()))
        revision, task, busy, now_ms = rest
        return Fired(FiringVerdict(verdict.decode()), revision, task.decode(), bool(busy), now_ms)

    async def trigger_schedule(
        self, tenant: str, schedule_id: str, task: NewTask, request: Request = ANYBODY
    ) -> Accepted:
        """Submit a task of a schedule now; an earlier one if the request is known. Raises NotFound, and
        ResourceExhausted if the store is full. The task's own request id must be one of its own.
        """
        reply = await self._replicated(
            "trigger_schedule", tenant, schedule_id, request.id, *packing.submit_arguments([task])
        )
        match reply:
            case [b"exists", found]:
                return Accepted(found.decode(), repeated=True)
            case [b"created", found, created_ms, last_sequence]:
                return Accepted(found.decode(), created_ms, last_sequence)
        _check(reply[0], schedule_id)
        raise AssertionError(f"trigger_schedule replied {reply!r}")

    async def triggered_task(self, schedule_id: str, request: Request) -> str:
        """Id of the task that this request triggered, within a day; empty if it has not (yet)."""
        known: bytes | None = await self._store.command("GET", self._key("call", request.tenant, request.id))
        asked, _, task_id = (known or b"").decode("utf-8", "replace").rpartition(" ")
        return task_id if asked == f"trigger schedule {schedule_id}" else ""

    async def schedule(self, tenant: str, schedule_id: str) -> ScheduleRecord:
        """A schedule with its newest firings. Raises NotFound."""
        values, firings = await self._store.commands(
            [
                ("HMGET", self._key("schedule", tenant, schedule_id), *_FIELDS),
                ("LRANGE", self._key("firings", tenant, schedule_id), 0, -1),
            ]
        )
        if values[0] is None:
            raise NotFound(f"there is no schedule {schedule_id}")
        record = _record(tenant, schedule_id, values, firings)
        if record is None:
            raise WaybillError(f"what is stored of schedule {schedule_id} cannot be read; delete it")
        return record

    async def schedules(self, tenant: str, limit: int, after: str = "") -> tuple[list[ScheduleRecord], str]:
        """A page of a tenant's schedules by name, after that one, and the last name if more follow, else ''."""
        first = f"({after}" if after else "-"
        found = await self._store.command(
            "ZRANGE", self._key("schedules", tenant), first, "+", "BYLEX", "LIMIT", 0, limit + 1
        )
        names = [name.decode() for name in found[:limit]]
        if not names:
            return [], ""
        sizes = await self._store.commands([("HSTRLEN", self._key("schedule", tenant, name), "spec") for name in names])
        fitting, total_bytes = 0, 0
        while fitting < len(names) and (fitting == 0 or total_bytes + sizes[fitting] <= _LISTED_BYTES):
            total_bytes += sizes[fitting]
            fitting += 1
        page = names[:fitting]
        rows = await self._store.commands([("HMGET", self._key("schedule", tenant, name), *_FIELDS) for name in page])
        records = [_record(tenant, name, row) for name, row in zip(page, rows, strict=True)]
        return [record for record in records if record is not None], page[-1] if len(found) > fitting else ""

    async def _replicated(self, function: str, *arguments: Part) -> Any:
        """The reply of a function once its write is in the replicas too. Raises Unavailable if too few have it."""
        command = self._command(function, arguments)
        for _ in range(2):
            (reply,) = await self._store.commands([command], keep_errors=True, replicas=self._replicas)
            if not is_missing_function(reply):
                break
            await self._load_functions()
        if isinstance(reply, Exception):
            raise translate(reply) from reply
        return reply


def _record(
    tenant: str, schedule_id: str, values: Sequence[bytes | None], firings: Sequence[bytes] = ()
) -> ScheduleRecord | None:
    """A schedule by its fields; None if it is gone, or cannot be read."""
    try:
        revision, next_ms, queued_ms, paused, created_ms, updated_ms, submitted = (
            int(value or b"") for value in values[:7]
        )
        return ScheduleRecord(
            tenant=tenant,
            id=schedule_id,
            revision=revision,
            terms=_terms(values[7] or b""),
            spec=values[8] or b"",
            next_ms=next_ms,
            queued_ms=queued_ms,
            paused=bool(paused),
            created_ms=created_ms,
            updated_ms=updated_ms,
            submitted=submitted,
            firings=tuple(_firing(firing) for firing in firings),
        )
    except (ValueError, msgspec.MsgspecError):
        return None


def _check(reply: bytes, schedule_id: str) -> None:
    """Raises what the reply of a function tells, unless all is well."""
    match reply:
        case b"missing":
            raise NotFound(f"there is no schedule {schedule_id}")
        case b"reused":
            raise AlreadyExists(REUSED)
        case b"stale":
            raise Stale(f"schedule {schedule_id} was changed meanwhile")
        case b"full":
            raise ResourceExhausted(_FULL)
