"""Work that is leased from the ledger: taken when its bell rings, done side by side, and kept while it lasts.

The lease is all that is held meanwhile: if this process dies, another one does the work when the lease lapses.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, Generic, TypeVar

from waybill.cancellation import cancel_all
from waybill.errors import WaybillError
from waybill.ledger.bells import Bells
from waybill.telemetry.logs import get_logger

log = get_logger(__name__)

LEASE_MS = 6_000
"""How long the work of a dispatcher that died lies idle, at most."""
RENEW_SECONDS = 2.0
_LOOK_SECONDS = 30.0
"""How long this goes without a look. The tick looks more often, and rings here for what it finds."""

Lease = TypeVar("Lease")
Result = TypeVar("Result")


class LeaseLost(Exception):
    """The work is not ours any more, or nobody's."""


class Leasing(Generic[Lease]):
    """Does leased work until cancelled: `take` leases up to so many pieces, `work` does one."""

    def __init__(
        self,
        bells: Bells,
        bell: str,
        take: Callable[[int], Awaitable[Sequence[Lease]]],
        work: Callable[[Lease], Coroutine[Any, Any, None]],
        *,
        concurrency: int,
    ) -> None:
        self._bells = bells
        self._bell = bell
        self._take = take
        self._work = work
        self._free = concurrency
        self._running: set[asyncio.Task[None]] = set()
        self._rung = asyncio.Event()

    async def run(self) -> None:
        """Take and do until cancelled; what is being done then is done by others later."""
        try:
            async with self._bells.listen(self._bell) as rung:
                self._rung = rung
                while True:
                    rung.clear()
                    await self._take_some()
                    try:
                        async with asyncio.timeout(_LOOK_SECONDS):
                            await rung.wait()
                    except TimeoutError:
                        continue
        finally:
            for running in self._running:
                running.cancel()

    async def _take_some(self) -> None:
        if self._free == 0:
            return
        try:
            leases = await self._take(self._free)
        except WaybillError as error:
            log.warning("cannot lease work", bell=self._bell, error=error.message)
            return
        for lease in leases:
            self._free -= 1
            running = asyncio.create_task(self._work(lease))
            self._running.add(running)
            running.add_done_callback(self._done)

    def _done(self, running: asyncio.Task[None]) -> None:
        self._running.discard(running)
        self._free += 1
        if self._free == 1:
            self._rung.set()  # there may be more than there was room for
        if not running.cancelled() and (error := running.exception()):
            log.error("leased work ended by an error", bell=self._bell, exc_info=error)


async def while_leased(work: Coroutine[Any, Any, Result], renew: Callable[[], Awaitable[bool]]) -> Result:
    """What `work` returns or raises, the lease being renewed meanwhile. Raises LeaseLost once it cannot be."""
    working = asyncio.create_task(work)
    try:
        while True:
            await asyncio.wait({working}, timeout=RENEW_SECONDS)
            if working.done():
                return working.result()
            try:
                renewed = await renew()
            except WaybillError as error:
                log.warning("cannot renew a lease", error=error.message)
            else:
                if not renewed and not working.done():
                    raise LeaseLost
    finally:
        await cancel_all([working])
