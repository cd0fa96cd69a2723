"""Following a task: its events as they come, from any number on, and a clear word when the store has lost some.

A look is one read. It begins one event before the next that is wanted: if that event is not the one that was seen
there before, the store has gone back in time, which a failover can bring about.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass

from waybill.core.task import Event, EventType
from waybill.errors import InvalidArgument
from waybill.ledger.bells import Bells
from waybill.ledger.ledger import Ledger
from waybill_dispatcher.history import History

EVENTS_A_MESSAGE = 500
_LOOK_SECONDS = 1.0


@dataclass(slots=True)
class _Cursor:
    """The number that is wanted next, and the digest of the event before it; 0 for one that nobody has seen."""

    next: int
    digest: int = 0

    def agrees(self, before: Event) -> bool:
        """Whether the event before the next one is the one that was seen."""
        return self.digest in (0, before.digest)

    def pass_over(self, event: Event) -> None:
        self.next, self.digest = event.sequence + 1, event.digest

    def rewind(self) -> None:
        self.next, self.digest = 1, 0


class Following:
    """Streams of one tenant's tasks. A task of another tenant does not exist."""

    def __init__(self, ledger: Ledger, bells: Bells, history: History) -> None:
        self._ledger = ledger
        self._bells = bells
        self._history = history

    async def follow(self, tenant: str, task_id: str, first: int, after_digest: int = 0) -> AsyncIterator[list[Event]]:
        """Events from sequence number `first` on, as they come; ends when the task has ended and all were told.

        If the event before the next one is not the one that was seen (which `after_digest` says of the first), one
        STREAM_RESET comes, and then the history from number 1. Raises NotFound, also when the task expires meanwhile,
        and InvalidArgument if `first` lies beyond the next event and no digest was given.
        """
        async with self._bells.listen(task_id) as rung:
            record = await self._history.stored(tenant, task_id)
            if first > record.last_sequence + 1 and not after_digest:
                raise InvalidArgument.of_field(
                    "from_sequence", f"is {first}, and the next event has number {record.last_sequence + 1}"
                )
            cursor = _Cursor(first, after_digest)
            if after_digest and not 1 < first <= record.last_sequence + 1:
                yield [_reset(cursor)]  # there is no such event as the one before the first
            while True:
                rung.clear()
                seen, new, at_end = await self._look(task_id, cursor)
                if not seen:
                    await self._history.stored(tenant, task_id)  # is it gone, or has it lost events?
                if cursor.next > 1 and not (seen and cursor.agrees(seen[0])):
                    yield [_reset(cursor)]
                    continue
                if seen:
                    cursor.pass_over(seen[-1])
                if new:
                    yield new
                if at_end and seen and seen[-1].type is EventType.TASK_FINISHED:
                    return
                if at_end:
                    await _ring(rung)

    async def _look(self, task_id: str, cursor: _Cursor) -> tuple[list[Event], list[Event], bool]:
        """What one read shows: the event before the next one with those that follow, those alone, and whether that is
        all there is now.
        """
        before = 1 if cursor.next > 1 else 0
        limit = EVENTS_A_MESSAGE + before
        seen = await self._ledger.events(task_id, cursor.next - before, limit)
        return seen, seen[before:], len(seen) < limit


def _reset(cursor: _Cursor) -> Event:
    cursor.rewind()
    return Event(type=EventType.STREAM_RESET)


async def _ring(rung: asyncio.Event) -> None:
    """Wait for a ring, but no longer than it takes to look without one."""
    with suppress(TimeoutError):
        async with asyncio.timeout(_LOOK_SECONDS):
            await rung.wait()
