"""One worker: known to the ledger under one id, running agents in its slots until it is drained."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from waybill.agent import AgentDefinition
from waybill.cancellation import cancel_all
from waybill.errors import Unavailable, WaybillError
from waybill.ledger.records import AgentOffer, WorkerOffer
from waybill.models.client import ModelClient
from waybill.telemetry.logs import get_logger
from waybill_worker import guard
from waybill_worker.attempt import Attempt, Stop
from waybill_worker.exchange import BLOCK_MS, ExchangeLoop
from waybill_worker.execution import Execution
from waybill_worker.heartbeat import ControlChannel, Heartbeat
from waybill_worker.held import HeldSteps
from waybill_worker.ledger_port import WorkerLedger
from waybill_worker.patience import Patience
from waybill_worker.pool import ProcessPool
from waybill_worker.pulse import Pulse
from waybill_worker.stand_in import OpenedLedger, StandIn

LONGEST_TURN_SECONDS = 10.0
"""A loop that has not turned for so long is stuck, whatever its heartbeat says."""
HAND_BACK_SECONDS = 2.0
"""Part of a drain's grace that is kept for stopping what still runs and settling it."""

_log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class WorkerStatus:
    """What a worker does at one moment."""

    worker: str
    agents: tuple[str, ...]
    slots: int
    running: int
    draining: bool


class Worker:
    """Runs agents from the ledger's queues.

    With `open_ledger`, which gives another connection, its heart goes on beating while an agent holds the loop, but not
    for longer than `stuck_seconds`.
    """

    def __init__(
        self,
        ledger: WorkerLedger,
        agents: Mapping[str, AgentDefinition],
        pool: ProcessPool,
        *,
        name: str,
        slots: int,
        models: ModelClient | None = None,
        open_ledger: Callable[[], OpenedLedger] | None = None,
        stuck_seconds: float = 30.0,
    ) -> None:
        self.id = f"{name}.{secrets.token_hex(6)}"
        self._name = name
        self._address = ""
        self._agents = agents
        self._models = models
        self._ledger = ledger
        self._execution = Execution(ledger, self.id, agents, pool, models)
        self._held = HeldSteps(
            slots,
            lambda grant, on_end, slot: Attempt(grant, self._execution, on_end, slot),
            self._execution.starts,
        )
        self._exchange = ExchangeLoop(ledger, self.id, sorted(agents), self._held, self._register_again)
        self._pulse = Pulse()
        self._heartbeat = Heartbeat(ledger, self.id, self._held, self._exchange, self._register_again, self._pulse)
        self._stand_in = self._make_stand_in(open_ledger, stuck_seconds)
        self._control = ControlChannel(ledger, self.id, lambda ref: self._held.stop(ref, Stop.CANCEL))
        self._registering = asyncio.Lock()
        self._registrations = 0
        self._draining = False
        self._working = False

    @property
    def status(self) -> WorkerStatus:
        """What the worker does now."""
        return WorkerStatus(self.id, tuple(sorted(self._agents)), self._held.slots, self._held.running, self._draining)

    async def ready(self) -> bool:
        """Whether it is known, alive in the ledger's eyes, and consuming."""
        turned_seconds_ago = time.monotonic() - self._exchange.turned_at
        return not self._draining and self._heartbeat.recent and turned_seconds_ago < LONGEST_TURN_SECONDS

    def alive(self, stuck_seconds: float) -> bool:
        """False while it should consume and has not for so long: the store says nothing, or answers and its loop does
        not turn. It may come to life again.
        """
        if not self._working:
            return True
        stuck_for_seconds = min(time.monotonic() - self._exchange.turned_at, self._pulse.answering_seconds)
        return max(self._pulse.silent_seconds, stuck_for_seconds) <= stuck_seconds

    async def run(self, address: str) -> None:
        """Register, waiting for the store as long as it takes, and work until drained; then the ledger forgets it.

        `address` is where the worker's own gRPC server can be reached.
        """
        guard.install(asyncio.get_running_loop())
        self._address = address
        await self._register()
        background = [asyncio.create_task(part) for part in (self._heartbeat.run(), self._control.run())]
        working = asyncio.create_task(self._exchange.run())
        self._working = True
        if self._stand_in is not None:
            self._stand_in.start()
        try:
            await asyncio.wait([working, *background], return_when=asyncio.FIRST_COMPLETED)
            for task in (*background, working):
                if task.done():
                    task.result()
        finally:
            self._working = False
            if self._stand_in is not None:
                self._stand_in.stop()
            await cancel_all([*background, working])
        await self._execution.accounts.close(HAND_BACK_SECONDS)
        await self._unregister()

    def drain(self) -> None:
        """Take nothing more and hand back what has not started; `run` returns once the rest has ended."""
        if not self._draining:
            self._draining = True
            _log.info("draining", running=self._held.running)
            self._exchange.drain()

    def hand_back_running(self) -> None:
        """Interrupt what still runs and hand it back, at no cost to its retry policy."""
        self._held.stop_all(Stop.DRAIN)

    def _make_stand_in(self, open_ledger: Callable[[], OpenedLedger] | None, stuck_seconds: float) -> StandIn | None:
        if open_ledger is None:
            return None
        return StandIn(open_ledger, self.id, lambda: self._heartbeat.turned_at, stuck_seconds)

    async def _register(self) -> None:
        offer = WorkerOffer(
            id=self.id,
            name=self._name,
            address=self._address,
            slots=self._held.slots,
            agents=tuple(_offer(definition, self._models) for _, definition in sorted(self._agents.items())),
        )
        patience = Patience()
        while True:
            try:
                reclaimed = await self._ledger.register(offer)
            except Unavailable as error:
                self._pulse.failed(error)
                if patience.waits == 0:
                    _log.warning("the store is away; waiting for it", error=error.message)
                await patience.wait()
            else:
                break
        self._pulse.answered()
        self._registrations += 1
        _log.info("registered", worker=self.id, agents=sorted(self._agents), reclaimed=reclaimed)

    async def _register_again(self) -> None:
        """The ledger has given everything away that was held here: drop it, and start over."""
        known = self._registrations
        async with self._registering:
            if self._registrations != known:
                return  # meanwhile someone else noticed too
            _log.warning("the ledger no longer knows this worker; if this repeats, another one has its name")
            self._held.stop_all(Stop.LOST)
            await self._register()

    async def _unregister(self) -> None:
        try:
            await self._ledger.unregister(self.id)
        except WaybillError as error:
            _log.warning("could not say goodbye; the ledger will notice", error=error.message)


async def drain_within(worker: Worker, running: asyncio.Task[None], grace_seconds: float) -> None:
    """Drain a worker whose `run` is `running`: steps may end by themselves, are then handed back, then given up."""
    worker.drain()
    patient_seconds = max(0.0, grace_seconds - HAND_BACK_SECONDS)
    await asyncio.wait([running], timeout=patient_seconds)
    if running.done():
        return
    worker.hand_back_running()
    await asyncio.wait([running], timeout=min(grace_seconds, HAND_BACK_SECONDS) + BLOCK_MS / 1000)
    if not running.done():
        _log.warning("gave up draining; the ledger takes back what is still held")
        await cancel_all([running])


def _offer(definition: AgentDefinition, models: ModelClient | None) -> AgentOffer:
    return AgentOffer(
        name=definition.name,
        description=definition.description,
        input_schema=definition.input_schema,
        output_schema=definition.output_schema,
        max_batch=definition.max_batch,
        min_batch=definition.min_batch,
        batch_target_ms=definition.batch_target_ms,
        limits=(models.models.limit_of(definition.name),) if definition.uses_model and models else (),
    )
