"""Scheduling: schedules that are due are leased, and what is due of them is decided.

A lease only spares others the work: each decision is applied once, whoever makes it, by the ledger.
"""

from __future__ import annotations

import asyncio

from waybill.errors import WaybillError
from waybill.ledger.bells import SCHEDULES, Bells
from waybill.ledger.ledger import Ledger
from waybill.ledger.schedule_records import ScheduleLease
from waybill.telemetry.logs import get_logger
from waybill_dispatcher.firing import LEASE_MS, Firing

log = get_logger(__name__)

_LOOK_SECONDS = 30.0
"""How long this goes without a look. The tick looks more often, and rings here for what it finds."""
_SIDE_BY_SIDE = 16


class Scheduling:
    """Decides what is due; `run` until cancelled."""

    def __init__(self, ledger: Ledger, bells: Bells, firing: Firing) -> None:
        self._ledger = ledger
        self._bells = bells
        self._firing = firing
        self._running: set[asyncio.Task[None]] = set()
        self._rung = asyncio.Event()

    async def run(self) -> None:
        """Look when something is due, when the bell rings, and now and then. Goes on when the store comes back."""
        try:
            async with self._bells.listen(SCHEDULES) as rung:
                self._rung = rung
                while True:
                    rung.clear()
                    wait_seconds = await self._take_some()
                    try:
                        async with asyncio.timeout(min(wait_seconds, _LOOK_SECONDS)):
                            await rung.wait()
                    except TimeoutError:
                        continue
        finally:
            for running in self._running:
                running.cancel()

    async def _take_some(self) -> float:
        """Start on what is due; how many seconds until there may be more."""
        free = _SIDE_BY_SIDE - len(self._running)
        if free == 0:
            return _LOOK_SECONDS
        try:
            found = await self._ledger.lease_schedules(LEASE_MS, free)
        except WaybillError as error:
            log.warning("cannot lease schedules", error=error.message)
            return _LOOK_SECONDS
        for lease in found.leases:
            running = asyncio.create_task(self._settle(lease))
            self._running.add(running)
            running.add_done_callback(self._done)
        if len(self._running) >= _SIDE_BY_SIDE or found.wait_ms is None:
            return _LOOK_SECONDS
        return found.wait_ms / 1000

    async def _settle(self, lease: ScheduleLease) -> None:
        try:
            await self._firing.settle(lease)
        except WaybillError as error:
            # The lease lapses, and it is decided then.
            log.warning("firing interrupted", tenant=lease.tenant, schedule=lease.id, error=error.message)

    def _done(self, running: asyncio.Task[None]) -> None:
        self._running.discard(running)
        self._rung.set()  # more may be due by now, or there may be more than there was room for
        if not running.cancelled() and (error := running.exception()):
            log.error("firing ended by an error", exc_info=error)
