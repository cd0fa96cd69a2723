"""One attempt of a step, from its grant to its settlement."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import replace
from enum import Enum
from functools import cache

from opentelemetry.trace import SpanKind, Status, StatusCode

from waybill.core import references
from waybill.core.task import Failure
from waybill.errors import Permanent
from waybill.invocation import Result, Undecodable, result_of
from waybill.ledger.records import Grant, Outcome, Settlement
from waybill.telemetry import metrics, tracing
from waybill.telemetry.logs import get_logger
from waybill_worker.calls import Calls, Slot
from waybill_worker.context import AttemptContext, StreamedText
from waybill_worker.effects import Effects
from waybill_worker.execution import Execution
from waybill_worker.outbox import Outbox

_settled = cache(metrics.STEPS_SETTLED.labels)
_run_seconds = cache(metrics.STEP_RUN_SECONDS.labels)
_UNREADABLE = frozenset({"REFERENCE_MALFORMED", "INPUT_INVALID"})
"""Why a stored input cannot even be resolved: every plan was checked for these, so this one was damaged."""
STOP_GRACE_SECONDS = 5.0
"""How long an agent that was told to stop may take before its attempt is settled without it."""

_log = get_logger(__name__)


class Stop(Enum):
    """Why an attempt is stopped before its agent has returned."""

    CANCEL = "cancel"
    """Its task stops."""
    TIMEOUT = "timeout"
    """It ran longer than its step allows."""
    DRAIN = "drain"
    """The worker stops."""
    LOST = "lost"
    """It is no longer this worker's: nothing that it does counts."""


class Attempt:
    """Runs once; `on_end` gets the settlement, or None when there is nothing to settle."""

    def __init__(
        self,
        grant: Grant,
        execution: Execution,
        on_end: Callable[[Attempt, Settlement | None], None],
        slot: Slot,
    ) -> None:
        self.grant = grant
        self._execution = execution
        self._on_end = on_end
        self._outbox = Outbox(execution.ledger, execution.worker_id, grant, lambda: self.stop(Stop.LOST))
        effects = Effects(execution.ledger, execution.worker_id, grant.ref, lambda: self.stop(Stop.CANCEL))
        self._calls = self._make_calls(slot)
        ask = self._calls.ask if self._calls is not None else None
        self._context = AttemptContext(grant, self._outbox, effects, execution, ask)
        self._stop: Stop | None = None
        self._entered = False
        self._returned = False
        self._ended = False
        self._begun = time.perf_counter()
        self._conclusion: asyncio.Task[None] | None = None
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(grant.run_timeout_ms / 1000, self.stop, Stop.TIMEOUT)
        self._task = loop.create_task(self._run())

    def stop(self, why: Stop) -> None:
        """Interrupt the agent, or give up the attempt if it is lost. The first reason counts, but LOST beats all."""
        if self._ended or (self._stop is not None and why is not Stop.LOST):
            return
        if self._returned and why is not Stop.LOST:
            return  # it is over but for what it reported: the result stands
        already_stopping, self._stop = self._stop is not None, why
        if why is Stop.LOST:
            self._outbox.discard()
        if self._returned or already_stopping:
            return
        self._context.cancel()
        if self._calls is not None:
            self._calls.stop()
        if self._entered:
            self._task.cancel()
        self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(STOP_GRACE_SECONDS, self._abandon)

    def _make_calls(self, slot: Slot) -> Calls | None:
        """None where no model is set up."""
        execution = self._execution
        if execution.models is None:
            return None
        return Calls(
            execution.ledger,
            execution.worker_id,
            self.grant,
            execution.models,
            execution.accounts,
            slot,
            lambda: StreamedText(self._context),
            lambda: self.stop(Stop.CANCEL),
        )

    async def _run(self) -> None:
        self._entered = True
        grant = self.grant
        _log.debug("step started", **self._log_fields())
        with tracing.tracer().start_as_current_span(
            f"process {grant.agent}",
            context=tracing.context_from(grant.traceparent),
            kind=SpanKind.CONSUMER,
            attributes={
                "waybill.task": grant.ref.task,
                "waybill.step": grant.step,
                "waybill.agent": grant.agent,
                "waybill.attempt": grant.ref.attempt,
            },
        ) as span:
            result = self._verdict(await self._invoke())
            if result.failure is not None:
                span.set_status(Status(StatusCode.ERROR, result.failure.reason))
            await self._conclude(result)

    async def _invoke(self) -> Result | None:
        """What the agent came to; None when it was interrupted."""
        try:
            if self._stop is not None:
                return None
            result = await self._execution.execute(self.grant, self._context, self._input())
            if result.outcome is not Outcome.SUCCEEDED:
                return result
            return replace(result, patch=await self._execution.additions(self.grant, self._context.added))
        except asyncio.CancelledError as error:
            return result_of(error) if self._stop is None else None
        except Exception as error:
            return result_of(error)

    def _input(self) -> bytes:
        try:
            return references.resolve(self.grant.input, self.grant.inputs)
        except Permanent as error:
            if error.reason in _UNREADABLE:
                raise Undecodable(error.message) from error
            raise

    def _verdict(self, result: Result | None) -> Result:
        """What to settle. An agent that succeeded all the same has succeeded, unless it was too late."""
        if result is not None:
            late = self._stop is Stop.TIMEOUT
            if self._stop is None or (result.outcome is Outcome.SUCCEEDED and not late):
                return result
        if self._stop is Stop.TIMEOUT:
            limit_ms = self.grant.run_timeout_ms
            return Result(Outcome.FAILED, failure=Failure("TIMEOUT", f"ran longer than its {limit_ms} ms"))
        return Result(Outcome.HANDED_BACK if self._stop is Stop.DRAIN else Outcome.CANCELLED)

    def _abandon(self) -> None:
        """Settle without the agent, which ignores that it was told to stop."""
        if not self._returned:
            _log.warning("agent ignores that it was stopped", **self._log_fields())
            self._conclusion = asyncio.get_running_loop().create_task(self._conclude(self._verdict(None)))

    async def _conclude(self, result: Result) -> None:
        """Deliver what the agent reported, then what it came to."""
        if self._returned:
            return
        self._returned = True
        run_ms = round((time.perf_counter() - self._begun) * 1000)
        self._timer.cancel()
        self._context.end()
        if self._calls is not None:
            self._calls.stop()
        await self._outbox.close()
        self._ended = True
        lost = self._stop is Stop.LOST
        self._account("lost" if lost else result.outcome.value, result.failure, run_ms)
        settlement = Settlement(
            self.grant.ref,
            result.outcome,
            result.output,
            result.failure,
            self._context.usage,
            run_ms,
            result.retry_after_ms,
            result.patch,
        )
        self._on_end(self, None if lost else settlement)

    def _account(self, status: str, failure: Failure | None, run_ms: int) -> None:
        agent = self.grant.agent
        _settled(agent, status).inc()
        _run_seconds(agent).observe(run_ms / 1000)
        reason = {"reason": failure.reason} if failure is not None else {}
        _log.info("step ended", status=status, run_ms=run_ms, **reason, **self._log_fields())

    def _log_fields(self) -> dict[str, str | int]:
        ref = self.grant.ref
        return {"task": ref.task, "step": self.grant.step, "agent": self.grant.agent, "attempt": ref.attempt}
