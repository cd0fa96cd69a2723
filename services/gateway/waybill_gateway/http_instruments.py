"""What happens around every HTTP request: it is counted and traced."""

from __future__ import annotations

import time

from opentelemetry import trace
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from waybill.telemetry import metrics, tracing


class Instruments:
    """ASGI middleware. Routes are named by their handlers, so that labels stay few whatever paths are asked for."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, measured from here to the first byte of its response."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = time.perf_counter()
        parent = tracing.context_from(Headers(scope=scope).get(tracing.TRACEPARENT, ""))

        async def observed_send(message: Message) -> None:
            if message["type"] == "http.response.start":
                _observe(scope, message["status"], time.perf_counter() - began)
            await send(message)

        with tracing.tracer().start_as_current_span("http", context=parent, kind=trace.SpanKind.SERVER) as span:
            await self._app(scope, receive, observed_send)
            if span.is_recording():
                span.update_name(f"{scope['method']} {_route(scope)}")


def _observe(scope: Scope, status: int, seconds: float) -> None:
    route = _route(scope)
    method = scope["method"] if route != "unmatched" else "other"
    metrics.HTTP_REQUESTS.labels(method, route, str(status)).inc()
    metrics.HTTP_SECONDS.labels(method, route).observe(seconds)


def _route(scope: Scope) -> str:
    return str(getattr(scope.get("endpoint"), "__name__", "unmatched"))
