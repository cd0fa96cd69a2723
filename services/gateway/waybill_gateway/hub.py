"""One task's event stream from the dispatcher, kept open for all who watch the task here.

The hub keeps the newest events in a bounded buffer. Watchers hold nothing but a position in it: whoever falls behind
the buffer reads the gap from the dispatcher instead, so a stalled watcher costs no memory and slows nobody.
"""

from __future__ import annotations

import asyncio
import contextvars
import random
from typing import TYPE_CHECKING

import grpc

from waybill.api.v1 import dispatcher_pb2
from waybill.errors import WaybillError
from waybill.rpc.caller import metadata_for
from waybill.rpc.status import from_rpc_error
from waybill.telemetry import metrics
from waybill.telemetry.logs import get_logger
from waybill_gateway.buffer import EventBuffer
from waybill_gateway.event import Events, events_of
from waybill_gateway.place import Place

if TYPE_CHECKING:
    from waybill.api.v1.dispatcher_pb2_grpc import DispatcherServiceAsyncStub

log = get_logger(__name__)

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
    """The buffer of one task of one tenant, from a place on, fed until the task has ended or `close`.

    `resets` counts how often the history began anew, `ended` tells that the task has ended and all of it is here, and
    `error` is set once the stream cannot go on.
    """

    def __init__(self, dispatcher: DispatcherServiceAsyncStub, tenant: str, name: str, start: Place) -> None:
        self.watchers = 0
        self.buffer = EventBuffer(start)
        self.resets = 0
        self.ended = False
        self.error: WaybillError | None = None
        self._dispatcher = dispatcher
        self._tenant = tenant
        self._name = name
        self._changed = asyncio.Event()
        # The stream serves many callers, so it belongs to the trace of none.
        self._feeding = asyncio.create_task(self._run(), context=contextvars.Context())

    @property
    def live(self) -> bool:
        """Whether it may still be joined: one that has ended knows nothing of a retry that came later."""
        return self.error is None and not self.ended

    @property
    def confirmed(self) -> bool:
        """Whether the dispatcher has served this tenant this task, so that its buffer may be served too."""
        return bool(self.buffer)

    async def wait(self, sequence: int, resets: int) -> None:
        """Return once there is an event with this number, or none will come: the task has ended, or its history began
        anew since it had done so `resets` times. Raises the error that ended the stream.
        """
        while self.buffer.next <= sequence and self.resets == resets and not self.ended:
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
        """Read the stream, opening it again where it broke, until the task has ended or an error is final."""
        failures = 0
        pause_seconds = _FIRST_PAUSE_SECONDS
        while True:
            before = (self.resets, self.buffer.next)
            error = await self._read_stream()
            if self.ended:
                return
            if (self.resets, self.buffer.next) != before:
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
        """Read one stream from the buffer's end on until it ends; its error, or None if the server ended it in order.

        The dispatcher ends a stream in order when the task has ended and all of its events were sent.
        """
        end = self.buffer.end
        request = dispatcher_pb2.StreamEventsRequest(
            name=self._name, from_sequence=end.sequence, after_digest=end.digest
        )
        call = self._dispatcher.StreamEvents(request, metadata=metadata_for(self._tenant), wait_for_ready=True)
        metrics.UPSTREAM_STREAMS.inc()
        try:
            async for response in call:
                if not self._take(events_of(response.events)):
                    log.warning("event stream has a gap", task=self._name, expected=self.buffer.next)
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
        newest = self.buffer.newest
        if newest is None or newest.is_finish:
            self.ended = True
            self._ring()
        return None

    def _take(self, events: Events) -> bool:
        """Buffer what is new; False if there is a gap before it."""
        whole = True
        for event in events:
            if event.is_reset:
                log.warning("events were lost in the store, the history begins anew", task=self._name)
                self.buffer.restart()
                self.resets += 1
            elif event.sequence == self.buffer.next:
                self.buffer.add(event)
            elif event.sequence > self.buffer.next:
                whole = False
                break
        self._ring()
        return whole

    def _ring(self) -> None:
        """Wake all who wait."""
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()
