"""Following results: the tasks of a tenant as they end, those that a filter names for ever, or named ones until all
have ended.

A look is one read of the tenant's feed and one of all tasks in what it shows. It happens when the bell rings, and once
a second without a ring. What a slow caller has not taken holds the stream up: nothing is read ahead of it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress

from waybill.api.v1 import dispatcher_pb2
from waybill.errors import NotFound, OutOfRange
from waybill.ledger.bells import FEED, Bells
from waybill.ledger.feed import FeedPlace, FeedTask
from waybill.ledger.ledger import Ledger
from waybill.ledger.records import TaskFilter, TaskRecord
from waybill_dispatcher.cursors import Cursor, cursor_of
from waybill_dispatcher.ends import End, Ends, in_archive
from waybill_dispatcher.history import History

RESULTS_A_LOOK = 500
_LOOK_SECONDS = 1.0
_GATHER_SECONDS = 0.01
"""Looks that show less than a page are at least this far apart: what ends meanwhile comes along."""
_SILENCE_SECONDS = 5.0
"""A caller to whom nothing was told for so long is told how far the stream has come; and named tasks are looked at
themselves, in case an older release has ended them, which writes no feed."""

Message = dispatcher_pb2.StreamResultsResponse


class Results:
    """Streams of results. A task of another tenant does not exist."""

    def __init__(self, ledger: Ledger, bells: Bells, history: History) -> None:
        self._ledger = ledger
        self._bells = bells
        self._history = history
        self._ends = Ends(ledger, history)

    async def of_filter(
        self, tenant: str, wanted: TaskFilter, cursor: str = "", *, from_now: bool = False
    ) -> AsyncIterator[Message]:
        """Results of the tasks that a filter names, after a cursor, from now on, or from the oldest that is kept.

        The first message tells at once where the stream begins. Never ends. Raises InvalidArgument for what is no
        cursor, OutOfRange as `FeedReads.feed_after`.
        """
        async with self._bells.listen(FEED + tenant) as rung:
            place = await self._begin(tenant, cursor, from_now)
            told_at = 0.0
            while True:
                rung.clear()
                page = await self._ledger.feed_after(tenant, place, RESULTS_A_LOOK)
                passed, ends = await self._look(tenant, page, wanted)
                async for message in self._ends.messages(tenant, ends):
                    told_at = time.monotonic()
                    yield message
                is_full = len(page) == RESULTS_A_LOOK
                has_moved = passed is not None and (not ends or ends[-1].cursor.place != passed)
                place = passed or place
                is_silent = time.monotonic() - told_at >= _SILENCE_SECONDS
                if not told_at or (has_moved and (is_full or is_silent)):
                    told_at = time.monotonic()
                    yield Message(cursor=Cursor(place).text())
                if not is_full:
                    await _ring(rung)

    async def of_names(
        self, tenant: str, task_ids: Sequence[str], cursor: str = "", *, from_now: bool = False
    ) -> AsyncIterator[Message]:
        """Results of named tasks, those that have ended first; ends when all have, at once if nothing is left to tell.

        The first message tells where the stream begins.

        Raises NotFound, and as `of_filter`.
        """
        async with self._bells.listen(FEED + tenant) as rung:
            ends = await self._ledger.feed_ends(tenant)
            reached = cursor_of(cursor) if cursor else Cursor(FeedPlace(0))
            if cursor:
                await self._ledger.feed_after(tenant, reached.place, 1, may_lack=True)
            known, pending = await self._sort(tenant, list(dict.fromkeys(task_ids)), reached, ends.newest)
            if from_now and not cursor:
                others = [end.cursor.other for end in known if end.cursor.place.number == 0]
                reached, known = Cursor(FeedPlace(ends.newest), max(others, default=reached.other)), []
            if known or pending:
                yield Message(cursor=reached.text())
            async for message in self._ends.messages(tenant, known):
                yield message
            other = max([reached.other, *(end.cursor.other for end in known)])
            place, asked_at = FeedPlace(ends.newest), time.monotonic()
            while pending:
                rung.clear()
                page = await self._ledger.feed_after(tenant, place, RESULTS_A_LOOK, may_lack=True)
                told = [row for row in page if row[1] in pending]
                _, found = await self._look(tenant, told, TaskFilter(), other)
                async for message in self._ends.messages(tenant, found):
                    yield message
                pending -= {end.task for end in found}
                place = FeedPlace(page[-1][0]) if page else place
                if time.monotonic() - asked_at >= _SILENCE_SECONDS:
                    asked_at = time.monotonic()
                    async for message in self._unfed(tenant, pending, Cursor(place, other)):
                        other = max(other, cursor_of(message.cursor).other)
                        pending -= {result.task.name.removeprefix("tasks/") for result in message.results}
                        yield message
                if pending and len(page) < RESULTS_A_LOOK:
                    await _ring(rung)

    async def _begin(self, tenant: str, cursor: str, from_now: bool) -> FeedPlace:
        if cursor:
            return cursor_of(cursor).place
        ends = await self._ledger.feed_ends(tenant)
        return FeedPlace(ends.newest if from_now else ends.lost)

    async def _look(
        self, tenant: str, page: Sequence[tuple[int, str]], wanted: TaskFilter, other: tuple[int, str] = (0, "")
    ) -> tuple[FeedPlace | None, list[End]]:
        """Where a page of the feed ends, None if it is empty, and the ends of it that are wanted.

        A task that runs again is passed over: its next end comes later. Raises OutOfRange if one has expired just now.
        """
        place, ends = None, []
        found = await self._ledger.feed_tasks(tenant, [task for _, task in page])
        for (number, task_id), now in zip(page, found, strict=True):
            place = _place(number, task_id, now)
            record = now.record or await in_archive(self._history, tenant, task_id)
            if record is None:
                raise OutOfRange("results after this cursor have expired; begin without a cursor")
            if (now.record is None or now.number == number) and _admits(wanted, record):
                ends.append(End(task_id, now.record, Cursor(place, other)))
        return place, ends

    async def _sort(self, tenant: str, task_ids: list[str], reached: Cursor, newest: int) -> tuple[list[End], set[str]]:
        """What a stream of named tasks begins with: those that have ended and were not told up to a cursor, in order;
        and the ids of those that have not. What ends after number `newest` is told when the feed shows it.
        """
        others: list[End] = []
        numbered: list[End] = []
        pending: set[str] = set()
        found = await self._ledger.feed_tasks(tenant, task_ids)
        for task_id, now in zip(task_ids, found, strict=True):
            ended_ms = await self._ended_ms(tenant, task_id, now.record)
            if ended_ms is None or now.number > newest:
                pending.add(task_id)
            elif now.number > reached.place.number:
                numbered.append(End(task_id, now.record, Cursor(_place(now.number, task_id, now))))
            elif not now.number and (ended_ms, task_id) > reached.other:
                others.append(End(task_id, now.record, Cursor(reached.place, (ended_ms, task_id))))
        others.sort(key=lambda end: end.cursor.other)
        last = max([reached.other, *(end.cursor.other for end in others)])
        numbered.sort(key=lambda end: end.cursor.place.number)
        return [*others, *(End(end.task, end.record, Cursor(end.cursor.place, last)) for end in numbered)], pending

    async def _unfed(self, tenant: str, pending: set[str], reached: Cursor) -> AsyncIterator[Message]:
        """Results of named tasks that have ended without a word in the feed, or are in the archive alone by now."""
        ends = []
        task_ids = sorted(pending)
        for task_id, now in zip(task_ids, await self._ledger.feed_tasks(tenant, task_ids), strict=True):
            ended_ms = await self._ended_ms(tenant, task_id, now.record)
            if ended_ms is not None and not now.number:
                ends.append(End(task_id, now.record, Cursor(reached.place, (ended_ms, task_id))))
        ends.sort(key=lambda end: end.cursor.other)
        async for message in self._ends.messages(tenant, ends):
            yield message

    async def _ended_ms(self, tenant: str, task_id: str, record: TaskRecord | None) -> int | None:
        """When a task has ended, None if it has not. Raises NotFound."""
        if record is not None and record.tenant == tenant:
            return record.ended_ms if record.state.ended else None
        archived = await in_archive(self._history, tenant, task_id) if record is None else None
        if archived is None:
            raise NotFound(f"there is no task {task_id}")
        return archived.ended_ms


def _place(number: int, task_id: str, now: FeedTask) -> FeedPlace:
    if now.record is None or now.number != number:
        return FeedPlace(number)
    return FeedPlace(number, task_id, now.record.ended_ms)


def _admits(wanted: TaskFilter, record: TaskRecord) -> bool:
    in_time = wanted.from_ms <= record.created_ms and (not wanted.until_ms or record.created_ms < wanted.until_ms)
    return in_time and wanted.admits(record)


async def _ring(rung: asyncio.Event) -> None:
    """Wait for a ring, but no longer than it takes to look without one; then for what comes along with it."""
    with suppress(TimeoutError):
        async with asyncio.timeout(_LOOK_SECONDS):
            await rung.wait()
    await asyncio.sleep(_GATHER_SECONDS)
