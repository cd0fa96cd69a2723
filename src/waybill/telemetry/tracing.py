"""Traces: the W3C context that travels from the caller through the ledger to the agent, and how spans are made.

Without `OTEL_EXPORTER_OTLP_ENDPOINT` nothing is recorded, but trace ids are still made and handed on, so that the
log lines of one task share theirs. The sampler follows the standard `OTEL_TRACES_SAMPLER`. What is not recorded costs
next to nothing: no span is made for it.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ParentBased
from opentelemetry.trace import Link, Span, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from opentelemetry.util.types import AttributeValue

from waybill.telemetry.conventions import ERROR_TYPE, SpanForm

TRACEPARENT = "traceparent"
"""Name of the header, and of the gRPC metadata key, that carries the context."""

Attributes = Mapping[str, AttributeValue]
_PROPAGATOR = TraceContextTextMapPropagator()
_IDS = RandomIdGenerator()
_FLAGS_AT = 53
_TRACEPARENT_CHARS = 55
_NS_PER_MS = 1_000_000


def configure(service: str, *, exports: bool = True) -> None:
    """Set up the process's tracer provider. A second call in one process changes nothing.

    With `exports` false nothing is recorded, whatever the environment says: for processes that fork.
    """
    if isinstance(trace.get_tracer_provider(), TracerProvider):
        return
    from waybill.telemetry import exporting

    if exports and exporting.wanted():
        trace.set_tracer_provider(exporting.provider(service))
    else:
        trace.set_tracer_provider(TracerProvider(sampler=ALWAYS_OFF, shutdown_on_exit=False))


@cache
def tracer() -> trace.Tracer:
    """The project's tracer."""
    return trace.get_tracer("waybill")


def recording() -> bool:
    """Whether a span of this process can be recorded at all."""
    provider = trace.get_tracer_provider()
    return isinstance(provider, TracerProvider) and provider.sampler is not ALWAYS_OFF


def may_record(traceparent: str) -> bool:
    """Whether a span below this context could be recorded: not if who began the trace has decided against it."""
    return recording() and (not traceparent or is_sampled(traceparent) or not _follows_parents())


def is_sampled(traceparent: str) -> bool:
    """Whether a traceparent says that its trace is recorded. Of its flags only that bit is looked at."""
    try:
        return bool(int(traceparent[_FLAGS_AT:_TRACEPARENT_CHARS], 16) & trace.TraceFlags.SAMPLED)
    except ValueError:
        return False


def _follows_parents() -> bool:
    provider = trace.get_tracer_provider()
    return isinstance(provider, TracerProvider) and isinstance(provider.sampler, ParentBased)


def recorded() -> Span | None:
    """The current span if it is recorded."""
    span = trace.get_current_span()
    return span if span.is_recording() else None


def add_event(name: str, attributes: Attributes | None = None) -> None:
    """Note something in the current span, if that is recorded."""
    span = recorded()
    if span is not None:
        span.add_event(name, attributes)


def begin(
    form: SpanForm,
    *parts: str,
    attributes: Attributes | None = None,
    parent: Context | None = None,
    links: Sequence[Link] = (),
    start_ns: int | None = None,
) -> Span:
    """A span of a form, that is not the current one. `parts` take the places of the placeholders of its name."""
    pieces = iter(parts)
    name = " ".join(next(pieces) if "{" in word else word for word in form.name.split(" ")) if parts else form.name
    return tracer().start_span(
        name,
        context=parent,
        kind=form.kind,
        attributes={**dict(form.constants), **(attributes or {})},
        links=links,
        start_time=start_ns,
        record_exception=False,
        set_status_on_exception=False,
    )


@contextlib.contextmanager
def span(
    form: SpanForm, *parts: str, attributes: Attributes | None = None, parent: Context | None = None
) -> Iterator[Span]:
    """Be in a span of a form. What is raised marks it as failed, by its type alone: messages may hold what is secret.

    Where nothing is recorded no span is made, and the current one stays.
    """
    if not recording():
        with _within(parent):
            yield trace.INVALID_SPAN
        return
    made = begin(form, *parts, attributes=attributes, parent=parent)
    token = otel_context.attach(trace.set_span_in_context(made, parent))
    try:
        yield made
    except BaseException as error:
        fail(made, type(error).__name__)
        raise
    finally:
        made.end()
        otel_context.detach(token)


