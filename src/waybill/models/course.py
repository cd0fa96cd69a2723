"""The course of one request: models in order, again after a rest, until one answers or none can."""

from __future__ import annotations

import random
import time
from collections import deque
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Protocol

import msgspec
from opentelemetry.trace import Span

from waybill.chat import ChatRequest, Reply
from waybill.core.task import Usage
from waybill.errors import AgentError, BudgetExhausted, Permanent
from waybill.models.faults import Fault
from waybill.models.meter import CallEnd, CallPlan, Limited, Meter, OverBudget, estimated
from waybill.models.wire import body_of
from waybill.telemetry import conventions, metrics, tracing

if TYPE_CHECKING:
    from waybill.models.client import ModelClient

MAX_ROUNDS = 3
"""How often all models of a request are tried."""
FIRST_REST_SECONDS = 0.5
LONGEST_REST_SECONDS = 20.0
"""When a provider wants to be left alone for longer, the attempt fails, to be made again then."""


class TextSink(Protocol):
    """Where the text of an answer goes as it comes."""

    def write(self, text: str) -> None:
        """More text."""

    def restart(self) -> None:
        """What was written of this answer is void: it begins anew."""


class Course:
    """One request, until it is answered."""

    def __init__(self, client: ModelClient, request: ChatRequest, meter: Meter, text: TextSink | None) -> None:
        self._client = client
        self._request = request
        self._meter = meter
        self._text = text
        self._spent = Usage()
        self._first = ""
        self._left: list[str] = []
        """Models that may still answer."""
        self._failures: dict[str, str] = {}
        self._rest_ms: dict[str, int] = {}

    async def run(self, first: str) -> Reply:
        """The answer of the model `first`, or of one that stands in for it. Raises the errors of `Context.chat`."""
        fallbacks = self._client.models.models[first].fallbacks
        self._first, self._left = first, list(dict.fromkeys([first, *fallbacks]))
        for round in range(MAX_ROUNDS):
            if round:
                await self._rest(round)
            reply = await self._sweep()
            if reply is not None:
                return self._checked(reply)
            if not self._left:
                raise Permanent(f"no model takes the request: {self._told()}", reason="MODEL_REFUSED")
        raise self._unavailable()

    async def _sweep(self) -> Reply | None:
        """Try each model once, without waiting while there are others; if all are limited, wait for the first free."""
        limited: dict[str, float] = {}
        waiting = deque(self._left)
        patient = len(waiting) == 1
        while waiting:
            name = waiting.popleft()
            try:
                reply = await self._try(name, patient=patient)
            except Limited as error:
                limited[name] = error.wait_seconds
                self._failures[name] = "is at its limits"
            except OverBudget as over:
                waiting.extendleft(self._instead(name, over))
            else:
                if reply is not None:
                    return reply
            if not waiting and limited and not patient and limited.keys() >= set(self._left):
                waiting.append(min(limited, key=limited.__getitem__))
                patient = True
        return None

    async def _try(self, name: str, *, patient: bool) -> Reply | None:
        """One call of one model, and others without what it refuses; None if it fails."""
        while True:
            features = self._client.features_of(name)
            body = body_of(self._request, self._client.models.models[name], features)
            plan = self._client.plan(name, self._request, body)
            call = await self._meter.begin(plan, patient=patient)
            end = CallEnd(estimated(plan.worst), accounted=False)
            fault: Fault | None = None
            begun = time.perf_counter()
            try:
                with _in_span(plan) as span:
                    try:
                        reply, end = await self._client.make(name, call, body, self._text)
                        _tell_answer(span, reply, end)
                    except Fault as error:
                        fault, end = error, self._client.end_of(name, call, error)
                        tracing.fail(span, error.kind.value)
            finally:
                # From here on it is under way to the meter, also when this is cancelled.
                delivered = self._meter.end(call, end)
            self._spent += end.usage
            _count(name, fault, end.usage, time.perf_counter() - begun)
            await delivered
            if fault is None:
                return reply
            if self._text is not None:
                self._text.restart()
            left = features.without(fault.said, body) if fault.status in (400, 422) else None
            if left is None:
                self._note(name, fault)
                return None
            self._client.learn(name, left)

    def _note(self, name: str, fault: Fault) -> None:
        self._failures[name] = fault.message
        self._rest_ms[name] = fault.told.retry_after_ms
        if not fault.passing:
            self._left.remove(name)

    def _instead(self, name: str, over: OverBudget) -> list[str]:
        """What to try in place of a model that the budget does not allow. Raises BudgetExhausted if it is the first."""
        cheaper = self._client.models.models[name].cheaper if over.cheaper else None
        self._failures[name] = "costs more than the budget allows"
        at = self._left.index(name)
        self._left[at : at + 1] = [cheaper] if cheaper and cheaper not in self._left else []
        if name == self._first:
            if cheaper is None:
                raise BudgetExhausted(
                    f"the next call of model {name} may cost more than the {over.left_microusd} micro-dollars that are "
                    f"left of the budget ({over.scope})"
                )
            self._first = cheaper
        return [cheaper] if cheaper and self._left[at : at + 1] == [cheaper] else []

    async def _rest(self, round: int) -> None:
        asked_seconds = min(self._rest_ms.get(name, 0) for name in self._left) / 1000
        if asked_seconds > LONGEST_REST_SECONDS:
            raise self._unavailable()
        usual_seconds = FIRST_REST_SECONDS * 2 ** (round - 1) * (0.5 + random.random() / 2)
        seconds = max(asked_seconds, usual_seconds)
        tracing.add_event(conventions.BACKOFF, {conventions.WAIT_MS: int(seconds * 1000)})
        await self._meter.rest(seconds)

    def _unavailable(self) -> AgentError:
        wait_seconds = min((self._rest_ms.get(name, 0) for name in self._left), default=0) / 1000
        return AgentError(
            f"no model answers: {self._told()}", reason="MODEL_UNAVAILABLE", retry_after_seconds=wait_seconds
        )

    def _told(self) -> str:
        return "; ".join(f"{name} {failure}" for name, failure in self._failures.items())

    def _checked(self, reply: Reply) -> Reply:
        if reply.finish_reason == "length":
            raise AgentError(
                f"the answer of {reply.model} was cut after {reply.usage.output_tokens} tokens: ask for less, or allow "
                "more (max_output_tokens)",
                reason="MODEL_OUTPUT_CUT",
            )
        if reply.finish_reason == "content_filter":
            raise Permanent(f"{reply.model} refuses to answer this", reason="MODEL_REFUSED")
        return msgspec.structs.replace(reply, usage=self._spent)


