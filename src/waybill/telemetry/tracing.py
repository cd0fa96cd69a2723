"""Traces: the W3C context that travels from the caller through the ledger to the agent, and its exporter.

Without `OTEL_EXPORTER_OTLP_ENDPOINT` nothing is recorded, but trace ids are still made and handed on, so that the
log lines of one task share theirs. The sampler follows the standard `OTEL_TRACES_SAMPLER`.
"""

from __future__ import annotations

import os
from functools import cache

from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

TRACEPARENT = "traceparent"
"""Name of the header, and of the gRPC metadata key, that carries the context."""

_PROPAGATOR = TraceContextTextMapPropagator()
_IDS = RandomIdGenerator()
_ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")


def configure(service: str) -> None:
    """Set up the process's tracer provider. A second call in one process changes nothing."""
    if isinstance(trace.get_tracer_provider(), TracerProvider):
        return
    resource = Resource.create({"service.name": f"waybill-{service}"})
    if not any(os.environ.get(name) for name in _ENDPOINTS):
        trace.set_tracer_provider(TracerProvider(resource=resource, sampler=ALWAYS_OFF))
        return
    from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    provider = TracerProvider(resource=resource)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)


@cache
def tracer() -> trace.Tracer:
    """The project's tracer."""
    return trace.get_tracer("waybill")


def recording() -> bool:
    """Whether a span of this process can be recorded at all."""
    provider = trace.get_tracer_provider()
    return isinstance(provider, TracerProvider) and provider.sampler is not ALWAYS_OFF


def enter_server_span(name: str, traceparent: str) -> trace.Span:
    """The span of a call that is served, below the caller's if it has sent one; it is the current one from here on.

    Never left: gRPC runs each call in a task of its own, and the context ends with the task.
    """
    if not recording():
        return enter_unrecorded(traceparent)
    parent = context_from(traceparent)
    span = tracer().start_span(name, context=parent, kind=trace.SpanKind.SERVER)
    otel_context.attach(trace.set_span_in_context(span, parent))
    return span


def enter_unrecorded(traceparent: str) -> trace.Span:
    """From here to the end of the current `contextvars` context, be in a span that nobody records.

    It belongs to the trace that `traceparent` names, and costs next to nothing until somebody asks for its ids.
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
            trace_id = parent.trace_id if parent.is_valid else _IDS.generate_trace_id()
            self._context = trace.SpanContext(trace_id, _IDS.generate_span_id(), is_remote=False)
        return self._context


def current_traceparent() -> str:
    """W3C traceparent of the current span; empty if there is none."""
    span = trace.get_current_span().get_span_context()
    if not span.is_valid:
        return ""
    return f"00-{span.trace_id:032x}-{span.span_id:016x}-{int(span.trace_flags):02x}"


def context_from(traceparent: str, other: Context | None = None) -> Context:
    """The context that a traceparent describes; `other`, or else the current one, if it is empty or malformed."""
    if not traceparent:
        return otel_context.get_current() if other is None else other
    return _PROPAGATOR.extract({TRACEPARENT: traceparent}, other)
