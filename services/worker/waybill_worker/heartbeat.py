"""The worker's sign of life, and what it learns in return: what to cancel and what it has lost."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

from waybill.errors import NotFound, WaybillError
from waybill.ledger.ledger import WORKER_TTL_MS
from waybill.ledger.records import StepRef
from waybill.telemetry.logs import get_logger
from waybill_worker.attempt import Stop
from waybill_worker.exchange import ExchangeLoop
from waybill_worker.held import HeldSteps
from waybill_worker.ledger_port import WorkerLedger
from waybill_worker.patience import Patience
from waybill_worker.pulse import Pulse

INTERVAL_SECONDS = WORKER_TTL_MS / 3 / 1000
IDLE_INTERVAL_SECONDS = 1.0
"""A worker that holds nothing loses nothing if it is taken for dead, and can afford one lost heartbeat less."""
LIFETIME_SECONDS = WORKER_TTL_MS / 1000

_log = get_logger(__name__)


class Heartbeat:
    """One heartbeat for all that a worker holds, however many steps that are."""

    def __init__(
        self,
        ledger: WorkerLedger,
        worker_id: str,
        held: HeldSteps,
        exchange: ExchangeLoop,
        on_unknown: Callable[[], Awaitable[None]],
        pulse: Pulse,
    ) -> None:
        self._ledger = ledger
        self._worker_id = worker_id
        self._held = held
        self._exchange = exchange
        self._on_unknown = on_unknown
        self._pulse = pulse
        self._answered_at = 0.0
        self.turned_at = time.monotonic()
        """When it last did anything, whether the ledger answered or not."""

    @property
    def recent(self) -> bool:
        """Whether the ledger still takes this worker for alive."""
        return time.monotonic() - self._answered_at < LIFETIME_SECONDS

    async def run(self) -> None:
        """Beat until cancelled."""
        patience = Patience()
        while True:
            self.turned_at = time.monotonic()
            try:
                await self.beat()
            except NotFound:
                await self._on_unknown()
            except WaybillError as error:
                self._pulse.failed(error)
                if patience.waits == 0:
                    _log.warning("heartbeat got no answer", error=error.message)
                await patience.wait()
            else:
                patience = Patience()
                await self._rest()

    async def beat(self) -> None:
        """One heartbeat. Raises NotFound if the ledger does not know the worker, and Unavailable."""
        renewal = await self._ledger.renew(self._worker_id, self._exchange.seen, self._held.refs())
        self._answered_at = time.monotonic()
        self._pulse.answered()
        for ref in renewal.lost:
            self._held.stop(ref, Stop.LOST)
        for ref in renewal.cancel:
            self._held.stop(ref, Stop.CANCEL)

    async def _rest(self) -> None:
        begun = time.monotonic()
        interval_seconds = IDLE_INTERVAL_SECONDS if self._held.empty else INTERVAL_SECONDS
        self.turned_at = begun + interval_seconds - INTERVAL_SECONDS  # a longer rest is no lateness
        await asyncio.sleep(interval_seconds)
        late_seconds = time.monotonic() - begun - interval_seconds
        if late_seconds > INTERVAL_SECONDS:
            _log.warning(
                "an async agent held the loop, and with it every other step; make it a plain function",
                late_seconds=round(late_seconds, 1),
            )


class ControlChannel:
    """Cancellations as they are announced; the next heartbeat would tell as well, only later."""

    def __init__(self, ledger: WorkerLedger, worker_id: str, on_cancel: Callable[[StepRef], None]) -> None:
        self._ledger = ledger
        self._worker_id = worker_id
        self._on_cancel = on_cancel

    async def run(self) -> None:
        """Listen until cancelled, again whenever the connection ends."""
        patience = Patience()
        while True:
            try:
                async for ref in self._ledger.listen_control(self._worker_id):
                    patience = Patience()
                    self._on_cancel(ref)
            except WaybillError as error:
                _log.debug("control channel lost", error=error.message)
            await patience.wait()
