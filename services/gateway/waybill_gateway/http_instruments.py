"""What happens around every HTTP request: it is counted and traced."""

from __future__ import annotations

import time

from opentelemetry.trace import Span
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from waybill.telemetry import conventions, metrics, tracing


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
        method = scope["method"]
        # Of a path that nobody asked us to serve nothing is told; the route is known once the request is served.
        span = tracing.enter_server_span(
            conventions.HTTP_SERVER,
            method,
            "unmatched",
            traceparent=Headers(scope=scope).get(tracing.TRACEPARENT, ""),
            attributes={conventions.HTTP_METHOD: method, conventions.URL_SCHEME: scope.get("scheme", "http")},
        )

        async def observed_send(message: Message) -> None:
            if message["type"] == "http.response.start":
                _observe(scope, message["status"], time.perf_counter() - began)
                if span.is_recording():
                    _tell(span, scope, message["status"])
            await send(message)

        try:
            await self._app(scope, receive, observed_send)
        except BaseException as error:
            tracing.fail(span, type(error).__name__)
            raise
        finally:
            span.end()


def _tell(span: Span, scope: Scope, status: int) -> None:
    route = _route(scope)
    span.update_name(f"{scope['method']} {route}")
    span.set_attributes({conventions.HTTP_ROUTE: route, conventions.HTTP_STATUS: status})
    if status >= 500:
        tracing.fail(span, str(status))


def _observe(scope: Scope, status: int, seconds: float) -> None:
    route = _route(scope)
    method = scope["method"] if route != "unmatched" else "other"
    metrics.HTTP_REQUESTS.labels(method, route, str(status)).inc()
    metrics.HTTP_SECONDS.labels(method, route).observe(seconds)


def _route(scope: Scope) -> str:
    return str(getattr(scope.get("endpoint"), "__name__", "unmatched"))
