"""The tick: has the ledger do what time has made due. Every dispatcher may; the ledger lets one act at a time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping

from waybill.errors import WaybillError
from waybill.ledger.ledger import Ledger
from waybill.telemetry import metrics
from waybill.telemetry.logs import get_logger
from waybill_dispatcher.shares import SharesFile

log = get_logger(__name__)

EXPIRED_A_TICK = 100
"""Ended tasks that one tick removes; after that many there are probably more."""
EXPIRED_AT_ONCE = 1_000
_AGAIN_SECONDS = 0.5
_LOOK_SECONDS = 2.0


class Ticking:
    """Ticks until cancelled, and knows how long the store has said nothing."""

    def __init__(self, ledger: Ledger, policy: Mapping[str, int], shares: SharesFile | None = None) -> None:
        self._ledger = ledger
        self._policy = policy
        self._shares = shares or SharesFile(ledger, None)
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
        written = False
        looked_at = time.monotonic()
        while True:
            try:
                if written and time.monotonic() - looked_at >= _LOOK_SECONDS:
                    written, looked_at = await self._ledger.has_policy(), time.monotonic()
                    if written:
                        await self._shares.follow()
                if not written:
                    await self._ledger.connect()
                    await self._ledger.set_policy(self._policy)
                    await self._shares.write()
                    written = True
                report = await self._ledger.tick()
                if report.expired == EXPIRED_A_TICK:
                    await self._ledger.expire(EXPIRED_AT_ONCE)
            except WaybillError as error:
                if not _is_silence(error):
                    self._heard_at = time.monotonic()
                log.warning("tick failed", error=error.message)
                await asyncio.sleep(_AGAIN_SECONDS)
                continue
            self._heard_at = time.monotonic()
            if report.reclaimed:
                metrics.RECLAIMED_STEPS.inc(report.reclaimed)
                log.warning("took steps back from dead workers", steps=report.reclaimed)
            await asyncio.sleep(report.next_due_ms / 1000)


def _is_silence(error: WaybillError) -> bool:
    # The store's client has a timeout of its own, of the same name.
    return any(kind.__name__ == "TimeoutError" for kind in type(error.__cause__).__mro__)
