"""The tick: has the ledger do what time has made due. Every dispatcher may; the ledger lets one act at a time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping

from waybill.errors import WaybillError
from waybill.ledger.bells import Bells
from waybill.ledger.ledger import BUSY_TICK_MS, Ledger
from waybill.ledger.records import TickReport
from waybill.telemetry import metrics
from waybill.telemetry.logs import get_logger
from waybill_dispatcher.shares import SharesFile

log = get_logger(__name__)

EXPIRED_A_TICK = 100
"""Ended tasks that one tick removes; after that many there are probably more."""
EXPIRED_AT_ONCE = 1_000
IDLE_TICK_MS = 4_000
"""How long a store in which nothing is under way is left alone. Whoever brings work in here ends that at once; what
another dispatcher has accepted, and could not see to before it died, begins so much later at most.
"""
_AGAIN_SECONDS = 0.5
_LOOK_SECONDS = 2.0


class Ticking:
    """Ticks until cancelled, and knows how long the store has said nothing. What a tick finds waiting rings its bell
    here, so that a bell that was not heard costs a moment.
    """

    def __init__(
        self,
        ledger: Ledger,
        policy: Mapping[str, int],
        shares: SharesFile | None = None,
        bells: Bells | None = None,
    ) -> None:
        self._ledger = ledger
        self._policy = policy
        self._shares = shares or SharesFile(ledger, None)
        self._bells = bells
        self._heard_at = time.monotonic()

    @property
    def silent_seconds(self) -> float:
        """Time since the store last answered, or since this loop last turned. A connection that is refused is an answer
        too: the store is away, and nothing here is stuck.
        """
        return time.monotonic() - self._heard_at

    async def run(self) -> None:
        """Write the policy, then tick whenever something is due. Goes on when the store comes back, and writes the
        policy again for one that has lost it.
        """
        written, wanted, looked_at = False, True, time.monotonic()
        while True:
            try:
                if not written:
                    await self._ledger.connect()
                    await self._ledger.set_policy(self._policy)
                    await self._shares.write()
                elif time.monotonic() - looked_at >= _LOOK_SECONDS:
                    await self._shares.follow()
                    looked_at = time.monotonic()
                self._ledger.acted.clear()
                report = await self._ledger.tick(longest_ms=IDLE_TICK_MS, wanted=wanted)
                if report.expired == EXPIRED_A_TICK:
                    await self._ledger.expire(EXPIRED_AT_ONCE)
            except WaybillError as error:
                if not _is_silence(error):
                    self._heard_at = time.monotonic()
                log.warning("tick failed", error=error.message)
                await asyncio.sleep(_AGAIN_SECONDS)
                wanted = True
                continue
            self._heard_at = time.monotonic()
            written = report.has_policy
            self._tell(report)
            wanted = await self._rest(report.next_due_ms / 1000, wanted=wanted and not report.ran)

    def _tell(self, report: TickReport) -> None:
        if report.reclaimed:
            metrics.RECLAIMED_STEPS.inc(report.reclaimed)
            log.warning("took steps back from dead workers", steps=report.reclaimed)
        if self._bells is not None:
            for bell in report.waiting:
                self._bells.wake(bell)

    async def _rest(self, seconds: float, *, wanted: bool) -> bool:
        """Wait until the next tick is due, or somebody here has brought work in; whether that is why."""
        if wanted or seconds <= BUSY_TICK_MS / 1000:
            await asyncio.sleep(seconds)
            return wanted
        try:
            async with asyncio.timeout(seconds):
                await self._ledger.acted.wait()
        except TimeoutError:
            return False
        return True


def _is_silence(error: WaybillError) -> bool:
    # The store's client has a timeout of its own, of the same name.
    return any(kind.__name__ == "TimeoutError" for kind in type(error.__cause__).__mro__)
