"""An in-memory ledger with the worker's side of the protocol, whose calls and replies can be lost."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

import msgspec
from msgspec.structs import replace

from waybill.core.budget import TaskPolicy
from waybill.core.task import Document, EffectState, Event, Priority, Usage
from waybill.errors import NotFound, Unavailable
from waybill.ledger.call_records import CallDecision, CallOpening, CallVerdict, Observed, TenantBudget
from waybill.ledger.records import (
    AgentRecord,
    Effect,
    Exchange,
    Grant,
    Outcome,
    QueueEntry,
    Renewal,
    Settlement,
    StepRecord,
    StepRef,
    TaskRecord,
    WorkerOffer,
)


class Fate(Enum):
    """What becomes of one call."""

    ARRIVES = "arrives"
    CALL_LOST = "call lost"
    REPLY_LOST = "reply lost"


@dataclass
class Call:
    """One exchange as it was asked for."""

    seq: int
    seen: int
    settlements: tuple[Settlement, ...]
    entries: tuple[QueueEntry, ...]
    free_slots: int


def grant_of(
    agent: str,
    input: Any = None,
    *,
    task: str = "0-task",
    number: int = 1,
    run_timeout_ms: int = 60_000,
    inputs: dict[str, bytes] | None = None,
    suspect: bool = False,
) -> Grant:
    """A granted step, attempt 1."""
    return Grant(
        ref=StepRef(task, number, 1),
        step=f"step-{number}",
        agent=agent,
        input=msgspec.json.encode(input if input is not None else {}),
        inputs=inputs or {},
        run_timeout_ms=run_timeout_ms,
        tenant="default",
        traceparent="00-0123456789abcdef0123456789abcdef-0123456789abcdef-01",
        wait_ms=1,
        suspect=suspect,
    )


@dataclass
class FakeLedger:
    """`fate` decides about each call by its name. `journal` has events and settlements as they arrived."""

    fate: Callable[[str], Fate] = lambda _: Fate.ARRIVES
    most_per_exchange: int = 1_000
    known: bool = False
    offers: list[WorkerOffer] = field(default_factory=list)
    queue: deque[Grant] = field(default_factory=deque)
    entries: dict[bytes, Grant] = field(default_factory=dict)
    held: dict[StepRef, tuple[Grant, int]] = field(default_factory=dict)
    journal: list[tuple[StepRef, Event | Settlement]] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)
    exchanges_in_flight: int = 0
    most_in_flight: int = 0
    stored_seq: int = 0
    stopping: set[StepRef] = field(default_factory=set)
    requeued: list[StepRef] = field(default_factory=list)
    sent_documents: list[Document] = field(default_factory=list)
    policy: TaskPolicy = TaskPolicy()
    effects: dict[str, tuple[Effect, str]] = field(default_factory=dict)
    """What is known of each effect, and under which nonce."""
    decisions: deque[CallDecision] = field(default_factory=deque)
    """What calls to models are told, one after the other; all others may go."""
    openings: list[CallOpening] = field(default_factory=list)
    accounts: dict[int, Usage] = field(default_factory=dict)
    """What the calls that have ended used, by number."""
    away: bool = False
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    control: asyncio.Queue[StepRef] = field(default_factory=asyncio.Queue)

    def offer_step(self, grant: Grant) -> StepRef:
        """A step becomes ready."""
        self.queue.append(grant)
        self.changed.set()
        return grant.ref

    def cancel_step(self, ref: StepRef, *, announce: bool) -> None:
        """The task of a step stops."""
        self.stopping.add(ref)
        if announce:
            self.control.put_nowait(ref)

    def forget_worker(self) -> None:
        """As if the worker's time-to-live had passed."""
        self.known = False
        for grant, _ in self.held.values():
            self._requeue(grant)
        self.held.clear()
        self.stored_seq = 0

    def settlements(self) -> list[Settlement]:
        """What was settled, in order."""
        return [item for _, item in self.journal if isinstance(item, Settlement)]

    def events(self) -> list[Event]:
        """What was reported, in order."""
        return [item for _, item in self.journal if isinstance(item, Event)]

    async def settled(self, count: int = 1) -> list[Settlement]:
        """The settlements, once there are so many."""
        async with asyncio.timeout(30):
            while len(self.settlements()) < count:
                await asyncio.sleep(0.002)
        return self.settlements()

    async def reported(self, count: int = 1) -> list[Event]:
        """The events, once there are so many."""
        async with asyncio.timeout(30):
            while len(self.events()) < count:
                await asyncio.sleep(0.002)
        return self.events()

    async def register(self, offer: WorkerOffer) -> int:
        """As the ledger does."""
        return await self._call("register", lambda: self._register(offer))

    async def unregister(self, worker_id: str) -> int:
        """As the ledger does."""
        self.known = False
        return len(self.held)

    async def wait_for_work(self, worker_id: str, agents: Sequence[str], block_ms: int) -> list[QueueEntry]:
        """As the ledger does, but for a shorter while."""
        if not self.known:
            raise NotFound("unknown worker")
        # What it read before and has not claimed it never got: the tick would find that out.
        self.queue.extendleft(self.entries.values())
        self.entries.clear()
        if not self.queue:
            self.changed.clear()
            try:
                async with asyncio.timeout(min(block_ms, 10) / 1000):
                    await self.changed.wait()
            except TimeoutError:
                return []
        return await self._call("wait_for_work", self._read)

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
        """As the ledger does."""
        call = Call(seq, seen, tuple(settlements), tuple(entries), free_slots)
        self.calls.append(call)
        self.exchanges_in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.exchanges_in_flight)
        try:
            return await self._call("exchange", lambda: self._exchange(call))
        finally:
            self.exchanges_in_flight -= 1

    async def renew(self, worker_id: str, seen: int, held: Sequence[StepRef]) -> Renewal:
        """As the ledger does."""
        return await self._call("renew", lambda: self._renew(seen, held))

    async def append_events(self, worker_id: str, ref: StepRef, position: int, events: Sequence[Event]) -> bool:
        """As the ledger does."""
        return await self._call("append_events", lambda: self._append(ref, position, events))

    async def begin_effect(self, worker_id: str, ref: StepRef, key: str, nonce: str) -> Effect | None:
        """As the ledger does."""
        return await self._call("begin_effect", lambda: self._begin_effect(ref, key, nonce))

    async def end_effect(
        self, worker_id: str, ref: StepRef, key: str, nonce: str, state: EffectState, result: bytes = b""
    ) -> bool:
        """As the ledger does."""
        return await self._call(
            "end_effect", lambda: self._end_effect(ref, key, nonce, Effect(state, ref.attempt, result))
        )

    async def documents(self, task_id: str) -> list[Document]:
        """As the ledger does."""
        return await self._call("documents", lambda: self.sent_documents)

    async def task_policy(self, task_id: str) -> TaskPolicy:
        """As the ledger does."""
        return await self._call("task_policy", lambda: self.policy)

    async def begin_call(self, worker_id: str, ref: StepRef, opening: CallOpening) -> CallDecision:
        """As the ledger does, as far as `decisions` do not say otherwise."""
        return await self._call("begin_call", lambda: self._begin_call(ref, opening))

    async def end_call(self, ref: StepRef, number: int, usage: Usage, observed: Observed, response: bytes) -> bool:
        """As the ledger does, also for an attempt that is over."""
        return await self._call("end_call", lambda: self.accounts.update({number: usage}) is None)

    async def task(self, task_id: str) -> TaskRecord:
        """Not needed here."""
        raise NotImplementedError

    async def steps(self, task_id: str, first: int, last: int, *, payloads: bool = True) -> list[StepRecord]:
        """Not needed here."""
        raise NotImplementedError

    async def agents(self) -> list[AgentRecord]:
        """Not needed here."""
        raise NotImplementedError

    async def tenant_budget(self, tenant: str) -> TenantBudget:
        """As the ledger does."""
        return TenantBudget()

    async def listen_control(self, worker_id: str) -> AsyncIterator[StepRef]:
        """As the ledger does."""
        while True:
            yield await self.control.get()

    async def _call(self, name: str, apply: Callable[[], Any]) -> Any:
        fate = Fate.CALL_LOST if self.away else self.fate(name)
        await asyncio.sleep(0)
        if fate is Fate.CALL_LOST:
            raise Unavailable("call lost")
        reply = apply()
        await asyncio.sleep(0)
        if fate is Fate.REPLY_LOST:
            raise Unavailable("reply lost")
        return reply

    def _register(self, offer: WorkerOffer) -> int:
        self.known = True
        self.offers.append(offer)
        return 0

    def _read(self) -> list[QueueEntry]:
        if not self.queue:
            return []
        grant = self.queue.popleft()
        entry_id = f"{grant.ref.task}/{grant.ref.number}/{grant.ref.attempt}".encode()
        self.entries[entry_id] = grant
        return [QueueEntry(grant.agent, Priority.NORMAL, entry_id, b"")]

    def _exchange(self, call: Call) -> Exchange:
        if not self.known:
            raise NotFound("unknown worker")
        stale: list[StepRef] = []
        if call.seq > self.stored_seq:
            self.stored_seq = call.seq
            for settlement in call.settlements:
                if self.held.pop(settlement.ref, None) is None:
                    stale.append(settlement.ref)
                else:
                    self.journal.append((settlement.ref, settlement))
            self._claim(call)
        grants = [grant for grant, seq in self.held.values() if seq > call.seen]
        return Exchange(tuple(grants), tuple(stale))

    def _claim(self, call: Call) -> None:
        free = min(call.free_slots, self.most_per_exchange)
        offered = [self.entries.pop(entry.entry_id) for entry in call.entries if entry.entry_id in self.entries]
        for grant in offered[free:]:
            self.queue.appendleft(grant)
        chosen = offered[:free]
        while self.queue and len(chosen) < free:
            chosen.append(self.queue.popleft())
        for grant in chosen:
            self.held[grant.ref] = (grant, call.seq)

    def _renew(self, seen: int, held: Sequence[StepRef]) -> Renewal:
        if not self.known:
            raise NotFound("unknown worker")
        lost = tuple(ref for ref in held if ref not in self.held)
        for ref, (grant, seq) in list(self.held.items()):
            if ref not in held and seq <= seen:
                del self.held[ref]
                self._requeue(grant)
        return Renewal(cancel=tuple(ref for ref in held if ref in self.held and ref in self.stopping), lost=lost)

    def _append(self, ref: StepRef, position: int, events: Sequence[Event]) -> bool:
        if ref not in self.held:
            return False
        said = sum(told == ref and isinstance(event, Event) for told, event in self.journal)
        self.journal += [(ref, event) for event in events[max(0, said - position) :]]
        return True

    def _begin_effect(self, ref: StepRef, key: str, nonce: str) -> Effect | None:
        if ref not in self.held or ref in self.stopping:
            return None
        known, nonce_of_known = self.effects.get(key, (None, ""))
        if known is None or known.state is EffectState.FAILED:
            self.effects[key] = Effect(EffectState.INTENDED, ref.attempt), nonce
        elif known.state is EffectState.INTENDED and nonce_of_known != nonce:
            self.effects[key] = Effect(EffectState.UNKNOWN, known.attempt), nonce_of_known
        return self.effects[key][0]

    def _end_effect(self, ref: StepRef, key: str, nonce: str, effect: Effect) -> bool:
        if ref not in self.held or key not in self.effects:
            return False
        known, nonce_of_known = self.effects[key]
        mine = nonce_of_known == nonce and known.state in (EffectState.INTENDED, effect.state)
        if not mine and (known.state is not EffectState.UNKNOWN or effect.state is EffectState.UNKNOWN):
            return False
        self.effects[key] = effect, nonce
        return True

    def _begin_call(self, ref: StepRef, opening: CallOpening) -> CallDecision:
        self.openings.append(opening)
        if ref not in self.held:
            return CallDecision(CallVerdict.STALE)
        return self.decisions.popleft() if self.decisions else CallDecision(CallVerdict.GO)

    def _requeue(self, grant: Grant) -> None:
        self.requeued.append(grant.ref)
        self.queue.append(replace(grant, ref=replace(grant.ref, attempt=grant.ref.attempt + 1)))
        self.changed.set()


def outcomes(settlements: Sequence[Settlement]) -> list[Outcome]:
    """How these ended."""
    return [settlement.outcome for settlement in settlements]
