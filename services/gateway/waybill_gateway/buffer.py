"""The newest events of one task, in order, within bounds of number and size."""

from __future__ import annotations

from collections import deque
from itertools import islice

from waybill.core.limits import MIB
from waybill_gateway.event import Event
from waybill_gateway.place import START, Place

MAX_BUFFERED_EVENTS = 1_024
MAX_BUFFERED_BYTES = 4 * MIB
MAX_BATCH_EVENTS = 256
"""Most events that a watcher is handed at once, and asks for when it reads a gap."""


class EventBuffer:
    """Events from `first`, the lowest that is still here, up to `next`, the number after the newest one."""

    def __init__(self, start: Place) -> None:
        self.first = start.sequence
        self.next = start.sequence
        self._digest_before_first = start.digest
        self._events: deque[Event] = deque()
        self._bytes = 0

    def __bool__(self) -> bool:
        return bool(self._events)

    @property
    def end(self) -> Place:
        """The place after the newest event."""
        return Place(self.next, self.digest_before(self.next))

    @property
    def newest(self) -> Event | None:
        """The newest event, if any is here."""
        return self._events[-1] if self._events else None

    def add(self, event: Event) -> None:
        """Keep the next event, and drop the oldest ones that it leaves no room for."""
        self._events.append(event)
        self._bytes += len(event.written)
        self.next += 1
        while len(self._events) > MAX_BUFFERED_EVENTS or (self._bytes > MAX_BUFFERED_BYTES and len(self._events) > 1):
            dropped = self._events.popleft()
            self._bytes -= len(dropped.written)
            self._digest_before_first = dropped.digest
            self.first += 1

    def restart(self) -> None:
        """Forget all: the history follows from its first event."""
        self._events.clear()
        self._bytes = 0
        self._digest_before_first = START.digest
        self.first = self.next = START.sequence

    def after(self, sequence: int) -> list[Event]:
        """Events from a number on, which must not lie below `first`; at most a batch of them."""
        skip = sequence - self.first
        return list(islice(self._events, skip, skip + MAX_BATCH_EVENTS))

    def digest_before(self, sequence: int) -> int:
        """Digest of the event before a number; 0 where it is not known here."""
        if sequence == self.first:
            return self._digest_before_first
        if self.first < sequence <= self.next:
            return self._events[sequence - self.first - 1].digest
        return 0

    def contradicts(self, place: Place) -> bool:
        """Whether another event stands here than the one that was seen before this place."""
        known = self.digest_before(place.sequence)
        return bool(known and place.digest and known != place.digest)