def _in_span(plan: CallPlan) -> AbstractContextManager[Span]:
    """The span of one call of a provider, below what asked for it if that is recorded."""
    attributes = {conventions.GEN_AI_PROVIDER: plan.endpoint, conventions.GEN_AI_MODEL: plan.model}
    return tracing.step_of(conventions.CHAT, plan.model, attributes=attributes)


def _tell_answer(span: Span, reply: Reply, end: CallEnd) -> None:
    if span.is_recording():
        span.set_attributes(
            {
                conventions.GEN_AI_FINISH: (reply.finish_reason,),
                conventions.GEN_AI_INPUT_TOKENS: end.usage.input_tokens,
                conventions.GEN_AI_OUTPUT_TOKENS: end.usage.output_tokens,
                conventions.GEN_AI_CACHED_TOKENS: end.usage.cached_input_tokens,
                conventions.COST: end.usage.cost_microusd,
            }
        )


def _count(name: str, fault: Fault | None, usage: Usage, seconds: float) -> None:
    metrics.MODEL_CALLS.labels(name, fault.kind.value if fault is not None else "answered").inc()
    metrics.MODEL_CALL_SECONDS.labels(name).observe(seconds)
    metrics.MODEL_TOKENS.labels(name, "input").inc(usage.input_tokens)
    metrics.MODEL_TOKENS.labels(name, "output").inc(usage.output_tokens)
    metrics.MODEL_COST.labels(name).inc(usage.cost_microusd)
