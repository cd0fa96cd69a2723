"""Ended tasks as results: in messages of a bounded size, with the outputs that were too large to be read before."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from typing import TypeVar

import msgspec

from waybill.core.limits import MIB
from waybill.core.outputs import NOTHING, joined_outputs
from waybill.errors import NotFound
from waybill.ledger.ended import SEVERAL_SINKS, EndedTask
from waybill.ledger.ledger import Ledger
from waybill.ledger.records import TaskRecord
from waybill_dispatcher.history import History
from waybill_dispatcher.packed_results import packed_response, packed_result, packed_task

Item = TypeVar("Item")

MESSAGE_BYTES = 4 * MIB
"""A message has no more bytes than this, unless one result alone has; nor are more outputs read at once."""


class End(msgspec.Struct, gc=False):
    """A task that has ended, and the cursor that goes on after it. `stored` is None if only the archive has it."""

    task: str
    stored: EndedTask | None
    cursor: bytes


class Ends:
    """Makes results of ended tasks."""

    def __init__(self, ledger: Ledger, history: History) -> None:
        self._ledger = ledger
        self._history = history

    async def messages(self, tenant: str, ends: Sequence[End]) -> AsyncIterator[bytes]:
        """The results in order, in as few messages as their size allows: StreamResultsResponse on the wire.

        Raises NotFound for a task that is gone.
        """
        sizes = await self._sizes([end.stored for end in ends if end.stored is not None and end.stored.lacks_output])
        for read in _groups(ends, lambda end: sizes.get(end.task, 0)):
            results = await self._results(tenant, read, sizes)
            for group in _groups(list(zip(read, results, strict=True)), lambda pair: len(pair[1])):
                yield packed_response((result for _, result in group), group[-1][0].cursor)

    async def _sizes(self, tasks: Sequence[EndedTask]) -> dict[str, int]:
        """How large the outputs are that these tasks lack, by task."""
        sizes = {task.id: task.output_bytes for task in tasks}
        joined = [task for task in tasks if task.output_bytes == SEVERAL_SINKS]
        if joined:
            sizes |= zip((task.id for task in joined), await self._ledger.result_bytes(joined), strict=True)
        return sizes

    async def _results(self, tenant: str, ends: Sequence[End], sizes: dict[str, int]) -> list[bytes]:
        """The results, packed; outputs that they lack are read together."""
        lacking = [end.stored for end in ends if end.stored is not None and end.task in sizes]
        found = await self._ledger.results(lacking) if lacking else []
        outputs = dict(zip((task.id for task in lacking), found, strict=True))
        results = []
        for end in ends:
            result = _packed(end, outputs)
            if result is None:
                message = await self._history.task(tenant, end.task)
                result = packed_task(message.SerializeToString(), end.cursor)
            results.append(result)
        return results


_AS_READ: list[tuple[str, bytes]] = []
"""Stands for the output that was read together with its task."""


def _packed(end: End, outputs: dict[str, list[tuple[str, bytes]] | None]) -> bytes | None:
    """A result; None if its task is in the archive alone, or was dropped from the store between two reads of it."""
    task, named = end.stored, outputs.get(end.task, _AS_READ)
    if task is None or named is None:
        return None
    if named is _AS_READ:
        return packed_result(task, task.output or (NOTHING if task.has_succeeded else b""), end.cursor)
    return packed_result(task, joined_outputs(named) if named else b"", end.cursor)


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
