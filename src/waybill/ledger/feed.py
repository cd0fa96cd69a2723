"""The feed of a tenant: its ended tasks, numbered 1, 2, 3, ... in the order in which they ended.

A task leaves the feed when it runs again, and comes back under a new number when it ends again. What has expired is
gone together with all before it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from waybill.core.task import TaskState
from waybill.errors import OutOfRange
from waybill.ledger import unpacking
from waybill.ledger.connection import Part
from waybill.ledger.reads import Reads
from waybill.ledger.records import TaskRecord


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


@dataclass(frozen=True, slots=True)
class FeedTask:
    """A task that stands in a feed, or whatever else it is now: `number` is 0 if it stands there no more."""

    record: TaskRecord | None
    number: int


class FeedReads(Reads):
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
        if int(newest or 0) < place.number or (place.task and there and not _agrees(place, there[0], ended)):
            raise OutOfRange(
                "the store has lost the result that this cursor stands for; begin without a cursor",
                reason="CURSOR_UNKNOWN",
            )
        if int(lost or 0) > place.number and not may_lack:
            raise OutOfRange(
                "results after this cursor have expired; begin without a cursor, and read them sooner",
                reason="CURSOR_EXPIRED",
            )
        return [(int(score), task.decode()) for task, score in zip(rows[0::2], rows[1::2], strict=True)]

    async def feed_tasks(self, tenant: str, task_ids: Sequence[str]) -> list[FeedTask]:
        """Tasks by id with their numbers in the feed, in one round trip."""
        if not task_ids:
            return []
        commands: list[tuple[Part, ...]] = [
            ("HMGET", self._key("task", task_id), *unpacking.TASK_FIELDS) for task_id in task_ids
        ]
        commands += [("LLEN", self._key("events", task_id)) for task_id in task_ids]
        # After the records: a number that still stands tells that its record is the one of that end.
        commands.append(("ZMSCORE", self._key("feed", tenant), *task_ids))
        *rows, numbers = await self._store.commands(commands)
        records, lengths = rows[: len(task_ids)], rows[len(task_ids) :]
        return [
            FeedTask(unpacking.task_of(task_id, values, length), int(number or 0))
            for task_id, values, length, number in zip(task_ids, records, lengths, numbers, strict=True)
        ]

    async def result_bytes(self, tasks: Sequence[TaskRecord]) -> list[int]:
        """How large the output of each of these ended tasks is; 0 for one that has none."""
        named = [(at, number) for at, task in enumerate(tasks) for number in _sinks(task)]
        lengths = await self._store.commands(
            [("HSTRLEN", self._key("task", tasks[at].id), f"out:{number}") for at, number in named]
        )
        sizes = [0] * len(tasks)
        for (at, _), length in zip(named, lengths, strict=True):
            sizes[at] += length
        return sizes

    async def results(self, tasks: Sequence[TaskRecord]) -> list[list[tuple[str, bytes]] | None]:
        """The outputs of these ended tasks, each with the name of its step where there are several, empty for a step
        that was skipped; [] for a task that has none, None for one that was dropped meanwhile.
        """
        wanted = [task for task in tasks if _sinks(task)]
        commands = [("HMGET", self._key("task", task.id), *_fields(task)) for task in wanted]
        rows = iter(await self._store.commands(commands))
        return [_outputs(task, next(rows)) if _sinks(task) else [] for task in tasks]


def _agrees(place: FeedPlace, there: bytes, ended: bytes | None) -> bool:
    return there.decode() == place.task and (ended is None or int(ended) == place.ended_ms)


def _sinks(task: TaskRecord) -> tuple[int, ...]:
    return task.sinks if task.state is TaskState.SUCCEEDED else ()


def _fields(task: TaskRecord) -> list[str]:
    fields = ["state", *(f"out:{number}" for number in task.sinks)]
    return fields if len(task.sinks) == 1 else fields + [f"spec:{number}" for number in task.sinks]


def _outputs(task: TaskRecord, values: Sequence[bytes | None]) -> list[tuple[str, bytes]] | None:
    state, *rest = values
    if state is None:
        return None
    known = [value or b"" for value in rest]
    if len(task.sinks) == 1:
        return [("", known[0])]
    count = len(task.sinks)
    return [
        (unpacking.step_name_of(number, spec), output)
        for number, output, spec in zip(task.sinks, known[:count], known[count:], strict=True)
    ]
