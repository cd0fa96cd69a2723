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
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

TRACEPARENT = "traceparent"
"""Name of the header, and of the gRPC metadata key, that carries the context."""

_PROPAGATOR = TraceContextTextMapPropagator()
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


def current_traceparent() -> str:
    """W3C traceparent of the current span; empty if there is none."""
    span = trace.get_current_span().get_span_context()
    if not span.is_valid:
        return ""
    return f"00-{span.trace_id:032x}-{span.span_id:016x}-{int(span.trace_flags):02x}"


def context_from(traceparent: str) -> Context:
    """The context that a traceparent describes; the current one if it is empty or malformed."""
    if not traceparent:
        return otel_context.get_current()
    return _PROPAGATOR.extract({TRACEPARENT: traceparent})
