"""The effects of one attempt, recorded in the ledger: what `Context.once` needs, wherever the agent runs."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from contextlib import suppress
from typing import TypeVar

from waybill.core.task import EffectState
from waybill.errors import AgentError, Permanent, Unavailable, WaybillError
from waybill.ledger.records import Effect, StepRef
from waybill.once import attempt_over
from waybill_worker.ledger_port import WorkerLedger
from waybill_worker.patience import Patience

DOUBT_SECONDS = 1.0
"""How long it is tried to record that an effect is unknown. The ledger finds that out by itself, only later."""

Reply = TypeVar("Reply")


class Effects:
    """Implements `waybill.once.EffectRecords`. While the store is away calls are made again, as long as the attempt
    may run. `on_over` is called, on the loop's thread, when the ledger says that the attempt is over.
    """

    def __init__(self, ledger: WorkerLedger, worker_id: str, ref: StepRef, on_over: Callable[[], None]) -> None:
        self._ledger = ledger
        self._worker_id = worker_id
        self._ref = ref
        self._on_over = on_over
        self._loop = asyncio.get_running_loop()
        self._stopping = False

    def begin(self, key: str, nonce: str) -> Future[Effect]:
        """Announce an effect."""
        return asyncio.run_coroutine_threadsafe(self._begin(key, nonce), self._loop)

    def end(self, key: str, nonce: str, state: EffectState, result: bytes) -> Future[bool]:
        """Record what became of an effect."""
        return asyncio.run_coroutine_threadsafe(self._end(key, nonce, state, result), self._loop)

    def stop(self) -> None:
        """The attempt is asked to stop: it begins nothing more, and its calls are not made again."""
        self._stopping = True

    async def _begin(self, key: str, nonce: str) -> Effect:
        if self._stopping:
            raise attempt_over()
        effect = await self._patiently(lambda: self._ledger.begin_effect(self._worker_id, self._ref, key, nonce))
        if effect is None:
            self._on_over()
            raise attempt_over()
        return effect

    async def _end(self, key: str, nonce: str, state: EffectState, result: bytes) -> bool:
        def record() -> Awaitable[bool]:
            return self._ledger.end_effect(self._worker_id, self._ref, key, nonce, state, result)

        if state is not EffectState.UNKNOWN:
            return await self._patiently(record)
        with suppress(WaybillError, TimeoutError):
            async with asyncio.timeout(DOUBT_SECONDS):
                return await record()
        return False

    async def _patiently(self, call: Callable[[], Awaitable[Reply]]) -> Reply:
        patience = Patience()
        while True:
            try:
                return await call()
            except Unavailable:
                if self._stopping:
                    raise attempt_over() from None
                await patience.wait()
            except WaybillError as error:
                final = error.reason == "TOO_MANY_EFFECTS"
                raise (Permanent if final else AgentError)(error.message, reason=error.reason) from error
