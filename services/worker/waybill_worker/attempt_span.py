"""The span of one attempt: what it waited for, what it came to, and how old its task was by then."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.trace import Span

from waybill.core.task import Failure
from waybill.ledger import keys
from waybill.ledger.records import Grant
from waybill.telemetry import conventions, tracing
from waybill.telemetry.tracing import TaskTrace

_NS_PER_MS = 1_000_000


class AttemptSpan:
    """Begins when it is made. All attempts of a task are below what brought the task, and beside each other: one that
    its worker died with is never sent, and nothing must hang below it.
    """

    def __init__(self, grant: Grant) -> None:
        self._grant = grant
        self._kept = TaskTrace.read(grant.traceparent)
        ref = grant.ref
        self._span = tracing.begin(
            conventions.PROCESS,
            grant.agent,
            attributes={
                conventions.MESSAGING_DESTINATION: grant.agent,
                conventions.MESSAGING_GROUP: keys.GROUP,
                conventions.MESSAGING_ID: f"{ref.task}/{ref.number}/{ref.attempt}",
                conventions.TASK: ref.task,
                conventions.STEP: grant.step,
                conventions.AGENT: grant.agent,
                conventions.ATTEMPT: ref.attempt,
                conventions.TENANT: grant.tenant,
                conventions.WAIT_MS: grant.wait_ms,
            },
            parent=self._kept.context(),
        )
        if self._span.is_recording():
            self._tell_waits()

    def _tell_waits(self) -> None:
        ready_ns = time.time_ns() - self._grant.wait_ms * _NS_PER_MS
        self._span.add_event(conventions.READY, {conventions.WAIT_MS: self._grant.wait_ms}, timestamp=ready_ns)
        if self._grant.ref.attempt > 1:
            self._span.add_event(conventions.RETRIED, {conventions.ATTEMPT: self._grant.ref.attempt})

    @contextmanager
    def current(self) -> Iterator[Span]:
        """Be in the span, which stays open until `end`."""
        token = otel_context.attach(trace.set_span_in_context(self._span))
        try:
            yield self._span
        finally:
            otel_context.detach(token)

    def invoking(self) -> AbstractContextManager[Span]:
        """Be in the span of the agent's own work."""
        attributes = {
            conventions.GEN_AI_AGENT: self._grant.agent,
            conventions.GEN_AI_CONVERSATION: self._grant.ref.task,
        }
        return tracing.span(conventions.INVOKE_AGENT, self._grant.agent, attributes=attributes)

    def end(self, outcome: str, failure: Failure | None) -> None:
        """It has come to this: what ends last of a task tells whether it failed, and how long the task has taken."""
        if self._span.is_recording():
            self._span.set_attribute(conventions.OUTCOME, outcome)
            self._span.set_attribute(conventions.TASK_AGE_MS, self._kept.age_ms())
            if failure is not None:
                tracing.fail(self._span, failure.reason)
        self._span.end()
