"""Streams of results: one stream of the dispatcher for each caller, handed on as it comes, undecoded: the messages of
StreamResults and of WatchTasks are the same on the wire.

There is no fan-out here, as hardly two callers follow the same tasks from the same place. A caller who takes nothing
more holds up its stream and the dispatcher's behind it, which reads nothing ahead: it costs the few messages that are
on the way, and no more.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator
from typing import Any

import grpc

from waybill.api.v1 import dispatcher_pb2, gateway_pb2, task_pb2
from waybill.core.limits import MAX_WATCHED_NAMES
from waybill.errors import InvalidArgument, Unavailable
from waybill.rpc.caller import metadata_for
from waybill.rpc.enums import TASK_STATE_FROM_PROTO
from waybill.rpc.passing import bytes_stream
from waybill.rpc.status import from_rpc_error
from waybill.telemetry import metrics
from waybill_gateway import fields
from waybill_gateway.caller import Caller
from waybill_gateway.fanout import stopping
from waybill_gateway.filters import check_filter

_PAUSE_SECONDS = 0.5
_DISPATCHER = dispatcher_pb2.DESCRIPTOR.services_by_name["DispatcherService"]

Messages = AsyncGenerator[bytes, None]
"""WatchTasksResponse on the wire."""


class ResultStreams:
    """All streams of results of this process."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._stream_results = bytes_stream(channel, _DISPATCHER, "StreamResults")
        self._calls: set[Any] = set()
        self.closed = False

    async def open(self, caller: Caller, request: gateway_pb2.WatchTasksRequest) -> ResultStream:
        """A stream that the dispatcher has begun.

        Raises `InvalidArgument`, `NotFound`, `OutOfRange`, and `Unavailable` if the dispatcher cannot tell within the
        caller's deadline.
        """
        check_request(request)
        if self.closed:
            raise stopping()
        stream = ResultStream(self, caller.tenant, request)
        await stream.begin(caller.remaining_seconds)
        return stream

    def call(self, tenant: str, request: dispatcher_pb2.StreamResultsRequest) -> Any:
        """A call of the dispatcher, which `close` ends and `leave` has to."""
        call = self._stream_results(request, metadata=metadata_for(tenant), wait_for_ready=True)
        self._calls.add(call)
        metrics.UPSTREAM_STREAMS.inc()
        return call

    def leave(self, call: Any) -> None:
        """End a call."""
        if call in self._calls:
            self._calls.discard(call)
            metrics.UPSTREAM_STREAMS.dec()
        call.cancel()

    def close(self) -> None:
        """End all streams with `Unavailable`, so that callers go on at another replica. Accept no more."""
        self.closed = True
        for call in self._calls:
            call.cancel()


class ResultStream:
    """One caller's stream. `ended` tells, once it has begun, that there is nothing to tell."""

    def __init__(self, streams: ResultStreams, tenant: str, request: gateway_pb2.WatchTasksRequest) -> None:
        self.ended = False
        self._streams = streams
        self._tenant = tenant
        self._names = list(request.names)
        self._filter = request.filter
        self._cursor = request.cursor
        self._from_now = request.from_now
        self._first: bytes | None = None
        self._told: bytes | None = None
        self._call: Any = None

    async def begin(self, timeout_seconds: float) -> None:
        """Open the stream and take its first message, which comes at once. Raises as `ResultStreams.open`."""
        self._reopen()
        try:
            async with asyncio.timeout(timeout_seconds):
                self._first = await self._read()
        except TimeoutError as error:
            raise Unavailable("the dispatcher does not answer; try again") from error
        finally:
            if self._first is None:
                self._streams.leave(self._call)
        self.ended = self._first is None

    async def messages(self) -> Messages:
        """The messages, in order. Use it once, after `begin`; close it in the end.

        Where the dispatcher breaks off, another one goes on after what was told. Raises `Unavailable` when the gateway
        stops, and what the dispatcher refuses the stream with.
        """
        try:
            with metrics.WATCHERS.track_inprogress():
                message = self._first
                while message is not None:
                    self._told = message
                    yield message
                    message = await self._next()
        finally:
            self._streams.leave(self._call)

    async def _next(self) -> bytes | None:
        """The next message, None at the end."""
        while True:
            try:
                return await self._read()
            except Unavailable:
                if self._streams.closed:
                    raise
            self._streams.leave(self._call)
            await asyncio.sleep(_PAUSE_SECONDS * random.uniform(0.5, 1.0))
            if self._streams.closed:
                raise stopping()
            self._reopen()

    def _reopen(self) -> None:
        if self._told is not None:
            self._cursor, self._from_now = gateway_pb2.WatchTasksResponse.FromString(self._told).cursor, False
        request = dispatcher_pb2.StreamResultsRequest(
            names=self._names, filter=self._filter, cursor=self._cursor, from_now=self._from_now
        )
        self._call = self._streams.call(self._tenant, request)

    async def _read(self) -> bytes | None:
        try:
            message: Any = await self._call.read()
        except grpc.aio.AioRpcError as error:
            raise from_rpc_error(error) from error
        except asyncio.CancelledError:
            # Raised as well when the call itself was cancelled, by `close` or by its channel.
            if asyncio.current_task().cancelling():  # type: ignore[union-attr]
                raise
            raise stopping() from None
        return None if message is grpc.aio.EOF else bytes(message)


def check_request(request: gateway_pb2.WatchTasksRequest) -> None:
    """Raise `InvalidArgument` for what cannot be followed, or `NotFound` for what no task is called."""
    if len(request.names) > MAX_WATCHED_NAMES:
        allowed = f"over the limit of {MAX_WATCHED_NAMES}; give the tasks a label, and follow that"
        raise InvalidArgument.of_field("names", f"are {len(request.names)}, {allowed}")
    if request.names and request.filter != task_pb2.TaskFilter():
        raise InvalidArgument.of_field("filter", "is given together with names; give one of them")
    for position, name in enumerate(request.names):
        fields.task_name(f"names[{position}]", name)
    check_filter(request.filter)
    for state in request.filter.states:
        if not TASK_STATE_FROM_PROTO[state].ended:
            allowed = "no task ends in that; use succeeded, failed or cancelled"
            raise InvalidArgument.of_field(
                "filter.states", f"holds {TASK_STATE_FROM_PROTO[state].value}, and {allowed}"
            )
