"""The feed of a tenant: its ended tasks, numbered 1, 2, 3, ... in the order in which they ended.

A task leaves the feed when it runs again, and comes back under a new number when it ends again. What has expired is
gone together with all before it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from waybill.core.limits import KIB, MIB
from waybill.errors import OutOfRange
from waybill.ledger import unpacking
from waybill.ledger.calls import Calls
from waybill.ledger.connection import Part
from waybill.ledger.ended import EndedTask, ended_of

SMALL_OUTPUT_BYTES = 16 * KIB
"""An output up to this size is read together with its task."""
OUTPUTS_A_READ_BYTES = 4 * MIB
"""Outputs that are read together with their tasks are no larger than this in all."""
_TASKS_A_READ = 250
"""The store does nothing else while it reads them."""


@dataclass(frozen=True, slots=True)
class FeedPlace:
    """A place in a feed: after number `number`. `task` is what stood there, and when it ended, if that is known."""

    number: int
    task: str = ""
    ended_ms: int = 0


@dataclass(frozen=True, slots=True)
class FeedEnds:
    """The newest number of a feed, and the newest that expired: it has nothing up to that. Both 0 at first."""

    newest: int
    lost: int


class FeedReads(Calls):
    """What can be read of the feeds of one partition."""

    async def feed_ends(self, tenant: str) -> FeedEnds:
        """Where a tenant's feed begins and ends."""
        newest, lost = await self._store.command("HMGET", self._key("feeds"), tenant, f"{tenant}:lost")
        return FeedEnds(int(newest or 0), int(lost or 0))

    async def feed_after(
        self, tenant: str, place: FeedPlace, limit: int, *, may_lack: bool = False
    ) -> list[tuple[int, str]]:
        """Numbers and ids of the tasks that ended after a place, in order, at most `limit`; in one round trip.

        Raises OutOfRange: CURSOR_UNKNOWN if something else, or nothing, has happened up to that place, which a failover
        of the store can bring about; CURSOR_EXPIRED if some that ended after it are gone, unless those `may_lack`.
        """
        feed = self._key("feed", tenant)
        commands: list[tuple[Part, ...]] = [
            ("ZRANGE", feed, place.number, place.number, "BYSCORE"),
            ("HGET", self._key("task", place.task), "ended"),
            ("ZRANGE", feed, f"({place.number}", "+inf", "BYSCORE", "LIMIT", 0, limit, "WITHSCORES"),
            # Last: what is lost by now was not lost before those were read, or it is missed here.
            ("HMGET", self._key("feeds"), tenant, f"{tenant}:lost"),
        ]
        there, ended, rows, (newest, lost) = await self._store.commands(commands)
        _check(place, there[0] if there else None, ended, FeedEnds(int(newest or 0), int(lost or 0)), may_lack=may_lack)
        return [(int(score), task.decode()) for task, score in zip(rows[0::2], rows[1::2], strict=True)]

    async def ends_after(self, tenant: str, place: FeedPlace, limit: int) -> list[EndedTask]:
        """As `feed_after`, with the whole of each task, and its output if it is small; in one round trip."""
        *ends, there, ended, rows = await self._read_ends(tenant, place, limit)
        _check(place, there, ended, FeedEnds(*ends))
        return [ended_of(row) for row in rows]

    async def ends_of(self, tenant: str, task_ids: Sequence[str]) -> list[EndedTask]:
        """Tasks by id, each with its number in the feed, and its output if it is small; in few round trips."""
        found: list[EndedTask] = []
        for first in range(0, len(task_ids), _TASKS_A_READ):
            *_, rows = await self._read_ends(tenant, FeedPlace(0), 0, *task_ids[first : first + _TASKS_A_READ])
            found += [ended_of(row) for row in rows]
        return found

    async def _read_ends(self, tenant: str, place: FeedPlace, limit: int, *task_ids: str) -> list[Any]:
        arguments: list[Part] = [tenant, place.number, place.task, limit, SMALL_OUTPUT_BYTES, OUTPUTS_A_READ_BYTES]
        found: list[Any] = await self._call("read_ends", *arguments, *task_ids)
        return found

    async def result_bytes(self, tasks: Sequence[EndedTask]) -> list[int]:
        """How large the output of each of these ended tasks is; 0 for one that has none."""
        named = [(at, number) for at, task in enumerate(tasks) for number in task.last_steps]
        lengths = await self._store.commands(
            [("HSTRLEN", self._key("task", tasks[at].id), f"out:{number}") for at, number in named]
        )
        sizes = [0] * len(tasks)
        for (at, _), length in zip(named, lengths, strict=True):
            sizes[at] += length
        return sizes

    async def results(self, tasks: Sequence[EndedTask]) -> list[list[tuple[str, bytes]] | None]:
        """The outputs of these ended tasks, each with the name of its step where there are several, empty for a step
        that was skipped; [] for a task that has none, None for one that was dropped meanwhile.
        """
        wanted = [task for task in tasks if task.last_steps]
        commands = [("HMGET", self._key("task", task.id), *_fields(task.last_steps)) for task in wanted]
        rows = iter(await self._store.commands(commands))
        return [_outputs(task.last_steps, next(rows)) if task.last_steps else [] for task in tasks]


def _check(
    place: FeedPlace, there: bytes | None, ended: bytes | None, ends: FeedEnds, *, may_lack: bool = False
) -> None:
    """Raise OutOfRange as `feed_after` if the feed has not been read up to a place."""
    if ends.newest < place.number or (place.task and there and not _agrees(place, there, ended)):
        raise OutOfRange(
            "the store has lost the result that this cursor stands for; begin without a cursor",
            reason="CURSOR_UNKNOWN",
        )
    if ends.lost > place.number and not may_lack:
        raise OutOfRange(
            "results after this cursor have expired; begin without a cursor, and read them sooner",
            reason="CURSOR_EXPIRED",
        )


def _agrees(place: FeedPlace, there: bytes, ended: bytes | None) -> bool:
    return there.decode() == place.task and (ended is None or int(ended) == place.ended_ms)


def _fields(last_steps: Sequence[int]) -> list[str]:
    fields = ["request", *(f"out:{number}" for number in last_steps)]
    return fields if len(last_steps) == 1 else fields + [f"spec:{number}" for number in last_steps]


def _outputs(last_steps: Sequence[int], values: Sequence[bytes | None]) -> list[tuple[str, bytes]] | None:
    request, *rest = values
    if request is None:
        return None
    known = [value or b"" for value in rest]
    if len(last_steps) == 1:
        return [("", known[0])]
    count = len(last_steps)
    return [
        (unpacking.step_name_of(number, spec or b""), output)
        for number, output, spec in zip(last_steps, known[:count], known[count:], strict=True)
    ]
