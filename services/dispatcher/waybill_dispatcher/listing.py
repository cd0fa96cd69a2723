"""Listing tasks: those of the store and those that only the archive has, as one list, newest first."""

from __future__ import annotations

from typing import TYPE_CHECKING

from waybill.api.v1 import task_pb2
from waybill.core.task import TaskState
from waybill.ledger.ledger import Ledger
from waybill.ledger.reads import ListPosition
from waybill.ledger.records import TaskFilter, TaskRecord
from waybill_dispatcher import views

if TYPE_CHECKING:
    from waybill_dispatcher.archive import Archive

_ENDED = frozenset(state for state in TaskState if state.ended)


class Listing:
    """Lists of one tenant's tasks."""

    def __init__(self, ledger: Ledger, archive: Archive | None = None) -> None:
        self._ledger = ledger
        self._archive = archive

    async def page(
        self, tenant: str, limit: int, after: ListPosition | None, wanted: TaskFilter
    ) -> tuple[list[task_pb2.Task], ListPosition | None]:
        """A page, newest first, and where the next one starts, or None at the end. It may hold fewer than `limit`.

        Raises Unavailable, also while the archive is away and could have a task of the page.
        """
        stored, stored_next = await self._ledger.list_tasks(tenant, limit, after, wanted)
        if self._archive is None or (wanted.states and not wanted.states & _ENDED):
            return [views.task_message(record) for record in stored], stored_next
        # Second, because a task goes from the store to the archive and never back: none can slip through between.
        archived, archived_next = await self._archive.list_tasks(tenant, limit, after, wanted)
        listed = {record.id for record in stored}
        dropped = await self._without_stored([record for record in archived if record.id not in listed])
        rows = [(_position(record), record, False) for record in stored]
        rows += [(_position(record), record, True) for record in dropped]
        rows.sort(key=lambda row: row[0], reverse=True)
        # Beyond where either list stops nothing is known of that list yet.
        end = max((_order(place) for place in (stored_next, archived_next) if place is not None), default=None)
        known = [row for row in rows if end is None or row[0] >= end]
        page = known[:limit]
        messages = [views.task_message(record, archived=is_archived) for _, record, is_archived in page]
        if len(known) > limit:
            return messages, ListPosition(*page[-1][0])
        return messages, ListPosition(*end) if end is not None else None

    async def _without_stored(self, archived: list[TaskRecord]) -> list[TaskRecord]:
        """Those that the store has dropped; of the others it knows better, and has listed them if they are wanted."""
        if not archived:
            return []
        stored = await self._ledger.tasks([record.id for record in archived])
        return [record for record, kept in zip(archived, stored, strict=True) if kept is None]


def _position(record: TaskRecord) -> tuple[int, str]:
    return record.created_ms, record.id


def _order(place: ListPosition) -> tuple[int, str]:
    return place.created_ms, place.task
