"""Exporting: recorded spans leave over OTLP, in the background, in the order in which no parent is missed.

What a process exports below a span of its own it holds back until that span has ended, and sends after it: so whoever
is killed leaves no span behind whose parent was never sent. Nothing here waits for a receiver but its own thread: the
queue is bounded, what does not fit is dropped, and the end of the process does not wait for longer than it is told.
"""

from __future__ import annotations

import os
import threading
import uuid
from importlib import metadata

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor, TracerProvider

MAX_HELD = 1_000
"""Most spans that are held back below one; further ones are dropped."""
_ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
_QUEUE = "OTEL_BSP_MAX_QUEUE_SIZE"
_QUEUED_SPANS = 8_192


def wanted() -> bool:
    """Whether the environment names a receiver, and does not forbid to send to it."""
    if os.environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return False
    if os.environ.get("OTEL_TRACES_EXPORTER", "otlp").strip().lower() == "none":
        return False
    return any(os.environ.get(name) for name in _ENDPOINTS)


def provider(service: str) -> TracerProvider:
    """A provider that exports, by the `OTEL_*` variables."""
    from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    made = TracerProvider(resource=_resource(service), shutdown_on_exit=False)
    queued = None if os.environ.get(_QUEUE) else _QUEUED_SPANS
    made.add_span_processor(ParentsFirst(BatchSpanProcessor(OTLPSpanExporter(), max_queue_size=queued)))
    return made


def shut_down(seconds: float) -> None:
    """Send what is queued, and give up after so many seconds."""
    found = trace.get_tracer_provider()
    if isinstance(found, TracerProvider):
        # The library waits for as long as its exporter does, which is longer than anybody wants to.
        closing = threading.Thread(target=found.shutdown, name="telemetry-shutdown", daemon=True)
        closing.start()
        closing.join(seconds)


def _resource(service: str) -> Resource:
    about = {"service.version": metadata.version("waybill"), "service.instance.id": uuid.uuid4().hex}
    if not os.environ.get("OTEL_SERVICE_NAME"):
        about["service.name"] = f"waybill-{service}"
    return Resource.create(about)


class _Held:
    """What has ended below one open span: to be sent after it, and the ids of what was too much."""

    __slots__ = ("dropped", "ended")

    def __init__(self) -> None:
        self.ended: list[ReadableSpan] = []
        self.dropped: set[int] = set()

    def add(self, span: ReadableSpan) -> None:
        if len(self.ended) < MAX_HELD:
            self.ended.append(span)
        elif len(self.dropped) < MAX_HELD:
            self.dropped.add(_id_of(span))

    def sendable(self) -> list[ReadableSpan]:
        """Those below which nothing is missing on the way up, parents before what is below them."""
        found = []
        for span in reversed(self.ended):
            if span.parent is not None and span.parent.span_id in self.dropped:
                self.dropped.add(_id_of(span))
            else:
                found.append(span)
        return found


class ParentsFirst(SpanProcessor):
    """Hands ended spans on to another processor, those below a span of this process after that one.

    A span whose parent is in another process, or that has none, is the top of what this process knows of a trace.
    """

    def __init__(self, behind: SpanProcessor) -> None:
        self._behind = behind
        self._lock = threading.Lock()
        self._tops: dict[int, int] = {}
        """Of each open span, by its id, the id of the top it belongs to."""
        self._held: dict[int, _Held] = {}
        """By the id of each open top, what has ended below it."""

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        """Note which top a span belongs to."""
        own, parent = span.get_span_context().span_id, span.parent
        with self._lock:
            top = self._tops.get(parent.span_id) if parent is not None and not parent.is_remote else None
            if top is None:
                top = own
                self._held[top] = _Held()
            self._tops[own] = top

    def on_end(self, span: ReadableSpan) -> None:
        """Hold a span back, or hand it on with all that was held below it."""
        own = _id_of(span)
        with self._lock:
            top = self._tops.pop(own, own)
            if top != own and top in self._held:
                self._held[top].add(span)
                return
            held = self._held.pop(own, None)
        self._behind.on_end(span)
        for below in held.sendable() if held is not None else ():
            self._behind.on_end(below)

    def shutdown(self) -> None:
        """Send what has been handed on, and no more."""
        self._behind.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Send what has been handed on; whether that was done."""
        return self._behind.force_flush(timeout_millis)


def _id_of(span: ReadableSpan) -> int:
    context = span.get_span_context()
    return context.span_id if context is not None else 0
