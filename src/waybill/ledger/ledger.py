"""The ledger's functions, one typed method each: the only way to change what is stored.

Every method is one atomic call and one round trip. None repeats itself: after `Unavailable` a call may or may not
have been applied, and each method says what that means for its caller.
"""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from typing import Any

import msgspec

from waybill.core import limits
from waybill.core.ids import random_id
from waybill.core.plan import Graph
from waybill.core.task import EffectState, Event, Failure, Priority
from waybill.errors import AlreadyExists, NotFound, ResourceExhausted, WaybillError
from waybill.ledger import keys, packing, unpacking
from waybill.ledger.connection import Part
from waybill.ledger.records import (
    Accepted,
    ArchiveLease,
    Batch,
    BatchTerms,
    Effect,
    Exchange,
    Grant,
    NewTask,
    PlanningLease,
    QueueEntry,
    Renewal,
    Settlement,
    StepRef,
    TickReport,
    WorkerOffer,
)
from waybill.ledger.replies import is_missing_function, translate
from waybill.ledger.scheduling import Scheduling

WORKER_TTL_MS = 2_400
"""A worker that sends no heartbeat for so long loses what it holds; it should send three in that time."""

BUSY_TICK_MS = 250
"""How long nobody ticks, at most, while something is under way."""
LEASE_BELLS = ("planning", "decisions", "revising", "schedules")
"""Bells of work that is leased, in the order in which a tick tells of it."""


_TASKS_A_CALL = 100
"""How many tasks one call of `submit` accepts, so that no call holds up the store for long."""
_PLAIN_GRANT = 11
"""How many values a grant has whose step refers to nothing."""


def new_task_id(partition: str = "0") -> str:
    """A task id: its partition, then 80 random bits."""
    return f"{partition}-{random_id()[:20]}"


