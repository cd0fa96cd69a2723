"""The tick: has the ledger do what time has made due. Every dispatcher may; the ledger lets one act at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from waybill.errors import WaybillError
from waybill.ledger.ledger import Ledger
from waybill.telemetry import metrics
from waybill.telemetry.logs import get_logger

log = get_logger(__name__)

_AGAIN_SECONDS = 0.5


async def tick_until_cancelled(ledger: Ledger, policy: Mapping[str, int]) -> None:
    """Write the policy once, then tick whenever something is due; goes on when the store comes back."""
    written = False
    while True:
        try:
            if not written:
                await ledger.connect()
                await ledger.set_policy(policy)
                written = True
            report = await ledger.tick()
        except WaybillError as error:
            log.warning("tick failed", error=error.message)
            await asyncio.sleep(_AGAIN_SECONDS)
            continue
        if report.reclaimed:
            metrics.RECLAIMED_STEPS.inc(report.reclaimed)
            log.warning("took steps back from dead workers", steps=report.reclaimed)
        await asyncio.sleep(report.next_due_ms / 1000)
