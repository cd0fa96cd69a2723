"""One attempt of a step, from its grant to its settlement."""

from __future__ import annotations

import asyncio
import contextvars
import time
from collections.abc import Callable
from dataclasses import replace
from enum import Enum
from functools import cache

from waybill.core import references
from waybill.core.task import Failure, Usage
from waybill.errors import Permanent
from waybill.invocation import Result, Undecodable, result_of
from waybill.ledger.records import Grant, Outcome, Settlement
from waybill.telemetry import metrics, tracing
from waybill.telemetry.logs import get_logger
from waybill.telemetry.tracing import TaskTrace
from waybill_worker.attempt_span import AttemptSpan
from waybill_worker.calls import Calls, Slot
from waybill_worker.context import AttemptContext, StreamedText
from waybill_worker.effects import Effects
from waybill_worker.execution import Execution
from waybill_worker.outbox import Outbox

_NO_USAGE = Usage()
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
    """Runs once; `on_end` gets the settlement, or None when there is nothing to settle.

    It makes what it may need when its agent needs it: most attempts only take an input and return an output.
    """

    __slots__ = (
        "_begun",
        "_calls",
        "_conclusion",
        "_context",
        "_ended",
        "_entered",
        "_execution",
        "_on_end",
        "_outbox",
        "_returned",
        "_slot",
        "_span",
        "_stop",
        "_task",
        "_timer",
        "grant",
    )

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
        self._slot = slot
        self._outbox: Outbox | None = None
        self._calls: Calls | None = None
        self._context: AttemptContext | None = None
        self._span: AttemptSpan | None = None
        self._stop: Stop | None = None
        self._entered = False
        self._returned = False
        self._ended = False
        self._begun = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[None] | None = None
        self._conclusion: asyncio.Task[None] | None = None
        execution.starts.add(self)

    def begin(self, context: contextvars.Context) -> None:
        """Have it run, soon, in a context of its own."""
        self._begun = time.perf_counter()
        self._task = asyncio.Task(self._run(), loop=asyncio.get_running_loop(), context=context)

    def watch(self) -> None:
        """It has run until it first had to wait, or has ended: only now it is worth a timer."""
        if not self._returned and self._stop is None:
            left_seconds = self.grant.run_timeout_ms / 1000 - (time.perf_counter() - self._begun)
            self._set_timer(max(0.0, left_seconds), lambda: self.stop(Stop.TIMEOUT))

    def stop(self, why: Stop) -> None:
        """Interrupt the agent, or give up the attempt if it is lost. The first reason counts, but LOST beats all."""
        if self._ended or (self._stop is not None and why is not Stop.LOST):
            return
        if self._returned and why is not Stop.LOST:
            return  # it is over but for what it reported: the result stands
        already_stopping, self._stop = self._stop is not None, why
        if why is Stop.LOST and self._outbox is not None:
            self._outbox.discard()
        if self._returned or already_stopping:
            return
        if self._context is not None:
            self._context.cancel()
        if self._calls is not None:
            self._calls.stop()
        if self._entered and self._task is not None:
            self._task.cancel()
        self._set_timer(STOP_GRACE_SECONDS, self._abandon)

    def _set_timer(self, seconds: float, do: Callable[[], None]) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(seconds, do)

    def _make_context(self) -> AttemptContext:
        execution, ref = self._execution, self.grant.ref
        effects = Effects(execution.ledger, execution.worker_id, ref, lambda: self.stop(Stop.CANCEL))
        self._calls = self._make_calls()
        ask = self._calls.ask if self._calls is not None else None
        self._context = AttemptContext(self.grant, self._open_outbox, effects, execution, ask)
        return self._context

    def _open_outbox(self) -> Outbox:
        if self._outbox is None:
            execution = self._execution
            self._outbox = Outbox(execution.ledger, execution.worker_id, self.grant, lambda: self.stop(Stop.LOST))
            if self._stop is Stop.LOST:
                self._outbox.discard()
        return self._outbox

    def _make_calls(self) -> Calls | None:
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
            self._slot,
            self._sink,
            lambda: self.stop(Stop.CANCEL),
        )

    def _sink(self) -> StreamedText:
        assert self._context is not None
        return StreamedText(self._context)

    async def _run(self) -> None:
        self._entered = True
        if self._execution.tells_steps:
            _log.debug("step started", **self._log_fields())
        if self._execution.traced and tracing.may_record(TaskTrace.read(self.grant.traceparent).traceparent):
            await self._run_traced()
        else:
            tracing.enter_unrecorded(TaskTrace.read(self.grant.traceparent).traceparent)
            await self._conclude(self._verdict(await self._invoke()))

    async def _run_traced(self) -> None:
        self._span = AttemptSpan(self.grant)
        with self._span.current():
            await self._conclude(self._verdict(await self._invoke()))

    async def _invoke(self) -> Result | None:
        """What the agent came to; None when it was interrupted."""
        try:
            if self._stop is not None:
                return None
            result = await self._execute()
            if result.outcome is not Outcome.SUCCEEDED or self._context is None or not self._context.added.steps:
                return result
            return replace(result, patch=await self._execution.additions(self.grant, self._context.added))
        except asyncio.CancelledError as error:
            return result_of(error) if self._stop is None else None
        except Exception as error:
            return result_of(error)

    async def _execute(self) -> Result:
        if self._span is None:
            return await self._execution.execute(self.grant, self._make_context, self._input())
        with self._span.invoking():
            return await self._execution.execute(self.grant, self._make_context, self._input())

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
        run_ms = round((time.perf_counter() - self._begun) * 1000, 3)
        if self._timer is not None:
            self._timer.cancel()
        usage = _NO_USAGE
        if self._context is not None:
            self._context.end()
            if self._calls is not None:
                self._calls.stop()
            if self._outbox is not None:
                await self._outbox.close()
            usage = self._context.usage
        self._ended = True
        lost = self._stop is Stop.LOST
        if self._span is not None:
            self._span.end("lost" if lost else result.outcome.value, result.failure)
        self._account("lost" if lost else result.outcome.value, result.failure, run_ms)
        settlement = Settlement(
            self.grant.ref,
            result.outcome,
            result.output,
            result.failure,
            usage,
            run_ms,
            result.retry_after_ms,
            result.patch,
        )
        self._on_end(self, None if lost else settlement)

    def _account(self, status: str, failure: Failure | None, run_ms: float) -> None:
        agent = self.grant.agent
        _settled(agent, status).inc()
        _run_seconds(agent).observe(run_ms / 1000)
        if failure is not None:
            _log.info("step ended", status=status, run_ms=run_ms, reason=failure.reason, **self._log_fields())
        elif self._execution.tells_steps:
            _log.debug("step ended", status=status, run_ms=run_ms, **self._log_fields())

    def _log_fields(self) -> dict[str, str | int]:
        ref = self.grant.ref
        return {"task": ref.task, "step": self.grant.step, "agent": self.grant.agent, "attempt": ref.attempt}
