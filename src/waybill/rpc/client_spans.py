"""Spans of outgoing calls: one around each, whose context goes along in place of the caller's."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextvars import ContextVar
from typing import Any

import grpc
from opentelemetry import trace
from opentelemetry.trace import Link, Span

from waybill.telemetry import conventions, tracing

LINKS: ContextVar[Sequence[Link]] = ContextVar("links_of_next_call", default=())
"""What the next call of this context does for others than its caller: links for its span."""

_UNTRACED = ("/grpc.health.", "/grpc.reflection.")
Continuation = Callable[[grpc.aio.ClientCallDetails, Any], Awaitable[Any]]


def interceptors() -> tuple[Any, ...]:
    """What a channel is made with: nothing where nothing is recorded."""
    return (_UnarySpans(), _StreamSpans()) if tracing.recording() else ()


class _UnarySpans(grpc.aio.UnaryUnaryClientInterceptor):  # type: ignore[misc]
    async def intercept_unary_unary(self, continuation: Continuation, details: Any, request: Any) -> Any:
        """Make the call in a span."""
        return await _called(continuation, details, request)


class _StreamSpans(grpc.aio.UnaryStreamClientInterceptor):  # type: ignore[misc]
    async def intercept_unary_stream(self, continuation: Continuation, details: Any, request: Any) -> Any:
        """Make the call in a span that lasts as long as its responses come."""
        return await _called(continuation, details, request)


async def _called(continuation: Continuation, details: Any, request: Any) -> Any:
    method = details.method.decode() if isinstance(details.method, bytes) else details.method
    if method.startswith(_UNTRACED) or not tracing.may_record(_unsampled_parent()):
        return await continuation(details, request)
    path = method.lstrip("/")
    span = tracing.begin(conventions.RPC_CLIENT, path, attributes={conventions.RPC_METHOD: path}, links=LINKS.get())
    if not span.is_recording():
        return await continuation(details, request)
    call = await continuation(_carrying(details, tracing.traceparent_of(span)), request)
    call.add_done_callback(lambda ended: _end(span, ended))
    return call


def _unsampled_parent() -> str:
    """The traceparent of a current span that is there and not recorded; nothing else stands against a span."""
    span = trace.get_current_span()
    return "" if span.is_recording() else tracing.traceparent_of(span)


def _carrying(details: Any, traceparent: str) -> grpc.aio.ClientCallDetails:
    kept = [(key, value) for key, value in details.metadata or () if key != tracing.TRACEPARENT]
    metadata = grpc.aio.Metadata(*kept, (tracing.TRACEPARENT, traceparent))
    return grpc.aio.ClientCallDetails(
        details.method, details.timeout, metadata, details.credentials, details.wait_for_ready
    )


def _end(span: Span, call: Any) -> None:
    code = _code_of(call)
    span.set_attribute(conventions.RPC_STATUS, code.name)
    if code is not grpc.StatusCode.OK:
        tracing.fail(span, code.name)
    span.end()


def _code_of(call: Any) -> grpc.StatusCode:
    """The code of a call that has ended: there already, so that its coroutine returns without a wait."""
    asking = call.code()
    try:
        asking.send(None)
    except StopIteration as told:
        code: grpc.StatusCode = told.value
        return code
    asking.close()
    return grpc.StatusCode.UNKNOWN
