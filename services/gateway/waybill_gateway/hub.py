"""One task's event stream from the dispatcher, kept open for all who watch the task here.

The hub keeps the newest events in a bounded buffer. Watchers hold nothing but a position in it: whoever falls behind
the buffer reads the gap from the dispatcher instead, so a stalled watcher costs no memory and slows nobody.
"""

from __future__ import annotations

import asyncio
import contextvars
import random
from collections import deque
from collections.abc import Sequence
from itertools import islice
from typing import TYPE_CHECKING

import grpc

from waybill.api.v1 import dispatcher_pb2, task_pb2
from waybill.core.limits import MIB
from waybill.errors import WaybillError
from waybill.rpc.caller import metadata_for
from waybill.rpc.status import from_rpc_error
from waybill.telemetry import metrics
from waybill.telemetry.logs import get_logger

if TYPE_CHECKING:
    from waybill.api.v1.dispatcher_pb2_grpc import DispatcherServiceAsyncStub

log = get_logger(__name__)

MAX_BUFFERED_EVENTS = 1_024
MAX_BUFFERED_BYTES = 4 * MIB
MAX_BATCH_EVENTS = 256
"""Most events that a watcher is handed at once, and asks for when it reads a gap."""

MAX_FAILURES = 10
"""Failures in a row, other than being unreachable, after which a hub gives up."""
_FIRST_PAUSE_SECONDS = 0.05
_LONGEST_PAUSE_SECONDS = 1.0

_PASSING = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED, grpc.StatusCode.DEADLINE_EXCEEDED)
_REFUSALS = (
    grpc.StatusCode.NOT_FOUND,
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.FAILED_PRECONDITION,
    grpc.StatusCode.OUT_OF_RANGE,
    grpc.StatusCode.PERMISSION_DENIED,
    grpc.StatusCode.UNIMPLEMENTED,
)


class Hub:
    """The buffer of one task of one tenant, from sequence number `start` on, fed until `close`.

    `next` is the number after the newest event seen; `first` the lowest that is still buffered (`next` if none is).
    `error` is set once the stream cannot go on.
    """

    def __init__(self, dispatcher: DispatcherServiceAsyncStub, tenant: str, name: str, start: int) -> None:
        self.watchers = 0
        self.first = start
        self.next = start
        self.error: WaybillError | None = None
        self._dispatcher = dispatcher
        self._tenant = tenant
        self._name = name
        self._ended = False
        self._events: deque[tuple[task_pb2.TaskEvent, int]] = deque()
        self._bytes = 0
        self._changed = asyncio.Event()
        # The stream serves many callers, so it belongs to the trace of none.
        self._feeding = asyncio.create_task(self._run(), context=contextvars.Context())

    @property
    def confirmed(self) -> bool:
        """Whether the dispatcher has served this tenant this task, so that its buffer may be served too."""
        return bool(self._events)

    def after(self, position: int) -> list[task_pb2.TaskEvent]:
        """Buffered events from `position`, which must not lie below `first`, in order; at most a batch of them."""
        skip = position - self.first
        return [event for event, _ in islice(self._events, skip, skip + MAX_BATCH_EVENTS)]

    async def wait(self, position: int) -> None:
        """Return once there is an event at `position`. Raises the error that ended the stream."""
        while self.next <= position:
            if self.error is not None:
                raise self.error
            await self._changed.wait()

    def fail(self, error: WaybillError) -> None:
        """End the stream for all watchers that have seen what is buffered."""
        if self.error is None:
            self.error = error
        self._ring()

    async def close(self) -> None:
        """Close the stream to the dispatcher."""
        self._feeding.cancel()
        await asyncio.gather(self._feeding, return_exceptions=True)

    async def _run(self) -> None:
        """Feed the buffer; whatever goes wrong, nobody is left waiting."""
        try:
            await self._feed()
        except Exception as error:
            log.error("hub failed", task=self._name, exc_info=error)
            self.fail(WaybillError("internal error; the service's log has the details"))

    async def _feed(self) -> None:
        """Read the stream, opening it again where it broke, until the terminal event or an error that is final."""
        failures = 0
        pause_seconds = _FIRST_PAUSE_SECONDS
        while not self._ended:
            before = self.next
            error = await self._read_stream()
            if self._ended:
                return
            if self.next > before:
                failures, pause_seconds = 0, _FIRST_PAUSE_SECONDS
            if error is not None and error.code() not in _PASSING:
                failures += 1
                if error.code() in _REFUSALS or failures >= MAX_FAILURES:
                    self.fail(from_rpc_error(error))
                    return
            log.info("event stream broke", task=self._name, status=error.code().name if error else "OK")
            await asyncio.sleep(pause_seconds * random.uniform(0.5, 1.0))
            pause_seconds = min(2 * pause_seconds, _LONGEST_PAUSE_SECONDS)

    async def _read_stream(self) -> grpc.aio.AioRpcError | None:
        """Read one stream from `next` on until it ends; its error, or None if the server ended it in order."""
        request = dispatcher_pb2.StreamEventsRequest(name=self._name, from_sequence=self.next)
        call = self._dispatcher.StreamEvents(request, metadata=metadata_for(self._tenant), wait_for_ready=True)
        metrics.UPSTREAM_STREAMS.inc()
        try:
            async for response in call:
                if not self._take(response.events):
                    log.warning("event stream has a gap", task=self._name, expected=self.next)
                    return None
        except grpc.aio.AioRpcError as error:
            return error
        except asyncio.CancelledError:
            # Raised as well when the call itself was cancelled by its channel closing.
            if asyncio.current_task().cancelling():  # type: ignore[union-attr]
                raise
            return None
        finally:
            call.cancel()
            metrics.UPSTREAM_STREAMS.dec()
        return None

    def _take(self, events: Sequence[task_pb2.TaskEvent]) -> bool:
        """Buffer what is new; False if there is a gap before it."""
        for event in events:
            if event.sequence < self.next:
                continue
            if event.sequence > self.next:
                return False
            size_bytes = event.ByteSize()
            self._events.append((event, size_bytes))
            self._bytes += size_bytes
            self.next += 1
            self._ended = self._ended or is_terminal(event)
        while len(self._events) > MAX_BUFFERED_EVENTS or (self._bytes > MAX_BUFFERED_BYTES and len(self._events) > 1):
            self._bytes -= self._events.popleft()[1]
        self.first = self.next - len(self._events)
        self._ring()
        return True

    def _ring(self) -> None:
        """Wake all who wait."""
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()


def is_terminal(event: task_pb2.TaskEvent) -> bool:
    """Whether nothing follows this event."""
    return event.type == task_pb2.EVENT_TYPE_TASK_FINISHED
