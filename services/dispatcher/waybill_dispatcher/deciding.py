"""Deciding: the conditions (`when`) of steps whose dependencies have ended are looked at, and the ledger is told.

A lease is all that is held meanwhile: if this process dies, another one decides when the lease lapses.
"""

from __future__ import annotations

import asyncio

from waybill.core.limits import KIB
from waybill.core.references import first_unmet
from waybill.errors import WaybillError
from waybill.ledger.bells import DECISIONS, Bells
from waybill.ledger.ledger import Ledger
from waybill.ledger.records import DecisionLease
from waybill.telemetry import metrics
from waybill.telemetry.logs import get_logger

log = get_logger(__name__)

_LEASE_MS = 5_000
_LOOK_SECONDS = 30.0
"""How long this goes without a look. The tick looks more often, and rings here for what it finds."""
_AT_ONCE = 100
_LARGE_BYTES = 64 * KIB
"""Outputs from this size on are looked at beside the loop."""


class Deciding:
    """Decides the steps that wait for it; `run` until cancelled."""

    def __init__(self, ledger: Ledger, bells: Bells) -> None:
        self._ledger = ledger
        self._bells = bells

    async def run(self) -> None:
        """Decide whatever is to be decided, until cancelled. Goes on when the store comes back."""
        async with self._bells.listen(DECISIONS) as rung:
            while True:
                rung.clear()
                try:
                    while await self._decide_some() == _AT_ONCE:
                        pass
                except WaybillError as error:
                    log.warning("cannot decide conditions", error=error.message)
                try:
                    async with asyncio.timeout(_LOOK_SECONDS):
                        await rung.wait()
                except TimeoutError:
                    continue

    async def _decide_some(self) -> int:
        leases = await self._ledger.lease_decisions(_LEASE_MS, _AT_ONCE)
        for lease in leases:
            why = await _why_not(lease)
            decided = await self._ledger.decide_step(lease.task, lease.number, lease.turn, not why, why)
            outcome = ("skipped" if why else "holds") if decided else "stale"
            metrics.CONDITIONS_DECIDED.labels(outcome).inc()
            if why:
                log.info("conditions do not hold", task=lease.task, step_number=lease.number, why=why)
        return len(leases)


async def _why_not(lease: DecisionLease) -> str:
    """Why not all conditions hold; empty if they do."""
    if sum(map(len, lease.inputs.values())) < _LARGE_BYTES:
        return first_unmet(lease.conditions, lease.inputs)
    return await asyncio.to_thread(first_unmet, lease.conditions, lease.inputs)
