"""One watcher's way through a task's events."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, aclosing
from typing import Protocol

from waybill.api.v1 import task_pb2
from waybill.errors import Unavailable
from waybill.telemetry import metrics
from waybill_gateway.event import Event, Events
from waybill_gateway.hub import Hub
from waybill_gateway.place import START, Place

_READ_TIMEOUT_SECONDS = 5.0
_GAP_PAUSE_SECONDS = 0.5


class Source(Protocol):
    """Where a watch finds a task's events: live ones in a hub, older ones by reading them."""

    async def read(self, tenant: str, name: str, from_sequence: int, timeout_seconds: float) -> Events:
        """Events that exist from a number on; may be fewer than exist."""
        ...

    def joined(self, tenant: str, name: str, place: Place) -> AbstractAsyncContextManager[Hub]:
        """The task's hub, opened at `place` if there is none. Raises `Unavailable` once the gateway stops."""
        ...


class Watch:
    """A watch from a place on: first `events`, which are known already, then what the task's hub has.

    `ended` tells that the task has ended and its last event was seen, so that nothing will come. With `reset` the
    watcher is told first that the history begins anew.
    """

    def __init__(
        self,
        source: Source,
        tenant: str,
        name: str,
        place: Place,
        events: Events = (),
        *,
        ended: bool = False,
        reset: bool = False,
    ) -> None:
        self.ended = ended
        self._source = source
        self._tenant = tenant
        self._name = name
        self._place = place
        self._events = events
        self._reset = reset

    async def batches(self) -> AsyncGenerator[Events, None]:
        """Events in order, none left out and none twice, until the task has ended. Use it once.

        Where the store lost events that were seen, a batch of STREAM_RESET alone tells so, and the history follows
        from its first event. Raises `Unavailable` when the gateway stops, and what the dispatcher refuses the stream
        with.
        """
        if self.ended:
            return
        with metrics.WATCHERS.track_inprogress():
            if self._reset:
                yield self._restarted()
            events, self._events = self._events, ()
            if events:
                yield self._taken(events)
            while events and events[-1].is_finish:
                # Most watches that begin with an end have nothing else to see: no stream is opened to find that out.
                try:
                    events = await self._read_on()
                except Unavailable:
                    break
                if not events:
                    self.ended = True
                    return
                yield events
            while not self.ended:
                joined = self._source.joined(self._tenant, self._name, self._place)
                async with joined as hub, aclosing(self._from(hub)) as batches:
                    async for events in batches:
                        yield events

    async def _from(self, hub: Hub) -> AsyncGenerator[Events, None]:
        """What a hub has from this watch's place on. One that ended before that place has to be left for a new one."""
        resets = hub.resets
        if resets and self._place.sequence > hub.buffer.next:
            yield self._restarted()
        while True:
            await hub.wait(self._place.sequence, resets)
            if hub.resets != resets or hub.buffer.contradicts(self._place):
                resets = hub.resets
                if self._place != START:
                    yield self._restarted()
            elif self._place.sequence < hub.buffer.first:
                events = await self._read_gap()
                if events:
                    yield events
                elif hub.error is not None:
                    raise hub.error
            elif self._place.sequence < hub.buffer.next:
                yield self._taken(hub.buffer.after(self._place.sequence))
            else:
                self.ended = self._place.sequence == hub.buffer.next
                return

    async def _read_gap(self) -> Events:
        """Events that the hub no longer holds; none, after a while, if they cannot be read now."""
        try:
            events = await self._read_on()
        except Unavailable:
            events = ()
        if not events:
            await asyncio.sleep(_GAP_PAUSE_SECONDS)
        return events

    async def _read_on(self) -> Events:
        """What exists from this place on: events, none, or the news that others stand before it than were seen."""
        first = max(self._place.sequence - 1, START.sequence)
        events = await self._source.read(self._tenant, self._name, first, _READ_TIMEOUT_SECONDS)
        if first < self._place.sequence:
            if not events or (self._place.digest and events[0].digest != self._place.digest):
                return self._restarted()
            events = events[1:]
        return self._taken(events) if events else ()

    def _taken(self, events: Events) -> Events:
        self._place = Place.after(events[-1])
        return events

    def _restarted(self) -> Events:
        self._place = START
        reset = task_pb2.TaskEvent(type=task_pb2.EVENT_TYPE_STREAM_RESET)
        reset.time.GetCurrentTime()
        return [Event.of(reset)]