class Ledger(Scheduling):
    """One partition of the ledger: what accepts tasks, plans them, runs them and keeps time."""

    async def submit(self, tasks: Sequence[NewTask]) -> list[Accepted | WaybillError]:
        """Accept tasks, in one round trip; each on its own. The result of each is the stored task, which is an
        earlier one if the request id is known, or AlreadyExists, ResourceExhausted or another error.

        After Unavailable, of the call or of one task that too few replicas have, repeat it with the same request ids.
        """
        groups = [tasks[first : first + _TASKS_A_CALL] for first in range(0, len(tasks), _TASKS_A_CALL)]
        results = await self._submit(groups)
        missing = [at for at, result in enumerate(results) if is_missing_function(result)]
        if missing:
            await self._load_functions()
            for at, result in zip(missing, await self._submit([groups[at] for at in missing]), strict=True):
                results[at] = result
        return [result for group, reply in zip(groups, results, strict=True) for result in _accepted(group, reply)]

    async def _submit(self, groups: Sequence[Sequence[NewTask]]) -> list[Any]:
        commands = [self._command("submit", packing.submit_arguments(group)) for group in groups]
        return await self._store.commands(commands, keep_errors=True, replicas=self._replicas)

    async def lease_planning(self, lease_ms: int, limit: int) -> list[PlanningLease]:
        """Take tasks that wait for a plan; each is offered again after `lease_ms` if nothing came of it."""
        rows = await self._call("lease_planning", lease_ms, limit)
        return [
            PlanningLease(
                task=task.decode(),
                tenant=tenant.decode(),
                goal=goal.decode(),
                paths=msgspec.json.decode(paths or b"[]", type=tuple[str, ...]),
                traceparent=trace.decode(),
                round=planning_round,
            )
            for task, tenant, goal, paths, trace, planning_round in rows
        ]

    async def postpone_planning(self, task_id: str, delay_ms: int, note: str, planning_round: int = 0) -> bool:
        """Offer a task for planning again after `delay_ms`; the note tells people why it waits."""
        return bool(await self._call("postpone_planning", task_id, delay_ms, note, planning_round))

    async def attach_plan(self, task_id: str, expected_revision: int, graph: Graph, planning_round: int = 0) -> bool:
        """Give a task its plan. False if it was planned already, stopped or is gone. May be repeated."""
        return bool(
            await self._call(
                "attach_plan",
                task_id,
                expected_revision,
                planning_round,
                *packing.plan_arguments(graph),
            )
        )

    async def fail_planning(self, task_id: str, failure: Failure, planning_round: int = 0) -> bool:
        """End a task that no plan can be made for. False if it no longer waits for one. May be repeated."""
        return bool(await self._call("fail_planning", task_id, msgspec.json.encode(failure), planning_round))

    async def register(self, offer: WorkerOffer) -> int:
        """Announce a worker, and reclaim what an older one of its name held. May be repeated."""
        arguments: list[Part] = [offer.id, offer.name, offer.address, offer.slots, len(offer.agents)]
        for agent in offer.agents:
            arguments += (agent.name, msgspec.json.encode(agent))
        return int(await self._call("register_worker", *arguments))

    async def unregister(self, worker_id: str) -> int:
        """Say goodbye; whatever the worker holds is handed back. May be repeated."""
        return int(await self._call("unregister_worker", worker_id))

    async def wait_for_work(self, worker_id: str, agents: Sequence[str], block_ms: int) -> list[QueueEntry]:
        """Block until a queue of these agents has a batch, or for `block_ms`; then [].

        What it returns goes into the next `exchange`. Raises NotFound if a queue is unknown: register again.
        """
        queues = {
            keys.key(self._partition, "queue", agent, priority): (agent, priority)
            for priority in Priority
            for agent in agents
        }
        command: list[Part] = ["XREADGROUP", "GROUP", keys.GROUP, worker_id, "COUNT", 1, "BLOCK", block_ms, "STREAMS"]
        try:
            read = await self._store.command(*command, *queues, *(">" for _ in queues), block_seconds=block_ms / 1000)
        except WaybillError as error:
            if "NOGROUP" in str(error.__cause__):
                raise NotFound("the worker's queues are not known") from error
            raise
        entries = []
        for name, batches in read or []:
            agent, priority = queues[name.decode()]
            # An entry that is none of ours goes to the claim too, which takes it out of the queue.
            entries += [
                QueueEntry(agent, priority, entry_id, fields.get(b"steps", b"")) for entry_id, fields in batches
            ]
        return entries

    async def exchange(
        self,
        worker_id: str,
        seq: int,
        seen: int,
        settlements: Sequence[Settlement],
        entries: Sequence[QueueEntry],
        agents: Sequence[str],
        free_slots: int,
    ) -> Exchange:
        """Settle what ended and claim what comes next.

        After Unavailable repeat it with the same `seq` and arguments: it is applied once, and grants made after
        `seen` (the last seq whose reply arrived) are delivered again. Raises NotFound if the worker is unknown:
        everything it held has been given to others.
        """
        reply = await self._call(
            "exchange",
            random.random(),
            worker_id,
            seq,
            seen,
            free_slots,
            len(agents),
            *agents,
            *packing.entry_arguments(entries),
            *packing.settlement_arguments(settlements),
        )
        if reply[0] == b"unknown":
            raise NotFound(f"worker {worker_id} is not known")
        grants = [await self._grant(row) for row in reply[2]]
        batches = tuple(Batch(agent.decode(), reason.decode(), size) for agent, reason, size in reply[3])
        return Exchange(tuple(grants), tuple(unpacking.ref_of(item) for item in reply[1]), batches)

    async def _grant(self, row: Sequence[Any]) -> Grant:
        if len(row) == _PLAIN_GRANT:
            return unpacking.grant_of(row, row[5], {})
        task, number, names, outputs, references = row[0], row[1], *row[_PLAIN_GRANT:]
        if outputs != 0:
            return unpacking.grant_of(row, row[5], unpacking.named_outputs(names, outputs))
        fields = [f"in:{number}"]
        for reference in references:
            fields += ["goal", "input"] if reference == 0 else [f"out:{reference}"]
        found = await self._fields(task.decode(), fields)
        return unpacking.grant_of(row, found[0] or b"", unpacking.named_outputs(names, found[1:]))

    async def renew(self, worker_id: str, seen: int, held: Sequence[StepRef]) -> Renewal:
        """Heartbeat. `held` is all that the worker has been granted and that no exchange has settled yet.

        What the ledger granted up to `seen` and `held` lacks runs again. Raises NotFound if the worker is unknown.
        """
        members = [packing.member(ref) for ref in held]
        reply = await self._call("renew", worker_id, seen, len(members), *members, urgent=True)
        if reply[0] == b"unknown":
            raise NotFound(f"worker {worker_id} is not known")
        return Renewal(
            cancel=tuple(unpacking.ref_of(item) for item in reply[1]),
            lost=tuple(unpacking.ref_of(item) for item in reply[2]),
        )

    async def append_events(self, worker_id: str, ref: StepRef, position: int, events: Sequence[Event]) -> bool:
        """Add what an agent tells. False if the attempt is stale: stop it.

        `position` is how many events of this attempt were added by earlier calls, so after Unavailable the same call
        may be repeated. Beyond `limits.MAX_TASK_EVENTS` events are dropped.
        """
        reply = await self._call(
            "append_events",
            worker_id,
            packing.member(ref),
            limits.MAX_TASK_EVENTS,
            position,
            *packing.event_arguments(events),
        )
        return int(reply) != 0

    async def begin_effect(self, worker_id: str, ref: StepRef, key: str, nonce: str) -> Effect | None:
        """Announce an effect that must not happen twice; None if the attempt is over or its task is stopping.

        INTENDED: do it, then `end_effect` with the same nonce. DONE: it has happened, with this result. UNKNOWN: an
        earlier attempt ended in the middle. After Unavailable repeat it with the same nonce. Raises ResourceExhausted
        if the task has too many effects.
        """
        reply = await self._call(
            "begin_effect", worker_id, packing.member(ref), key, nonce, limits.MAX_EFFECTS_PER_TASK
        )
        match reply:
            case [b"stale"]:
                return None
            case [b"full"]:
                raise ResourceExhausted(
                    f"the task has {limits.MAX_EFFECTS_PER_TASK} effects, which is the most; use fewer keys",
                    reason="TOO_MANY_EFFECTS",
                )
            case [b"done", attempt, result]:
                return Effect(EffectState.DONE, attempt, result)
            case [b"unknown", attempt]:
                return Effect(EffectState.UNKNOWN, attempt)
        return Effect(EffectState.INTENDED, ref.attempt)

    async def end_effect(
        self, worker_id: str, ref: StepRef, key: str, nonce: str, state: EffectState, result: bytes = b""
    ) -> bool:
        """Record what became of an effect: DONE with its result (JSON text), FAILED or UNKNOWN. May be repeated.

        False if the attempt is stale or the effect was decided otherwise.
        """
        return bool(await self._call("end_effect", worker_id, packing.member(ref), key, nonce, state.value, result))

    async def lease_archive(self, lease_ms: int, limit: int) -> list[ArchiveLease]:
        """Take ended tasks that are not archived; each is offered again after `lease_ms` if it is not marked."""
        rows = await self._call("lease_archive", lease_ms, limit)
        return [ArchiveLease(task.decode(), ended_ms) for task, ended_ms in rows]

    async def mark_archived(self, leases: Sequence[ArchiveLease]) -> int:
        """Let archived tasks expire; how many were marked. One that was retried meanwhile is not. May be repeated."""
        parts: list[Part] = []
        for lease in leases:
            parts += (lease.task, lease.ended_ms)
        return int(await self._call("mark_archived", *parts))

    async def tick(self, *, longest_ms: int = BUSY_TICK_MS, wanted: bool = True) -> TickReport:
        """Do what time has made due. Any number of dispatchers may call it; only one call in an interval acts.

        While nothing is under way the next is due after `longest_ms` at the latest. Unless it is `wanted`, as there may
        be work that the last one did not know of, nothing happens before the time that the last one has announced.
        """
        reply = await self._call("tick", random.random(), longest_ms, int(wanted))
        ran, next_due_ms, *found = reply
        if not ran:
            return TickReport(False, next_due_ms)
        retried, reclaimed, expired, has_policy, *waiting = found
        bells = tuple(bell for bell, waits in zip(LEASE_BELLS, waiting, strict=True) if waits)
        return TickReport(True, next_due_ms, retried, reclaimed, expired, bool(has_policy), bells)

    async def expire(self, limit: int) -> int:
        """Remove ended tasks whose time has come, at most `limit`; how many were removed."""
        return int(await self._call("expire", limit))

    async def set_policy(self, policy: Mapping[str, int]) -> None:
        """Write settings that the functions read: see `DEFAULTS` in `lua/call.lua`."""
        await self._call("set_policy", *(part for pair in policy.items() for part in pair))

    async def set_shares(self, batching: Mapping[str, BatchTerms], weights: Mapping[str, float]) -> None:
        """Write how single agents are batched and what tenants weigh, in the place of all that was said before."""
        parts: list[Part] = [len(batching)]
        for agent, terms in batching.items():
            parts += (agent, f"{terms.least} {terms.most} {terms.target_ms}")
        parts.append(len(weights))
        for tenant, weight in weights.items():
            parts += (tenant, f"{weight:.6f}")
        await self._call("set_shares", *parts)

    async def listen_control(self, worker_id: str) -> AsyncIterator[StepRef]:
        """Attempts that this worker must stop, as they are told. Raises Unavailable when the connection ends."""
        async with self._store.listener() as listener:
            await listener.subscribe(keys.key(self._partition, "control", worker_id))
            while True:
                yield unpacking.ref_of((await listener.message()).data)


def _accepted(tasks: Sequence[NewTask], reply: Any) -> Iterator[Accepted | WaybillError]:
    """What became of each task, from the reply of `submit` or its error."""
    if isinstance(reply, Exception):
        yield from (translate(reply) for _ in tasks)
        return
    now, *rows = reply
    for task, row in zip(tasks, rows, strict=True):
        if isinstance(row, bytes):
            yield Accepted(row.decode(), repeated=True)
        elif row == -1:
            yield AlreadyExists("request_id was used before for another submission; choose a new one")
        elif row == -2:
            yield ResourceExhausted("the store is full; try again when tasks have ended or expired")
        else:
            yield Accepted(task.id, now, row)
