"""Places in a task's history: where a watcher stands."""

from __future__ import annotations

from dataclasses import dataclass

from waybill_gateway.event import Event


@dataclass(frozen=True, slots=True)
class Place:
    """The number of the next event wanted, from 1, and the digest of the event before it, 0 where nobody knows it."""

    sequence: int
    digest: int = 0

    @classmethod
    def after(cls, event: Event) -> Place:
        """The place of whoever has seen an event."""
        return cls(event.sequence + 1, event.digest)


START = Place(1)
