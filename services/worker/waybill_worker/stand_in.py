"""A thread that sends the worker's sign of life while an async agent holds the loop.

Without it the steps of all others would be taken from the worker, and the agent that is at fault would begin anew. It
says nothing of what is held, which only the loop knows, and so nothing is requeued or cancelled by it. It gives up
where the watchdog ends the process, so a worker that is stuck for good is not hidden.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Sequence
from typing import Protocol

from waybill.errors import WaybillError
from waybill.ledger.ledger import WORKER_TTL_MS
from waybill.ledger.records import Renewal, StepRef
from waybill.telemetry.logs import get_logger

LOOK_SECONDS = WORKER_TTL_MS / 8 / 1000
LATE_SECONDS = WORKER_TTL_MS / 2.4 / 1000
"""A heartbeat that is so late is not coming by itself: more than one interval, less than a lifetime."""

_log = get_logger(__name__)


class OpenedLedger(Protocol):
    """A connection to the ledger of its own, for the loop that opens it."""

    async def renew(self, worker_id: str, seen: int, held: Sequence[StepRef]) -> Renewal:
        """Heartbeat."""

    async def close(self) -> None:
        """Hang up."""


class StandIn:
    """Looks at `turned_at`, when the loop last turned by `time.monotonic`, and beats while that is long ago."""

    def __init__(
        self,
        open_ledger: Callable[[], OpenedLedger],
        worker_id: str,
        turned_at: Callable[[], float],
        longest_seconds: float,
    ) -> None:
        self._open_ledger = open_ledger
        self._worker_id = worker_id
        self._turned_at = turned_at
        self._longest_seconds = longest_seconds
        self._stopping = threading.Event()

    def start(self) -> None:
        """Look from now on."""
        threading.Thread(target=self._watch, name="stand-in", daemon=True).start()

    def stop(self) -> None:
        """Look no more. Calls after the first change nothing."""
        self._stopping.set()

    def _watch(self) -> None:
        while not self._stopping.wait(LOOK_SECONDS):
            late_seconds = time.monotonic() - self._turned_at()
            if LATE_SECONDS < late_seconds < self._longest_seconds:
                asyncio.run(self._beat())

    async def _beat(self) -> None:
        ledger = self._open_ledger()
        try:
            async with asyncio.timeout(LATE_SECONDS):
                await ledger.renew(self._worker_id, 0, ())
        except (WaybillError, TimeoutError) as error:
            _log.debug("the stand-in's heartbeat got no answer", error=str(error))
        finally:
            await ledger.close()
