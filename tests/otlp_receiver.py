"""A receiver of traces: OTLP over gRPC, the real protocol. It keeps what it is sent, and can be told to hang or die."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as messages
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2_grpc as services


@dataclass(frozen=True)
class Received:
    """One span, as it came."""

    trace_id: str
    span_id: str
    parent_id: str
    """Empty for the first of a trace."""
    name: str
    kind: int
    service: str
    attributes: dict[str, object]
    events: dict[str, frozenset[str]]
    links: tuple[str, ...]
    failed: bool


class Receiver(services.TraceServiceServicer):
    """Serves on a port of the loopback interface until stopped."""

    def __init__(self, port: int) -> None:
        self.endpoint = f"http://127.0.0.1:{port}"
        self.hanging = threading.Event()
        self.asked = 0
        self._spans: list[Received] = []
        self._lock = threading.Lock()
        self._released = threading.Event()
        self._server = grpc.server(ThreadPoolExecutor(16))
        services.add_TraceServiceServicer_to_server(self, self._server)
        assert self._server.add_insecure_port(f"127.0.0.1:{port}") == port
        self._server.start()

    def Export(self, request: messages.ExportTraceServiceRequest, context: grpc.ServicerContext):
        """Take spans, or never answer while it hangs."""
        self.asked += 1
        if self.hanging.is_set():
            self._released.wait()
        with self._lock:
            for resource in request.resource_spans:
                about = {each.key: each.value.string_value for each in resource.resource.attributes}
                for scope in resource.scope_spans:
                    self._spans += [_received(span, about["service.name"]) for span in scope.spans]
        return messages.ExportTraceServiceResponse()

    def stop(self) -> None:
        """Be gone, at once."""
        self._released.set()
        self._server.stop(0).wait()

    @property
    def spans(self) -> list[Received]:
        """All that came."""
        with self._lock:
            return list(self._spans)

    def trace_of(self, task: str) -> list[Received]:
        """The spans of the trace that a task's steps belong to."""
        spans = self.spans
        ids = {span.trace_id for span in spans if span.attributes.get("waybill.task") == task}
        assert len(ids) <= 1, f"{task} has {len(ids)} traces"
        return [span for span in spans if span.trace_id in ids]

    def orphans(self) -> list[Received]:
        """Spans whose parent has not come."""
        spans = self.spans
        known = {(span.trace_id, span.span_id) for span in spans}
        return [span for span in spans if span.parent_id and (span.trace_id, span.parent_id) not in known]

    def settle(self, quiet_seconds: float = 1.5, longest_seconds: float = 30) -> None:
        """Wait until nothing more comes."""
        count, since, end = -1, time.monotonic(), time.monotonic() + longest_seconds
        while time.monotonic() < end:
            if len(self.spans) != count:
                count, since = len(self.spans), time.monotonic()
            elif time.monotonic() - since > quiet_seconds:
                return
            time.sleep(0.05)


def _received(span, service: str) -> Received:
    return Received(
        span.trace_id.hex(),
        span.span_id.hex(),
        span.parent_span_id.hex(),
        span.name,
        span.kind,
        service,
        {each.key: getattr(each.value, each.value.WhichOneof("value")) for each in span.attributes},
        {event.name: frozenset(each.key for each in event.attributes) for event in span.events},
        tuple(link.trace_id.hex() for link in span.links),
        span.status.code == 2,
    )
