"""Plain reads of the ledger: nothing here changes anything."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import msgspec

from waybill.core.task import Document, EffectState, Event, Priority, StepState
from waybill.errors import NotFound
from waybill.ledger import keys, unpacking
from waybill.ledger.connection import Part, Store
from waybill.ledger.records import (
    AgentOffer,
    AgentRecord,
    DeadLetter,
    Effect,
    Request,
    StepEffect,
    StepRecord,
    TaskFilter,
    TaskRecord,
    WorkerRecord,
)
from waybill.ledger.stored import OLD_TASK_FIELDS

SCAN_LIMIT = 5_000
"""Most tasks that one page of a filtered list looks at."""
_STEPS_A_READ = 1_000
EVERY_TASK = TaskFilter()


@dataclass(frozen=True, slots=True)
class ListPosition:
    """Where a list of tasks continues: after this task."""

    created_ms: int
    task: str


class Reads:
    """What can be read of one partition. All methods raise Unavailable while the store is away."""

    def __init__(self, store: Store, partition: str) -> None:
        self._store = store
        self._partition = partition

    def _key(self, kind: str, *parts: str) -> str:
        return keys.key(self._partition, kind, *parts)

    async def _fields(self, task_id: str, fields: Sequence[str]) -> list[bytes | None]:
        found: list[bytes | None] = await self._store.command("HMGET", self._key("task", task_id), *fields)
        return found

    async def task(self, task_id: str) -> TaskRecord:
        """One task. Raises NotFound."""
        record = (await self.tasks([task_id]))[0]
        if record is None:
            raise NotFound(f"there is no task {task_id}")
        return record

    async def tasks(self, task_ids: Sequence[str]) -> list[TaskRecord | None]:
        """Tasks by id, None for each that does not exist."""
        commands: list[tuple[str, ...]] = []
        for task_id in task_ids:
            commands.append(("HMGET", self._key("task", task_id), *unpacking.TASK_FIELDS))
            commands.append(("LLEN", self._key("events", task_id)))
        rows = await self._store.commands(commands)
        old = await self._old_fields([task_id for at, task_id in enumerate(task_ids) if unpacking.is_old(rows[2 * at])])
        return [
            unpacking.task_of(task_id, rows[2 * at], rows[2 * at + 1], old.get(task_id))
            for at, task_id in enumerate(task_ids)
        ]

    async def _old_fields(self, task_ids: Sequence[str]) -> dict[str, list[bytes | None]]:
        """What the release before this one stored of these tasks where there is a core now."""
        if not task_ids:
            return {}
        commands = [("HMGET", self._key("task", task_id), *OLD_TASK_FIELDS) for task_id in task_ids]
        return dict(zip(task_ids, await self._store.commands(commands), strict=True))

    async def list_tasks(
        self, tenant: str, limit: int, after: ListPosition | None = None, wanted: TaskFilter = EVERY_TASK
    ) -> tuple[list[TaskRecord], ListPosition | None]:
        """A tenant's tasks, newest first, and where the next page starts, or None at the end.

        A page with a filter may hold fewer tasks than `limit` though more follow.
        """
        page: list[TaskRecord] = []
        scanned, fetch = 0, limit + 1
        while scanned < SCAN_LIMIT:
            rows, exhausted = await self._index_after(tenant, after, fetch, wanted)
            if not rows and not exhausted:
                fetch *= 4
                continue
            for record, position in zip(await self.tasks([row.task for row in rows]), rows, strict=True):
                scanned += 1
                if len(page) == limit:
                    return page, after
                after = position
                if record is not None and wanted.admits(record):
                    page.append(record)
            if exhausted:
                return page, None
        return page, after

    async def _index_after(
        self, tenant: str, after: ListPosition | None, count: int, wanted: TaskFilter
    ) -> tuple[list[ListPosition], bool]:
        newest = min(after.created_ms if after else math.inf, wanted.until_ms - 1 if wanted.until_ms else math.inf)
        options = ("BYSCORE", "REV", "LIMIT", 0, count, "WITHSCORES")
        flat = await self._store.command("ZRANGE", self._key("index", tenant), newest, wanted.from_ms, *options)
        rows = [flat[at : at + 2] for at in range(0, len(flat), 2)]
        found = [ListPosition(int(score), member.decode()) for member, score in rows]
        if after:
            found = [row for row in found if (row.created_ms, row.task) < (after.created_ms, after.task)]
        return found, len(rows) < count

    async def steps(self, task_id: str, first: int, last: int, *, payloads: bool = True) -> list[StepRecord]:
        """Steps number `first` to `last` of a planned task, with inputs and outputs unless told otherwise."""
        numbers = range(first, last + 1)
        names = ("run", "spec", "err", "in", "out") if payloads else ("run", "spec", "err")
        if not numbers:
            return []
        values = await self._fields(task_id, [f"{name}:{number}" for number in numbers for name in names])
        found = []
        for at, number in enumerate(numbers):
            run, spec, failure, *rest = values[at * len(names) : (at + 1) * len(names)]
            if run is None or spec is None:
                raise NotFound(f"task {task_id} has no step {number}")
            step = unpacking.step_of(number, run, spec, failure)
            if payloads:
                step = replace(step, input=rest[0] or b"", output=rest[1] or b"")
            found.append(step)
        return found

    async def task_input(self, task_id: str) -> bytes:
        """The input that a task was submitted with, JSON text."""
        (found,) = await self._fields(task_id, ["input"])
        return found or b"null"

    async def step_states(self, task: TaskRecord) -> list[StepState]:
        """The states of all steps of a task, in the order of their numbers; reads nothing else of them."""
        states: list[StepState] = []
        for first in range(1, task.step_count + 1, _STEPS_A_READ):
            last = min(first + _STEPS_A_READ - 1, task.step_count)
            for run in await self._fields(task.id, [f"run:{number}" for number in range(first, last + 1)]):
                if run is None:
                    raise NotFound(f"there is no task {task.id}")
                states.append(unpacking.state_of(run))
        return states

    async def outputs(self, task_id: str, numbers: Sequence[int]) -> list[bytes]:
        """Outputs of steps by number, JSON text; empty for one that has none."""
        return [value or b"" for value in await self._fields(task_id, [f"out:{number}" for number in numbers])]

    async def events(self, task_id: str, first: int, limit: int) -> list[Event]:
        """Events from sequence number `first` on, at most `limit`."""
        rows = await self._store.command("LRANGE", self._key("events", task_id), first - 1, first + limit - 2)
        return [unpacking.event_of(row, first + at) for at, row in enumerate(rows)]

    async def documents(self, task_id: str) -> list[Document]:
        """The documents sent with a task."""
        rows = await self._store.command("LRANGE", self._key("documents", task_id), 0, -1)
        return [unpacking.document_of(row) for row in rows]

    async def is_known(self, request: Request) -> bool:
        """Whether a call was made under this request id within the time for which it is remembered."""
        return bool(await self._store.command("EXISTS", self._key("call", request.tenant, request.id)))

    async def task_of_request(self, tenant: str, request_id: str, fingerprint: str) -> str:
        """The task that was submitted under a request id with this content; empty if none was, or another."""
        stored: bytes | None = await self._store.command("GET", self._key("request", tenant, request_id))
        task, _, known = (stored or b"").decode().partition("|")
        return task if known == fingerprint else ""

    async def has_policy(self) -> bool:
        """Whether settings are written; a store that lost its data has none."""
        return bool(await self._store.command("EXISTS", self._key("policy")))

    async def agents(self) -> list[AgentRecord]:
        """Announced agents by name, with live workers and backlog."""
        offers = await self._store.command("HVALS", self._key("agents"))
        known = sorted((msgspec.json.decode(data, type=AgentOffer) for data in offers), key=lambda offer: offer.name)
        paused = await self._paused()
        return [await self._agent(offer, f"agent:{offer.name}" in paused) for offer in known]

    async def _paused(self) -> set[str]:
        return {name.decode() for name in await self._store.command("SMEMBERS", self._key("paused"))}

    async def is_paused(self, tenant: str) -> bool:
        """Whether a tenant is paused."""
        return bool(await self._store.command("SISMEMBER", self._key("paused"), f"tenant:{tenant}"))

    async def effects(self, task_id: str) -> list[StepEffect]:
        """The effects of a task's steps, by step and key. One that an ended attempt intended is UNKNOWN."""
        stored = await self._store.command("HGETALL", self._key("effects", task_id))
        found = []
        for name, packed in sorted(stored.items()):
            number, _, key = name.decode().partition(":")
            found.append(StepEffect(int(number), key, unpacking.effect_of(packed)))
        numbers = sorted({item.number for item in found if item.effect.state is EffectState.INTENDED})
        runs = (
            await self._fields(task_id, [part for n in numbers for part in (f"run:{n}", f"spec:{n}")])
            if numbers
            else []
        )
        at_it = set()
        for number, run, spec in zip(numbers, runs[0::2], runs[1::2], strict=True):
            if run is not None and spec is not None:
                step = unpacking.step_of(number, run, spec, None)
                if step.state is StepState.RUNNING:
                    at_it.add((number, step.attempt))
        return [
            item
            if item.effect.state is not EffectState.INTENDED or (item.number, item.effect.attempt) in at_it
            else StepEffect(item.number, item.key, Effect(EffectState.UNKNOWN, item.effect.attempt))
            for item in found
        ]

    async def dead_letters(
        self, tenant: str, limit: int, after: ListPosition | None = None
    ) -> tuple[list[DeadLetter], ListPosition | None]:
        """A tenant's dead letters, newest first, and where the next page starts, or None at the end.

        A position names a letter in place of a task.
        """
        newest = after.created_ms if after else "+inf"
        command = ("ZRANGE", self._key("dead", tenant), newest, "-inf", "BYSCORE", "REV", "WITHSCORES")
        flat = await self._store.command(*command)
        rows = [ListPosition(int(score), name.decode()) for name, score in zip(flat[0::2], flat[1::2], strict=True)]
        rows = [row for row in rows if after is None or (row.created_ms, row.task) < (after.created_ms, after.task)]
        page = rows[:limit]
        if not page:
            return [], None
        stored = await self._store.command("HMGET", self._key("letters", tenant), *(row.task for row in page))
        letters = [msgspec.json.decode(data, type=DeadLetter) for data in stored if data is not None]
        return letters, page[-1] if len(rows) > limit else None

    async def dead_letter(self, tenant: str, letter_id: str) -> DeadLetter:
        """One dead letter. Raises NotFound."""
        data = await self._store.command("HGET", self._key("letters", tenant), letter_id)
        if data is None:
            raise NotFound(f"there is no dead letter {letter_id}")
        return msgspec.json.decode(data, type=DeadLetter)

    async def _agent(self, offer: AgentOffer, paused: bool) -> AgentRecord:
        commands: list[tuple[Part, ...]] = [("SCARD", self._key("serving", offer.name))]
        for priority in Priority:
            commands.append(("XLEN", self._key("queue", offer.name, priority)))
            commands.append(("ZRANGE", self._key("ready", offer.name, priority), 0, -1))
        live, *rooms = await self._store.commands(commands)
        waiting = [
            ("LLEN", self._key("waiting", offer.name, priority, tenant.decode()))
            for priority, tenants in zip(Priority, rooms[1::2], strict=True)
            for tenant in tenants
        ]
        lengths = await self._store.commands(waiting)
        return AgentRecord(
            name=offer.name,
            description=offer.description,
            input_schema=offer.input_schema,
            output_schema=offer.output_schema,
            max_batch=offer.max_batch,
            live_workers=live,
            waiting_steps=sum(lengths),
            queued_batches=sum(rooms[0::2]),
            paused=paused,
        )

    async def workers(self) -> list[WorkerRecord]:
        """Live workers by id."""
        ids = [worker.decode() for worker in await self._store.command("ZRANGE", self._key("workers"), 0, -1)]
        commands: list[tuple[str, ...]] = []
        for worker in ids:
            commands.append(("HMGET", self._key("worker", worker), "address", "slots", "agents"))
            commands.append(("ZCARD", self._key("held", worker)))
        rows = await self._store.commands(commands)
        found = []
        for worker, (address, slots, agents), held in zip(ids, rows[0::2], rows[1::2], strict=True):
            if address is not None:
                found.append(WorkerRecord(worker, address.decode(), int(slots), tuple(agents.decode().split()), held))
        return sorted(found, key=lambda record: record.id)
