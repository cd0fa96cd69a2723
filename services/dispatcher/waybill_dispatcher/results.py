"""Following results: the tasks of a tenant as they end, those that a filter names for ever, or named ones until all
have ended.

A look is one read: of what the tenant's feed has after a place, with the tasks themselves. It happens when the bell
rings, and once a second without a ring. What a slow caller has not taken holds the stream up: no more than one page is
read ahead of it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress

from waybill.errors import NotFound, OutOfRange
from waybill.ledger.bells import FEED, Bells
from waybill.ledger.ended import EndedTask
from waybill.ledger.feed import FeedPlace
from waybill.ledger.ledger import Ledger
from waybill.ledger.records import TaskFilter
from waybill_dispatcher.admission import Admission
from waybill_dispatcher.cursors import NO_OTHER, Cursor, cursor_of, cursor_text
from waybill_dispatcher.ends import End, Ends, in_archive
from waybill_dispatcher.history import History
from waybill_dispatcher.packed_results import packed_response

RESULTS_A_LOOK = 500
_LOOK_SECONDS = 1.0
_GATHER_SECONDS = ((100, 0.025), (4, 0.01), (0, 0.003))
"""How far apart looks that show less than a page are at least, by how much the last one showed: what ends meanwhile
comes along. Who waits for one task after another is told of each at once.
"""
_SILENCE_SECONDS = 5.0
"""A caller to whom nothing was told for so long is told how far the stream has come; and named tasks are looked at
themselves, in case an older release has ended them, which writes no feed."""


class Results:
    """Streams of results: StreamResultsResponse on the wire. A task of another tenant does not exist."""

    def __init__(self, ledger: Ledger, bells: Bells, history: History) -> None:
        self._ledger = ledger
        self._bells = bells
        self._history = history
        self._ends = Ends(ledger, history)

    async def of_filter(
        self, tenant: str, wanted: TaskFilter, cursor: str = "", *, from_now: bool = False
    ) -> AsyncIterator[bytes]:
        """Results of the tasks that a filter names, after a cursor, from now on, or from the oldest that is kept.

        The first message tells at once where the stream begins. Never ends. Raises InvalidArgument for what is no
        cursor, OutOfRange as `FeedReads.feed_after`.
        """
        admission = Admission(wanted)
        async with self._bells.listen(FEED + tenant) as rung:
            place = await self._begin(tenant, cursor, from_now)
            told_at = 0.0
            ahead = _Ahead()
            try:
                while True:
                    rung.clear()
                    looked_at = time.monotonic()
                    page = await (ahead.taken() or self._ledger.ends_after(tenant, place, RESULTS_A_LOOK))
                    ends = [end async for end in self._wanted(tenant, page, admission)]
                    passed = _place(page[-1]) if page else None
                    place = passed or place
                    is_full = len(page) == RESULTS_A_LOOK
                    if is_full:
                        ahead.begin(self._ledger, tenant, place)
                    async for message in self._ends.messages(tenant, ends):
                        told_at = time.monotonic()
                        yield message
                    has_moved = passed is not None and (not ends or ends[-1].task != page[-1].id)
                    is_silent = time.monotonic() - told_at >= _SILENCE_SECONDS
                    if not told_at or (has_moved and (is_full or is_silent)):
                        told_at = time.monotonic()
                        yield packed_response((), Cursor(place).text())
                    if not is_full:
                        await _ring(rung, looked_at, len(page))
            finally:
                await ahead.close()

    async def of_names(
        self, tenant: str, task_ids: Sequence[str], cursor: str = "", *, from_now: bool = False
    ) -> AsyncIterator[bytes]:
        """Results of named tasks, those that have ended first; ends when all have, at once if nothing is left to tell.

        The first message tells where the stream begins.

        Raises NotFound, and as `of_filter`.
        """
        async with self._bells.listen(FEED + tenant) as rung:
            newest = (await self._ledger.feed_ends(tenant)).newest
            reached = cursor_of(cursor) if cursor else Cursor(FeedPlace(0))
            if cursor:
                await self._ledger.feed_after(tenant, reached.place, 1, may_lack=True)
            known, other, pending = await self._sort(tenant, list(dict.fromkeys(task_ids)), reached, newest)
            if from_now and not cursor:
                reached, known = Cursor(FeedPlace(newest), other), []
            if known or pending:
                yield packed_response((), reached.text())
            async for message in self._ends.messages(tenant, known):
                yield message
            place, asked_at = FeedPlace(newest), time.monotonic()
            while pending:
                rung.clear()
                looked_at = time.monotonic()
                page = await self._ledger.feed_after(tenant, place, RESULTS_A_LOOK, may_lack=True)
                told = await self._ledger.ends_of(tenant, [task for _, task in page if task in pending])
                numbers = {task: number for number, task in page}
                ends = [End(task.id, task, _cursor(task, other)) for task in told if task.number == numbers[task.id]]
                async for message in self._ends.messages(tenant, ends):
                    yield message
                pending -= {end.task for end in ends}
                place = FeedPlace(page[-1][0]) if page else place
                if time.monotonic() - asked_at >= _SILENCE_SECONDS:
                    asked_at = time.monotonic()
                    unfed, other = await self._unfed(tenant, pending, Cursor(place, other))
                    async for message in self._ends.messages(tenant, unfed):
                        yield message
                    pending -= {end.task for end in unfed}
                if pending and len(page) < RESULTS_A_LOOK:
                    await _ring(rung, looked_at, len(page))

    async def _begin(self, tenant: str, cursor: str, from_now: bool) -> FeedPlace:
        if cursor:
            return cursor_of(cursor).place
        ends = await self._ledger.feed_ends(tenant)
        return FeedPlace(ends.newest if from_now else ends.lost)

    async def _wanted(self, tenant: str, page: Sequence[EndedTask], admission: Admission) -> AsyncIterator[End]:
        """The ends of a page that are wanted. Raises OutOfRange if one has expired just now."""
        for task in page:
            if task.state:
                if admission.admits(task):
                    yield End(task.id, task, _cursor(task))
                continue
            record = await in_archive(self._history, tenant, task.id)
            if record is None:
                raise OutOfRange("results after this cursor have expired; begin without a cursor")
            if admission.admits_record(record):
                yield End(task.id, None, _cursor(task))

    async def _sort(
        self, tenant: str, task_ids: list[str], reached: Cursor, newest: int
    ) -> tuple[list[End], tuple[int, str], set[str]]:
        """What a stream of named tasks begins with: those that have ended and were not told up to a cursor, in order;
        the newest of them that stands in no feed; and the ids of those that have not ended. What ends after number
        `newest` is told when the feed shows it.
        """
        others: list[tuple[tuple[int, str], EndedTask]] = []
        numbered: list[EndedTask] = []
        pending: set[str] = set()
        for task in await self._ledger.ends_of(tenant, task_ids):
            ended_ms = await self._ended_ms(tenant, task)
            if ended_ms is None or task.number > newest:
                pending.add(task.id)
            elif task.number > reached.place.number:
                numbered.append(task)
            elif not task.number and (ended_ms, task.id) > reached.other:
                others.append(((ended_ms, task.id), task))
        others.sort(key=lambda pair: pair[0])
        numbered.sort(key=lambda task: task.number)
        last = others[-1][0] if others else reached.other
        known = [_end_without_feed(task, Cursor(reached.place, other)) for other, task in others]
        return [*known, *(End(task.id, task, _cursor(task, last)) for task in numbered)], last, pending

    async def _unfed(self, tenant: str, pending: set[str], reached: Cursor) -> tuple[list[End], tuple[int, str]]:
        """Named tasks that have ended without a word in the feed, or are in the archive alone by now, and the newest
        that stands in no feed.
        """
        found = []
        for task in await self._ledger.ends_of(tenant, sorted(pending)):
            ended_ms = await self._ended_ms(tenant, task)
            if ended_ms is not None and not task.number:
                found.append(((ended_ms, task.id), task))
        found.sort(key=lambda pair: pair[0])
        ends = [_end_without_feed(task, Cursor(reached.place, other)) for other, task in found]
        return ends, max([reached.other, *(other for other, _ in found)])

    async def _ended_ms(self, tenant: str, task: EndedTask) -> int | None:
        """When a task has ended, None if it has not. Raises NotFound."""
        if task.state and task.tenant == tenant:
            return task.ended_ms if task.has_ended else None
        archived = None if task.state else await in_archive(self._history, tenant, task.id)
        if archived is None:
            raise NotFound(f"there is no task {task.id}")
        return archived.ended_ms


class _Ahead:
    """The read of the page that follows the one which is being told."""

    def __init__(self) -> None:
        self._reading: asyncio.Task[list[EndedTask]] | None = None

    def begin(self, ledger: Ledger, tenant: str, place: FeedPlace) -> None:
        """Read what follows a place."""
        self._reading = asyncio.create_task(ledger.ends_after(tenant, place, RESULTS_A_LOOK))

    def taken(self) -> asyncio.Task[list[EndedTask]] | None:
        """The read that was begun, if one was; whoever takes it waits for it."""
        reading, self._reading = self._reading, None
        return reading

    async def close(self) -> None:
        """Give up the read that nobody has taken."""
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.gather(self._reading, return_exceptions=True)


def _place(task: EndedTask) -> FeedPlace:
    return FeedPlace(task.number, task.id, task.ended_ms) if task.state else FeedPlace(task.number)


def _cursor(task: EndedTask, other: tuple[int, str] = NO_OTHER) -> bytes:
    """The cursor after a task of the feed."""
    if task.state:
        return cursor_text(task.number, task.id, task.ended_ms, other)
    return cursor_text(task.number, "", 0, other)


def _end_without_feed(task: EndedTask, cursor: Cursor) -> End:
    return End(task.id, task if task.state else None, cursor.text())


async def _ring(rung: asyncio.Event, looked_at: float, shown: int) -> None:
    """Wait for a ring, but no longer than it takes to look without one; then for what comes along with it."""
    with suppress(TimeoutError):
        async with asyncio.timeout(_LOOK_SECONDS):
            await rung.wait()
    gather_seconds = next(seconds for least, seconds in _GATHER_SECONDS if shown >= least)
    await asyncio.sleep(max(0.0, looked_at + gather_seconds - time.monotonic()))
