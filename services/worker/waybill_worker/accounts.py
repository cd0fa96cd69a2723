"""What model calls came to, on its way to the ledger: told until the ledger has it, whatever became of the attempt.

The ledger counts a call at its worst until its end is told, so one that is never told is paid too dearly, never lost.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable

from waybill.cancellation import cancel_all
from waybill.errors import Unavailable, WaybillError
from waybill.ledger.call_records import Observed
from waybill.ledger.records import StepRef
from waybill.models.meter import CallEnd
from waybill.telemetry.logs import get_logger
from waybill_worker.ledger_port import WorkerLedger
from waybill_worker.patience import Patience

_log = get_logger(__name__)


class Accounts:
    """The ends of calls of one worker that are under way to the ledger."""

    def __init__(self, ledger: WorkerLedger) -> None:
        self._ledger = ledger
        self._telling: set[asyncio.Task[None]] = set()

    def tell(self, ref: StepRef, number: int, end: CallEnd) -> Awaitable[None]:
        """Tell how a call ended; awaiting it is left to the caller, and cancelling that does not stop it."""
        task = asyncio.get_running_loop().create_task(self._tell(ref, number, end))
        self._telling.add(task)
        task.add_done_callback(self._telling.discard)
        return asyncio.shield(task)

    async def close(self, grace_seconds: float) -> None:
        """Give what is under way so much time to arrive."""
        if self._telling:
            await asyncio.wait(self._telling, timeout=grace_seconds)
        if self._telling:
            _log.warning(
                "the ends of model calls could not be told; they count at their worst", count=len(self._telling)
            )
            await cancel_all(list(self._telling))

    async def _tell(self, ref: StepRef, number: int, end: CallEnd) -> None:
        observed, patience = _observed(end), Patience()
        while True:
            try:
                known = await self._ledger.end_call(ref, number, end.usage, observed, end.response)
            except Unavailable:
                await patience.wait()
            except WaybillError as error:
                _log.error("the end of a model call was refused", task=ref.task, call=number, exc_info=error)
                return
            else:
                if not known and end.usage.cost_microusd:
                    _log.warning("the ledger knows nothing of a model call", task=ref.task, call=number)
                return


def _observed(end: CallEnd) -> Observed:
    told = end.told
    return Observed(
        requests_per_minute=told.requests_per_minute,
        tokens_per_minute=told.tokens_per_minute,
        remaining_requests=told.remaining_requests,
        remaining_tokens=told.remaining_tokens,
        reset_requests_ms=told.reset_requests_ms,
        reset_tokens_ms=told.reset_tokens_ms,
        retry_after_ms=told.retry_after_ms,
        throttled=told.throttled,
        accounted=end.accounted,
    )
