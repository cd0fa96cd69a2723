"""Ended tasks as results: read with few calls, handed out in messages of a bounded size."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

from waybill.api.v1 import dispatcher_pb2, task_pb2
from waybill.core.limits import MIB
from waybill.core.outputs import joined_outputs
from waybill.errors import NotFound
from waybill.ledger.ledger import Ledger
from waybill.ledger.records import TaskRecord
from waybill_dispatcher import views
from waybill_dispatcher.cursors import Cursor
from waybill_dispatcher.history import History

Item = TypeVar("Item")

MESSAGE_BYTES = 4 * MIB
"""A message has no more bytes than this, unless one result alone has; nor are more outputs read at once."""


@dataclass(frozen=True, slots=True)
class End:
    """A task that has ended, and the cursor that goes on after it. `record` is None if only the archive has it."""

    task: str
    record: TaskRecord | None
    cursor: Cursor


class Ends:
    """Makes results of ended tasks."""

    def __init__(self, ledger: Ledger, history: History) -> None:
        self._ledger = ledger
        self._history = history

    async def messages(self, tenant: str, ends: Sequence[End]) -> AsyncIterator[dispatcher_pb2.StreamResultsResponse]:
        """The results in order, in as few messages as their size allows. Raises NotFound for a task that is gone."""
        records = [end.record for end in ends if end.record is not None]
        sizes = dict(zip((record.id for record in records), await self._ledger.result_bytes(records), strict=True))
        for read in _groups(ends, lambda end: sizes.get(end.task, 0)):
            results = await self._results(tenant, read)
            for group in _groups(results, lambda result: result.ByteSize()):
                yield dispatcher_pb2.StreamResultsResponse(results=group, cursor=group[-1].cursor)

    async def _results(self, tenant: str, ends: Sequence[End]) -> list[task_pb2.TaskResult]:
        records = [end.record for end in ends if end.record is not None]
        outputs = dict(zip((record.id for record in records), await self._ledger.results(records), strict=True))
        return [
            task_pb2.TaskResult(task=await self._task(tenant, end, outputs.get(end.task)), cursor=end.cursor.text())
            for end in ends
        ]

    async def _task(self, tenant: str, end: End, outputs: list[tuple[str, bytes]] | None) -> task_pb2.Task:
        if end.record is None or outputs is None:
            # It is in the archive alone, or was dropped from the store between two reads of it.
            return await self._history.task(tenant, end.task)
        output = joined_outputs(outputs) if outputs else b""
        return views.task_message(end.record, output=output, policy=end.record.policy)


async def in_archive(history: History, tenant: str, task_id: str) -> TaskRecord | None:
    """A task that the store has no more, or None if nobody has it."""
    try:
        return (await history.found(tenant, task_id)).record
    except NotFound:
        return None


def _groups(items: Sequence[Item], bytes_of: Callable[[Item], int]) -> Iterator[Sequence[Item]]:
    """Items that follow each other, in groups of no more bytes than a message may have, or one alone."""
    first, total_bytes = 0, 0
    for at, item in enumerate(items):
        size_bytes = bytes_of(item)
        if at > first and total_bytes + size_bytes > MESSAGE_BYTES:
            yield items[first:at]
            first, total_bytes = at, 0
        total_bytes += size_bytes
    if first < len(items):
        yield items[first:]
