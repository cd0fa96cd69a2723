"""What one attempt reports, on its way to the ledger: buffered, coalesced, in order, and before the settlement."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from waybill.core.limits import MAX_EVENT_TEXT_BYTES
from waybill.core.task import Event, EventType
from waybill.errors import Unavailable
from waybill.invocation import clean
from waybill.ledger.records import Grant
from waybill.reporting import progress_event
from waybill.telemetry.logs import get_logger
from waybill_worker.ledger_port import WorkerLedger
from waybill_worker.patience import Patience

FLUSH_INTERVAL_SECONDS = 0.05
"""Least time between two appends of one attempt."""
MAX_APPENDED_CHARS = 1_000_000
"""About the most text that one append carries."""
MAX_PENDING_EVENTS = 200
"""Past this, a progress message replaces the one before it."""

_log = get_logger(__name__)


class Outbox:
    """Events of one attempt. Used from the loop's thread alone."""

    def __init__(self, ledger: WorkerLedger, worker_id: str, grant: Grant, on_stale: Callable[[], None]) -> None:
        self._ledger = ledger
        self._worker_id = worker_id
        self._grant = grant
        self._on_stale = on_stale
        self._pending: list[Event] = []
        self._flusher: asyncio.Task[None] | None = None
        self._closing = asyncio.Event()
        self._discarded = False
        self._appended = 0
        self._streamed: list[str] = []
        self._told_chars = 0
        self._last_text: Event | None = None
        self.streamed_chars = 0
        """Characters of text so far, without what was taken back."""

    def progress(self, message: str, fraction: float | None) -> None:
        """Add a progress message; one that differs from the last in nothing but its fraction replaces it."""
        told = progress_event(message, fraction)
        last = self._pending[-1] if self._pending else None
        crowded = len(self._pending) >= MAX_PENDING_EVENTS
        if last is not None and last.type is EventType.STEP_PROGRESS and (crowded or last.message == told.message):
            self._pending.pop()
        elif crowded and self._pending[-2].type is EventType.STEP_PROGRESS:
            self._pending.pop(-2)
        self._add(told)

    def text(self, text: str) -> None:
        """Add streamed text to the text event that is pending, as far as it has room, and to new ones: one append
        carries one text event, unless there is more text than fits into one.

        Each event says how many characters the attempt streamed before it, so that a reader notices what is missing.
        """
        cleaned = clean(text)
        self._streamed.append(cleaned)
        data, start = cleaned.encode(), 0
        if self._last_text is not None:
            room = MAX_EVENT_TEXT_BYTES - len(self._last_text.text.encode())
            start = self._grow(self._last_text, data[:room])
        while start < len(data):
            self._last_text = Event(type=EventType.STEP_TEXT, text_offset=self.streamed_chars)
            start += self._grow(self._last_text, data[start : start + MAX_EVENT_TEXT_BYTES])
            self._add(self._last_text)

    def _grow(self, event: Event, data: bytes) -> int:
        """Add so much of the text as is whole characters; the bytes of those."""
        piece = data.decode("utf-8", "ignore")
        event.text += piece
        self.streamed_chars += len(piece)
        return len(piece.encode())

    def rewind(self, mark: int) -> None:
        """Take back all text after the first `mark` characters. Watchers that may have seen some of it are told the
        text up to there anew.
        """
        kept = "".join(self._streamed)[:mark]
        self._streamed, self.streamed_chars = [kept] if kept else [], len(kept)
        self._last_text = None
        pending, end = [], self._told_chars
        for event in self._pending:
            if event.type is EventType.STEP_TEXT:
                event.text = event.text[: max(0, mark - event.text_offset)]
                if not event.text:
                    continue
                self._last_text, end = event, event.text_offset + len(event.text)
            pending.append(event)
        self._pending = pending
        if end > mark:
            self.streamed_chars = 0
            self._streamed.clear()
            self._last_text = Event(type=EventType.STEP_TEXT)
            self._add(self._last_text)
            if kept:
                self.text(kept)

    def discard(self) -> None:
        """Drop what is pending and all that follows: the attempt is no longer this worker's."""
        self._discarded = True
        self._pending.clear()
        self._closing.set()

    async def close(self) -> None:
        """Return once everything has been appended or the attempt turned out to be stale."""
        self._closing.set()
        if self._flusher is not None:
            await asyncio.shield(self._flusher)

    def _add(self, event: Event) -> None:
        if self._discarded:
            return
        event.step = self._grant.step
        event.attempt = self._grant.ref.attempt
        self._pending.append(event)
        if self._flusher is None:
            self._flusher = asyncio.get_running_loop().create_task(self._flush())

    async def _flush(self) -> None:
        while self._pending:
            if not await self._append(self._next()):
                self.discard()
                self._on_stale()
            elif not self._closing.is_set():
                await self._pause()
        self._flusher = None

    def _next(self) -> list[Event]:
        """The next events to append, no more of them than the store takes without holding up others."""
        size, count = 0, 0
        for event in self._pending:
            size += len(event.text)
            count += 1
            if size >= MAX_APPENDED_CHARS:
                break
        events, self._pending = self._pending[:count], self._pending[count:]
        for event in events:
            if event.type is EventType.STEP_TEXT:
                self._told_chars = event.text_offset + len(event.text)
                if event is self._last_text:
                    self._last_text = None
        return events

    async def _pause(self) -> None:
        try:
            async with asyncio.timeout(FLUSH_INTERVAL_SECONDS):
                await self._closing.wait()
        except TimeoutError:
            return

    async def _append(self, events: list[Event]) -> bool:
        """False when the attempt is stale."""
        patience = Patience()
        while not self._discarded:
            try:
                current = await self._ledger.append_events(self._worker_id, self._grant.ref, self._appended, events)
            except Unavailable:
                await patience.wait()
            except Exception as error:
                # What an attempt reports is worth less than its result, which must not wait for a full store.
                _log.warning(
                    "events dropped",
                    task=self._grant.ref.task,
                    step=self._grant.step,
                    attempt=self._grant.ref.attempt,
                    count=len(events),
                    exc_info=error,
                )
                return True
            else:
                self._appended += len(events)
                return current
        return True
