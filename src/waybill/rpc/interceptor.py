"""What happens around every RPC of a server: errors become statuses, calls are counted, traced and logged."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc
from google.protobuf.message import DecodeError

from waybill.errors import InvalidArgument, WaybillError
from waybill.rpc.status import from_rpc_error, to_grpc_status
from waybill.telemetry import conventions, metrics, tracing
from waybill.telemetry.logs import get_logger

log = get_logger(__name__)

Handler = Any
Servicing = Callable[[Any, Any], Any]


_UNTRACED = ("grpc.health.", "grpc.reflection.")
"""Methods that tell nothing of a task and are called all the time."""
_SERVER_ERRORS = frozenset(
    {
        grpc.StatusCode.UNKNOWN,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.UNIMPLEMENTED,
        grpc.StatusCode.INTERNAL,
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DATA_LOSS,
    }
)
"""What is the server's fault: the others are answers that a caller asked for."""


class _Method:
    """One RPC of the server, with its instruments resolved."""

    def __init__(self, path: str, handler: Handler, access_log: bool) -> None:
        self.path = path.lstrip("/")
        self.access_log = access_log
        service, _, method = self.path.rpartition("/")
        kind = "client_stream" if handler.request_streaming else "unary"
        if handler.response_streaming:
            kind = "bidi_stream" if handler.request_streaming else "server_stream"
        labels = (kind, service, method)
        self.started = metrics.GRPC_STARTED.labels(*labels)
        self.received = metrics.GRPC_RECEIVED.labels(*labels)
        self.sent = metrics.GRPC_SENT.labels(*labels)
        self.seconds = metrics.GRPC_SECONDS.labels(*labels)
        self.attributes = {conventions.RPC_METHOD: self.path}
        self.traced = not self.path.startswith(_UNTRACED)
        self._handled: dict[grpc.StatusCode, Any] = {}
        self._labels = labels

    def handled(self, code: grpc.StatusCode) -> None:
        """Count a call that ended with this code."""
        counter = self._handled.get(code)
        if counter is None:
            counter = self._handled[code] = metrics.GRPC_HANDLED.labels(*self._labels, code.name)
        counter.inc()


class _Call:
    """One call in progress: opens its span when made, and is closed once with its code."""

    __slots__ = ("_began", "_context", "_method", "_span")

    def __init__(self, method: _Method, context: Any) -> None:
        self._method = method
        self._context = context
        self._began = time.perf_counter()
        method.started.inc()
        traceparent = ""
        for key, value in context.invocation_metadata() or ():
            if key == tracing.TRACEPARENT:
                traceparent = value
                break
        self._span = (
            tracing.enter_server_span(
                conventions.RPC_SERVER, method.path, traceparent=traceparent, attributes=method.attributes
            )
            if method.traced
            else tracing.enter_unrecorded(traceparent)
        )

    def close(self, code: grpc.StatusCode) -> None:
        """Record how the call ended."""
        elapsed = time.perf_counter() - self._began
        self._method.handled(code)
        self._method.seconds.observe(elapsed)
        if self._span.is_recording():
            self._span.set_attribute(conventions.RPC_STATUS, code.name)
            if code in _SERVER_ERRORS:
                tracing.fail(self._span, code.name)
        self._span.end()
        if self._method.access_log:
            log.debug("call", method=self._method.path, status=code.name, seconds=round(elapsed, 6))

    async def fail(self, error: BaseException) -> None:
        """Close the call with the status of what a servicer raised, and abort it. Always raises."""
        if isinstance(error, grpc.aio.AbortError):
            self.close(_CODES.get(self._context.code(), grpc.StatusCode.UNKNOWN))
            raise error
        if isinstance(error, NotImplementedError):
            self.close(grpc.StatusCode.UNIMPLEMENTED)
            await self._context.abort(grpc.StatusCode.UNIMPLEMENTED, "this server does not implement the method")
        known = self._known(error)
        self.close(known.code)
        await self._context.abort_with_status(to_grpc_status(known))

    def _known(self, error: BaseException) -> WaybillError:
        if isinstance(error, grpc.aio.AioRpcError):
            known = from_rpc_error(error)
            known.__cause__ = error
            return known
        if isinstance(error, WaybillError) and error.code is not grpc.StatusCode.INTERNAL:
            return error
        log.error("call failed", method=self._method.path, status="INTERNAL", exc_info=error)
        return WaybillError("internal error; the service's log has the details")


_CODES: dict[Any, grpc.StatusCode] = {code: code for code in grpc.StatusCode} | {
    code.value[0]: code for code in grpc.StatusCode
}


def wrapped(path: str, handler: Handler, *, access_log: bool = False) -> Handler:
    """The handler of the method at this path, with all that happens around its calls."""
    method = _Method(path, handler, access_log)
    servicing = handler.unary_unary or handler.unary_stream or handler.stream_unary or handler.stream_stream
    make = {
        (False, False): grpc.unary_unary_rpc_method_handler,
        (False, True): grpc.unary_stream_rpc_method_handler,
        (True, False): grpc.stream_unary_rpc_method_handler,
        (True, True): grpc.stream_stream_rpc_method_handler,
    }[handler.request_streaming, handler.response_streaming]
    readable = _each_readable if handler.request_streaming else _readable

    def serve(request: Any, context: Any) -> Any:
        return servicing(readable(request), context)

    wrapped = _generator(serve, method) if inspect.isasyncgenfunction(servicing) else _coroutine(serve, method)
    return make(wrapped, _tolerant(handler.request_deserializer), _passing(handler.response_serializer))


_LEAVING = (asyncio.CancelledError, GeneratorExit, KeyboardInterrupt, SystemExit)
"""What ends a call from outside. All else is the call's own failure and is answered, also the panic of a library in
Rust, which is no Exception.
"""
_UNREADABLE = object()
"""Stands for a request whose bytes are no message of the method's type."""


def _tolerant(deserialize: Callable[[bytes], Any]) -> Callable[[bytes], Any]:
    """Leaves it to the call to refuse what cannot be read: gRPC itself would answer UNKNOWN, with the error's text."""

    def read(data: bytes) -> Any:
        try:
            return deserialize(data)
        except DecodeError:
            return _UNREADABLE

    return read


def _passing(serialize: Callable[[Any], bytes]) -> Callable[[Any], bytes]:
    """Lets a servicer answer with bytes that are the message already."""
    return lambda response: response if type(response) is bytes else serialize(response)


def _readable(request: Any) -> Any:
    if request is _UNREADABLE:
        raise InvalidArgument("the request's bytes are not the message that this method takes", reason="MALFORMED")
    return request


async def _each_readable(requests: AsyncIterator[Any]) -> AsyncIterator[Any]:
    async for request in requests:
        yield _readable(request)


def _coroutine(servicing: Servicing, method: _Method) -> Servicing:
    async def call(request: Any, context: Any) -> Any:
        running = _Call(method, context)
        try:
            response = await servicing(request, context)
        except _LEAVING:
            running.close(grpc.StatusCode.CANCELLED)
            raise
        except BaseException as error:
            await running.fail(error)
        else:
            running.close(grpc.StatusCode.OK)
            return response

    return call


def _generator(servicing: Servicing, method: _Method) -> Servicing:
    async def stream(request: Any, context: Any) -> AsyncIterator[Any]:
        running = _Call(method, context)
        try:
            async for response in servicing(request, context):
                method.sent.inc()
                yield response
        except _LEAVING:
            running.close(grpc.StatusCode.CANCELLED)
            raise
        except BaseException as error:
            await running.fail(error)
        else:
            running.close(grpc.StatusCode.OK)

    return stream
