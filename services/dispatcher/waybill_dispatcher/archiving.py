"""Archiving: tasks that have ended are written to SQL, and may expire from the store once they are there.

A task is read, written and marked, in that order; a dispatcher that dies in between leaves it to the next one, when its
lease lapses. While the database is away nothing but archiving waits.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from waybill.errors import NotFound, Unavailable, WaybillError
from waybill.ledger.records import ArchiveLease
from waybill.telemetry.logs import get_logger
from waybill_dispatcher.archive import Archive
from waybill_dispatcher.archive_rows import EndedTask
from waybill_dispatcher.attempts import folded
from waybill_dispatcher.lookups import DispatcherLedger

log = get_logger(__name__)

LEASE_MS = 60_000
TASKS_A_LEASE = 100
_WRITE_BYTES = 16 * 1024 * 1024
_LOOK_SECONDS = 1.0
_AGAIN_SECONDS, _MOST_AGAIN_SECONDS = 0.5, 30.0
_STEPS_A_READ = 100


class Archiving:
    """Takes ended tasks from the ledger to the archive; `run` until cancelled. Any number may run."""

    def __init__(self, ledger: DispatcherLedger, archive: Archive) -> None:
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
            taken, tasks = await self._read_some()
            if tasks:
                await self._write(tasks)
            self._leases = self._leases[taken:]
        return True

    async def _read_some(self) -> tuple[int, dict[ArchiveLease, EndedTask]]:
        """How many leases were looked at, and the tasks of those that stand as they ended."""
        taken, size_bytes = 0, 0
        tasks: dict[ArchiveLease, EndedTask] = {}
        for lease in self._leases:
            taken += 1
            task = await self._read(lease)
            if task is not None:
                tasks[lease] = task
                size_bytes += task.size_bytes
                if size_bytes >= _WRITE_BYTES:
                    break
        return taken, tasks

    async def _read(self, lease: ArchiveLease) -> EndedTask | None:
        """A task as it ended; None if it has expired or runs again: then it is archived when it ends again."""
        try:
            record = await self._ledger.task(lease.task)
            steps = []
            for first in range(1, record.step_count + 1, _STEPS_A_READ):
                last = min(first + _STEPS_A_READ - 1, record.step_count)
                steps += await self._ledger.steps(record.id, first, last)
            attempts = await folded(self._ledger, record)
            given = await self._ledger.task_input(record.id)
            # Reading takes several calls, and a retry changes what they see: only what stood still was read whole.
            if record.ended_ms != lease.ended_ms or record != await self._ledger.task(lease.task):
                return None
        except NotFound:
            return None
        return EndedTask(record, given, steps, {step.number: attempts.of(step.name) for step in steps})

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


def _kind(error: WaybillError) -> str:
    """What is behind an error, without the values that a database's own message would show."""
    return type(error.__cause__).__name__ if error.__cause__ else ""