@contextlib.contextmanager
def step_of(form: SpanForm, *parts: str, attributes: Attributes | None = None) -> Iterator[Span]:
    """Be in a span of what is being recorded already; else nothing happens."""
    if recorded() is None:
        yield trace.INVALID_SPAN
        return
    with span(form, *parts, attributes=attributes) as made:
        yield made


@contextlib.contextmanager
def _within(parent: Context | None) -> Iterator[None]:
    if parent is None:
        yield
        return
    token = otel_context.attach(parent)
    try:
        yield
    finally:
        otel_context.detach(token)


def fail(span: Span, error_type: str) -> None:
    """Mark a span as failed, and why in one word."""
    if span.is_recording():
        span.set_attribute(ERROR_TYPE, error_type)
        span.set_status(Status(StatusCode.ERROR))


def enter_server_span(form: SpanForm, *parts: str, traceparent: str, attributes: Attributes) -> Span:
    """The span of a call that is served, below the caller's if it has sent one; it is the current one from here on.

    Never left: gRPC runs each call in a task of its own, and the context ends with the task.
    """
    if not may_record(traceparent):
        return enter_unrecorded(traceparent)
    parent = context_from(traceparent)
    span = begin(form, *parts, attributes=attributes, parent=parent)
    otel_context.attach(trace.set_span_in_context(span, parent))
    return span


def enter_unrecorded(traceparent: str) -> Span:
    """From here to the end of the current `contextvars` context, be in a span that nobody records.

    It hands on the context that `traceparent` describes as it is; without one it stands for a trace of its own. It
    costs next to nothing until somebody asks for its ids.
    """
    span = _Unrecorded(traceparent)
    otel_context.attach(trace.set_span_in_context(span))
    return span


class _Unrecorded(trace.NonRecordingSpan):
    def __init__(self, traceparent: str) -> None:
        super().__init__(trace.INVALID_SPAN_CONTEXT)
        self._traceparent = traceparent

    def get_span_context(self) -> trace.SpanContext:
        if not self._context.is_valid:
            parent = trace.get_current_span(context_from(self._traceparent, Context())).get_span_context()
            if not parent.is_valid:
                parent = trace.SpanContext(_IDS.generate_trace_id(), _IDS.generate_span_id(), is_remote=False)
            self._context = parent
        return self._context


def traceparent_of(span: Span) -> str:
    """W3C traceparent of a span; empty if it has no ids."""
    context = span.get_span_context()
    if not context.is_valid:
        return ""
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{int(context.trace_flags):02x}"


def current_traceparent() -> str:
    """W3C traceparent of the current span; empty if there is none."""
    return traceparent_of(trace.get_current_span())


def context_from(traceparent: str, other: Context | None = None) -> Context:
    """The context that a traceparent describes; `other`, or else the current one, if it is empty or malformed."""
    if not traceparent:
        return otel_context.get_current() if other is None else other
    return _PROPAGATOR.extract({TRACEPARENT: traceparent}, other)


def link_to(traceparent: str) -> Link | None:
    """A link to a span that is recorded elsewhere; None if it is not."""
    if not is_sampled(traceparent):
        return None
    found = trace.get_current_span(context_from(traceparent, Context())).get_span_context()
    return Link(found) if found.is_valid else None


@dataclass(frozen=True, slots=True)
class TaskTrace:
    """What is kept with a task of its trace: the context that its work belongs to, and if that is recorded, when the
    task was accepted, in epoch milliseconds, 0 if not known.
    """

    traceparent: str
    accepted_ms: int = 0

    @classmethod
    def read(cls, text: str) -> TaskTrace:
        """From what is kept. Whatever is no such text is none."""
        traceparent, _, accepted = text.partition(" ")
        return cls(traceparent, int(accepted) if accepted.isascii() and accepted.isdigit() else 0)

    def written(self) -> str:
        """What is kept."""
        return f"{self.traceparent} {self.accepted_ms}" if self.accepted_ms else self.traceparent

    def context(self) -> Context:
        """The context of the task, and nothing of the present one."""
        return context_from(self.traceparent, Context())

    def age_ms(self) -> int:
        """How long ago the task was accepted; 0 if that is not known."""
        return max(0, time.time_ns() // _NS_PER_MS - self.accepted_ms) if self.accepted_ms else 0
