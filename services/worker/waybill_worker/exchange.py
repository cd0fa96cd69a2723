"""The loop that settles what has ended and takes what comes next: one exchange in flight, never one lost or doubled."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from functools import cache

from waybill.errors import NotFound, Unavailable, WaybillError
from waybill.ledger.records import Exchange, QueueEntry, Settlement
from waybill.telemetry import metrics, tracing
from waybill.telemetry.logs import get_logger
from waybill_worker.held import HeldSteps
from waybill_worker.ledger_port import WorkerLedger
from waybill_worker.patience import Patience
from waybill_worker.receipt_span import trace_receipt

BLOCK_MS = 1_000
"""How long one blocking read of the queues waits; also how often an idle loop turns."""
LINGER_SECONDS = 0.002
"""A busy worker with free slots waits so long for its own steps before it blocks on the queues."""

_log = get_logger(__name__)
_batches = cache(metrics.BATCHES.labels)
_batch_steps = cache(metrics.BATCH_STEPS.labels)


class ExchangeLoop:
    """Calls `exchange` as soon as there is something to settle or a slot to fill, and blocks on the queues else."""

    def __init__(
        self,
        ledger: WorkerLedger,
        worker_id: str,
        agents: Sequence[str],
        held: HeldSteps,
        on_unknown: Callable[[], Awaitable[None]],
    ) -> None:
        self.seen = 0
        """The last exchange whose reply arrived; goes together with what `held` lists."""
        self.turned_at = time.monotonic()
        """When the loop last did something, or found that there was nothing to do."""
        self._ledger = ledger
        self._worker_id = worker_id
        self._agents = tuple(agents)
        self._held = held
        self._on_unknown = on_unknown
        self._waiter: asyncio.Task[list[QueueEntry]] | None = None
        self._queues_dry = False
        self._draining = False
        self._traced = tracing.recording()

    def drain(self) -> None:
        """Take nothing more; `run` returns once everything held has been settled."""
        self._draining = True
        self._held.hand_back()
        self._held.changed.set()

    async def run(self) -> None:
        """Exchange until drained."""
        while not self._drained():
            await self._until_there_is_something()
            if not self._drained():
                await self._turn()

    def _drained(self) -> bool:
        return self._draining and self._waiter is None and self._held.empty

    async def _until_there_is_something(self) -> None:
        lingered = self._held.running == 0
        while True:
            self.turned_at = time.monotonic()
            self._held.changed.clear()
            self._held.return_stuck()
            if self._held.gathering and not self._drained():
                await self._wait_for_change(BLOCK_MS / 1000)
                continue
            if self._held.has_ended:
                return
            if self._drained() or (self._waiter is not None and self._waiter.done()):
                return
            wants_more = self._held.free_slots > 0 and not self._draining
            if wants_more and not self._queues_dry:
                return
            if wants_more and self._waiter is None and lingered:
                self._wait_on_queues()
            linger = wants_more and self._waiter is None
            await self._wait_for_change(LINGER_SECONDS if linger else BLOCK_MS / 1000)
            lingered = True

    async def _wait_for_change(self, seconds: float) -> None:
        stuck_in_seconds = self._held.stuck_in_seconds
        if stuck_in_seconds is not None:
            seconds = min(seconds, stuck_in_seconds)
        timer = asyncio.get_running_loop().call_later(seconds, self._held.changed.set)
        try:
            await self._held.changed.wait()
        finally:
            timer.cancel()

    def _wait_on_queues(self) -> None:
        # Never cancelled: a batch that was read and then forgotten would lie there for seconds.
        self._waiter = asyncio.get_running_loop().create_task(self._read_queues())
        self._waiter.add_done_callback(lambda _: self._held.changed.set())

    async def _read_queues(self) -> list[QueueEntry]:
        patience = Patience()
        while not self._draining:
            try:
                entries = await self._ledger.wait_for_work(self._worker_id, self._agents, BLOCK_MS)
            except NotFound:
                await self._on_unknown()
            except WaybillError as error:
                _log.debug("queues cannot be read", error=error.message)
                await patience.wait()
            else:
                if entries:
                    return entries
        return []

    def _take_entries(self) -> list[QueueEntry]:
        if self._waiter is None or not self._waiter.done():
            return []
        waiter, self._waiter = self._waiter, None
        return waiter.result()

    async def _turn(self) -> None:
        settlements, entries = self._held.settlements(), self._take_entries()
        if not settlements and not entries and self._draining:
            return
        free_slots = 0 if self._draining else self._held.free_slots
        begun_ns = time.time_ns()
        reply = await self._exchange(settlements, entries, free_slots)
        self._held.settled(settlements)
        self._queues_dry = len(reply.grants) < free_slots
        if reply.grants and self._traced:
            trace_receipt(reply.grants, begun_ns)
        if reply.grants:
            metrics.BATCH_SIZE.observe(len(reply.grants))
        for batch in reply.batches:
            _batches(batch.agent, batch.reason).inc()
            _batch_steps(batch.agent, batch.reason).inc(batch.size)
        for grant in reply.grants:
            self._held.add(grant)
        for ref in reply.stale:
            metrics.STALE_SETTLEMENTS.inc()
            _log.info("settlement was stale", task=ref.task, attempt=ref.attempt, step_number=ref.number)

    async def _exchange(
        self, settlements: Sequence[Settlement], entries: Sequence[QueueEntry], free_slots: int
    ) -> Exchange:
        """One exchange, made again with the same number and arguments until its reply arrives."""
        seq, patience = self.seen + 1, Patience()
        while True:
            begun = time.perf_counter()
            try:
                reply = await self._ledger.exchange(
                    self._worker_id, seq, self.seen, settlements, entries, self._agents, free_slots
                )
            except Unavailable:
                if patience.waits == 0:
                    _log.warning("exchange got no reply and is made again")
                await patience.wait()
            except NotFound:
                await self._on_unknown()
            except WaybillError as error:
                _log.error("exchange was refused and is made again", error=error.message, exc_info=error)
                await patience.wait()
            else:
                metrics.EXCHANGE_SECONDS.observe(time.perf_counter() - begun)
                self.seen = seq
                return reply
