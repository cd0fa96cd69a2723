"""Archiving: tasks that have ended are written to SQL, and may expire from the store once they are there.

A task is read, written and marked, in that order; a dispatcher that dies in between leaves it to the next one, when its
lease lapses. While the database is away nothing but archiving waits.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from waybill.errors import NotFound, Unavailable, WaybillError
from waybill.ledger.ledger import Ledger
from waybill.ledger.records import ArchiveLease, TaskRecord
from waybill.telemetry.logs import get_logger
from waybill_dispatcher.archive import Archive
from waybill_dispatcher.archive_rows import EndedTask
from waybill_dispatcher.attempts import folded

log = get_logger(__name__)

LEASE_MS = 60_000
TASKS_A_LEASE = 100
_TASKS_AT_ONCE = 25
_STEPS_AT_ONCE = 200
_LOOK_SECONDS = 1.0
_AGAIN_SECONDS, _MOST_AGAIN_SECONDS = 0.5, 30.0
_STEPS_A_READ = 100


class Archiving:
    """Takes ended tasks from the ledger to the archive; `run` until cancelled. Any number may run."""

    def __init__(self, ledger: Ledger, archive: Archive) -> None:
        self._ledger = ledger
        self._archive = archive
        self._leases: list[ArchiveLease] = []

    async def run(self) -> None:
        """Archive whatever ends, until cancelled; goes on when the database or the store comes back."""
        again_seconds = _AGAIN_SECONDS
        while True:
            try:
                moved = await self.archive_some()
            except WaybillError as error:
                log.warning("archiving waits", error=error.message, cause=_kind(error), again_seconds=again_seconds)
                await asyncio.sleep(again_seconds)
                again_seconds = min(2 * again_seconds, _MOST_AGAIN_SECONDS)
                continue
            again_seconds = _AGAIN_SECONDS
            if not moved:
                await asyncio.sleep(_LOOK_SECONDS)

    async def archive_some(self) -> bool:
        """Archive a lot of tasks; whether there were any. Raises Unavailable; then the same are tried first next time.

        A task that the database refuses is logged and left: it is offered again, until it expires at last.
        """
        if not self._leases:
            self._leases = await self._ledger.lease_archive(LEASE_MS, TASKS_A_LEASE)
        if not self._leases:
            return False
        while self._leases:
            leases, tasks = await self._read_some()
            if tasks:
                await self._write(tasks)
            self._leases = self._leases[len(leases) :]
        return True

    async def _read_some(self) -> tuple[list[ArchiveLease], dict[ArchiveLease, EndedTask]]:
        """The next leases, and the tasks of those that stand as they ended.

        A task that has expired is left out, and one that runs again: that is archived when it ends again.
        """
        leases = self._leases[:_TASKS_AT_ONCE]
        records = await self._ledger.tasks([lease.task for lease in leases])
        leases = _together(leases, records)
        standing = [
            (lease, record)
            for lease, record in zip(leases, records, strict=False)
            if record is not None and record.ended_ms == lease.ended_ms
        ]
        read = await asyncio.gather(*(self._read(record) for _, record in standing))
        # Reading takes several calls, and a retry changes what they see: only what stood still was read whole.
        now = await self._ledger.tasks([record.id for _, record in standing])
        return leases, {
            lease: task
            for (lease, record), task, after in zip(standing, read, now, strict=True)
            if task is not None and record == after
        }

    async def _read(self, record: TaskRecord) -> EndedTask | None:
        """All of a task; None if it was dropped meanwhile."""
        try:
            steps = []
            for first in range(1, record.step_count + 1, _STEPS_A_READ):
                last = min(first + _STEPS_A_READ - 1, record.step_count)
                steps += await self._ledger.steps(record.id, first, last)
            attempts = await folded(self._ledger, record)
            calls = await self._ledger.with_texts(record.id, await self._ledger.calls(record.id))
        except NotFound:
            return None
        given = await self._ledger.task_input(record.id)
        return EndedTask(record, given, steps, {step.number: attempts.of(step.name) for step in steps}, calls)

    async def _write(self, tasks: dict[ArchiveLease, EndedTask]) -> None:
        try:
            await self._archive.write(list(tasks.values()))
            written: Sequence[ArchiveLease] = list(tasks)
        except Unavailable:
            raise
        except WaybillError:
            written = [lease for lease, task in tasks.items() if await self._is_written(task)]
        await self._ledger.mark_archived(written)

    async def _is_written(self, task: EndedTask) -> bool:
        """Write one task by itself, so that one that is refused keeps no other out."""
        try:
            await self._archive.write([task])
        except Unavailable:
            raise
        except WaybillError as error:
            log.error("the archive refused a task", task=task.record.id, cause=_kind(error))
            return False
        return True


def _together(leases: list[ArchiveLease], records: Sequence[TaskRecord | None]) -> list[ArchiveLease]:
    """So many of the first tasks as may be in memory at once: a large one comes alone."""
    steps = 0
    for at, record in enumerate(records):
        steps += record.step_count if record is not None else 0
        if at and steps > _STEPS_AT_ONCE:
            return leases[:at]
    return leases


def _kind(error: WaybillError) -> str:
    """What is behind an error, without the values that a database's own message would show."""
    return type(error.__cause__).__name__ if error.__cause__ else ""
