"""What a worker needs of the ledger, as a protocol: `waybill.ledger.ledger.Ledger` has it, tests put a fake there."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Protocol

from waybill.core.budget import TaskPolicy
from waybill.core.task import Document, EffectState, Event, Usage
from waybill.ledger.call_records import CallDecision, CallOpening, Observed, TenantBudget
from waybill.ledger.records import (
    AgentRecord,
    Effect,
    Exchange,
    QueueEntry,
    Renewal,
    Settlement,
    StepRecord,
    StepRef,
    TaskRecord,
    WorkerOffer,
)


class WorkerLedger(Protocol):
    """The worker's side of the ledger. Every method raises `errors.Unavailable` while the store is away."""

    async def register(self, offer: WorkerOffer) -> int:
        """Make the worker known; older incarnations of its name lose what they hold, so many steps."""

    async def unregister(self, worker_id: str) -> int:
        """Forget the worker and requeue the steps that it still holds, so many."""

    async def wait_for_work(self, worker_id: str, agents: Sequence[str], block_ms: int) -> list[QueueEntry]:
        """Block until a queue has an entry, at most `block_ms`; empty on timeout. Raises NotFound as `exchange`."""

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
        """Settle what has ended and claim what comes next. Raises NotFound if the worker is not known."""

    async def renew(self, worker_id: str, seen: int, held: Sequence[StepRef]) -> Renewal:
        """Heartbeat. Raises NotFound if the worker is not known."""

    async def append_events(self, worker_id: str, ref: StepRef, position: int, events: Sequence[Event]) -> bool:
        """Append what an attempt reports after its first `position` events; False when the attempt is stale."""

    async def begin_effect(self, worker_id: str, ref: StepRef, key: str, nonce: str) -> Effect | None:
        """Announce an effect that must not happen twice; None if the attempt is over or its task is stopping."""

    async def end_effect(
        self, worker_id: str, ref: StepRef, key: str, nonce: str, state: EffectState, result: bytes = b""
    ) -> bool:
        """Record what became of it; False if the attempt is stale or the effect was decided otherwise."""

    async def documents(self, task_id: str) -> list[Document]:
        """The documents sent with a task."""

    async def task_policy(self, task_id: str) -> TaskPolicy:
        """What a task may do."""

    async def begin_call(self, worker_id: str, ref: StepRef, opening: CallOpening) -> CallDecision:
        """Reserve the worst case of a model call, and a permit for it, before it is made; repeatable."""

    async def end_call(self, ref: StepRef, number: int, usage: Usage, observed: Observed, response: bytes) -> bool:
        """Put what a call used in the place of what was reserved for it; False if the call is not known. Repeatable."""

    async def task(self, task_id: str) -> TaskRecord:
        """A task."""

    async def steps(self, task_id: str, first: int, last: int, *, payloads: bool = True) -> list[StepRecord]:
        """Steps number `first` to `last` of a planned task."""

    async def agents(self) -> list[AgentRecord]:
        """Announced agents."""

    async def tenant_budget(self, tenant: str) -> TenantBudget:
        """What a tenant may spend, and has."""

    def listen_control(self, worker_id: str) -> AsyncIterator[StepRef]:
        """Attempts to cancel, as they are announced."""
