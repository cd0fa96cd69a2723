"""The model calls of one attempt: each is allowed by the ledger, made by the worker itself, and accounted for.

The ledger reserves the worst case of a call before it and hears what it was after it. While a call waits, for its
endpoint's limits or for money that is reserved, its attempt holds no slot of the worker.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from contextlib import suppress
from typing import Any, Protocol, TypeVar

from opentelemetry import context as otel_context

from waybill.chat import ChatRequest, Reply
from waybill.core.budget import BudgetAction
from waybill.core.task import Usage
from waybill.errors import AgentError, Permanent, Unavailable, WaybillError
from waybill.ledger.call_records import CallDecision, CallOpening, CallVerdict, Rates
from waybill.ledger.records import Grant
from waybill.models.client import ModelClient
from waybill.models.course import TextSink
from waybill.models.meter import BegunCall, CallEnd, CallPlan, Limited, OverBudget
from waybill.once import attempt_over
from waybill.telemetry import conventions, tracing
from waybill_worker.accounts import Accounts
from waybill_worker.ledger_port import WorkerLedger
from waybill_worker.patience import Patience

Answered = TypeVar("Answered")


class Slot(Protocol):
    """The slot in which an attempt runs."""

    def give_back(self) -> None:
        """The attempt waits: another one may run meanwhile. As often as `take_again`."""

    def take_again(self) -> None:
        """It waits no longer."""


class Calls:
    """Implements `waybill.models.meter.Meter` for one attempt. `on_over` is called when the ledger says that the
    attempt is over; `sink` makes what takes the text of one answer.
    """

    def __init__(
        self,
        ledger: WorkerLedger,
        worker_id: str,
        grant: Grant,
        models: ModelClient,
        accounts: Accounts,
        slot: Slot,
        sink: Callable[[], TextSink],
        on_over: Callable[[], None],
    ) -> None:
        self._ledger = ledger
        self._worker_id = worker_id
        self._grant = grant
        self._models = models
        self._accounts = accounts
        self._slot = slot
        self._sink = sink
        self._on_over = on_over
        self._loop = asyncio.get_running_loop()
        self._asking: set[asyncio.Task[Reply]] = set()
        self._begun = 0
        self._stopping = False
        self._context = otel_context.get_current()

    def ask(self, request: ChatRequest) -> Future[Reply]:
        """Send one request, from any thread. Cancelling the future stops its call."""
        return asyncio.run_coroutine_threadsafe(self._ask(request), self._loop)

    def stop(self) -> None:
        """The attempt is asked to stop: its calls end, and it makes no more."""
        self._stopping = True
        for task in list(self._asking):
            task.cancel()

    async def _ask(self, request: ChatRequest) -> Reply:
        task = asyncio.current_task()
        assert task is not None
        if tracing.recorded() is None:
            # It was asked for by a thread or a process that has no span: then the attempt's own stands above it.
            otel_context.attach(self._context)
        self._asking.add(task)
        task.add_done_callback(_seen)
        try:
            self._check_running()
            text = self._sink() if request.stream else None
            return await self._models.chat(request, meter=self, agent=self._grant.agent, text=text)
        except asyncio.CancelledError:
            if self._stopping:
                raise attempt_over() from None
            raise
        finally:
            self._asking.discard(task)

    async def begin(self, plan: CallPlan, *, patient: bool) -> BegunCall:
        """Have a call allowed, however long that takes if `patient`."""
        self._check_running()
        if not plan.priced:
            await self._check_unpriced(plan)
        self._begun += 1
        opening = _Opening(self._begun, plan, patient=patient)
        opened = self._loop.create_task(self._open(opening))
        opened.add_done_callback(_seen)
        try:
            return await asyncio.shield(opened)
        except asyncio.CancelledError:
            # It may be allowed in this very moment: then it has to be given back.
            opening.given_up.set()
            raise

    def end(self, call: BegunCall, end: CallEnd) -> Awaitable[None]:
        """Tell the ledger how a call ended."""
        return self._accounts.tell(self._grant.ref, call.number, end)

    async def rest(self, seconds: float) -> None:
        """Wait without a slot."""
        self._slot.give_back()
        try:
            await asyncio.sleep(seconds)
        finally:
            self._slot.take_again()

    async def _open(self, opening: _Opening) -> BegunCall:
        waiting, since = False, time.monotonic()
        try:
            while True:
                decision = await self._patiently(lambda: self._begin_call(opening), opening)
                if decision.verdict is CallVerdict.GO:
                    if waiting:
                        waited_ms = round((time.monotonic() - since) * 1000)
                        model = opening.plan.model
                        tracing.add_event(
                            conventions.PERMIT_WAIT, {conventions.WAIT_MS: waited_ms, conventions.GEN_AI_MODEL: model}
                        )
                    return self._allowed(opening)
                self._refuse(decision)
                if not opening.asked.patient:
                    raise Limited(decision.wait_ms / 1000)
                if not waiting:
                    waiting = True
                    self._slot.give_back()
                await opening.wait(decision.wait_ms / 1000)
        finally:
            if waiting:
                self._slot.take_again()

    def _begin_call(self, opening: _Opening) -> Awaitable[CallDecision]:
        return self._ledger.begin_call(self._worker_id, self._grant.ref, opening.asked)

    def _allowed(self, opening: _Opening) -> BegunCall:
        ref = self._grant.ref
        call = BegunCall(opening.plan, opening.number, f"{ref.task}/{ref.number}/{ref.attempt}/{opening.number}")
        if opening.given_up.is_set():
            self.end(call, CallEnd(Usage()))
            raise attempt_over()
        return call

    def _refuse(self, decision: CallDecision) -> None:
        """Raises what a decision comes to that is neither to go nor to wait."""
        match decision.verdict:
            case CallVerdict.OVER:
                cheaper = decision.on_limit is BudgetAction.CHEAPER_MODEL
                raise OverBudget(decision.scope, decision.left_microusd, cheaper=cheaper)
            case CallVerdict.STALE:
                self._on_over()
                raise attempt_over()
            case CallVerdict.TOO_MANY:
                raise Permanent("the task has made as many model calls as one may", reason="TOO_MANY_CALLS")

    async def _check_unpriced(self, plan: CallPlan) -> None:
        """Raises Permanent if a budget applies to a call of which nobody knows what it costs."""
        task = await self._patiently(lambda: self._ledger.task(self._grant.ref.task))
        tenant = await self._patiently(lambda: self._ledger.tenant_budget(self._grant.tenant))
        limited = task.budget is not None and task.budget.max_cost_microusd > 0
        if limited or tenant.max_total_microusd or tenant.max_day_microusd:
            raise Permanent(
                f"model {plan.model} has no price, and the task has a budget: its operator sets "
                "input_usd_per_million and output_usd_per_million",
                reason="PRICE_UNKNOWN",
            )

    async def _patiently(self, call: Callable[[], Awaitable[Answered]], opening: _Opening | None = None) -> Answered:
        patience = Patience()
        while True:
            try:
                return await call()
            except Unavailable:
                if self._stopping or (opening is not None and opening.given_up.is_set()):
                    raise attempt_over() from None
                await patience.wait()
            except WaybillError as error:
                raise AgentError(error.message, reason=error.reason) from error

    def _check_running(self) -> None:
        if self._stopping:
            raise attempt_over()


def _seen(task: asyncio.Task[Any]) -> None:
    """Whoever waited for it may have gone: then its error is nobody's."""
    if not task.cancelled():
        task.exception()


class _Opening:
    """A call that is being allowed."""

    def __init__(self, number: int, plan: CallPlan, *, patient: bool) -> None:
        self.number = number
        self.plan = plan
        self.given_up = asyncio.Event()
        limits = plan.limits
        self.asked = CallOpening(
            number=number,
            nonce=secrets.token_hex(8),
            model=plan.model,
            endpoint=plan.endpoint,
            worst=plan.worst,
            rates=Rates(limits.max_concurrency, limits.requests_per_minute, limits.tokens_per_minute),
            prompt=plan.prompt,
            patient=patient,
        )

    async def wait(self, seconds: float) -> None:
        """Wait so long. Raises AgentError once nobody waits for the call."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.given_up.wait()
        if self.given_up.is_set():
            raise attempt_over()
