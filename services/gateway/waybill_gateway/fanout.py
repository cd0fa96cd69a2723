"""Fan-out: many watchers of one task, one stream to the dispatcher.

Hubs are kept by tenant and task, so what one tenant may see is never served to another.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import grpc

from waybill.api.v1 import dispatcher_pb2, task_pb2
from waybill.errors import InvalidArgument, Unavailable, WaybillError
from waybill.rpc.caller import metadata_for
from waybill.rpc.status import from_rpc_error
from waybill.telemetry import metrics
from waybill_gateway.caller import Caller
from waybill_gateway.hub import MAX_BATCH_EVENTS, Hub, is_terminal

if TYPE_CHECKING:
    from waybill.api.v1.dispatcher_pb2_grpc import DispatcherServiceAsyncStub

_GAP_TIMEOUT_SECONDS = 5.0
_GAP_PAUSE_SECONDS = 0.5


class Fanout:
    """All hubs of this process."""

    def __init__(self, dispatcher: DispatcherServiceAsyncStub) -> None:
        self._dispatcher = dispatcher
        self._hubs: dict[tuple[str, str], Hub] = {}
        self._closed = False

    async def open(self, caller: Caller, name: str, from_sequence: int) -> Watch:
        """A watch of a task from a sequence number (from 1) on.

        Raises `NotFound` for a task that the tenant has not, `InvalidArgument` for a number beyond the next event,
        `Unavailable` if the dispatcher cannot tell within the caller's deadline.
        """
        if self._closed:
            raise _stopping()
        hub = self._hubs.get((caller.tenant, name))
        if hub is not None and hub.error is None and hub.confirmed and hub.first <= from_sequence < hub.next:
            return Watch(self, caller.tenant, name, from_sequence)
        timeout_seconds = caller.remaining_seconds
        events = await self.read(caller.tenant, name, from_sequence, timeout_seconds)
        if events:
            return Watch(self, caller.tenant, name, from_sequence, events)
        if from_sequence > 1:
            previous = await self.read(caller.tenant, name, from_sequence - 1, timeout_seconds, limit=1)
            if not previous:
                described = (
                    f"is {from_sequence}, beyond the next event of {name}; start at 1 or after the last one seen"
                )
                raise InvalidArgument.of_field("from_sequence", described)
            return Watch(self, caller.tenant, name, from_sequence, ended=is_terminal(previous[0]))
        return Watch(self, caller.tenant, name, from_sequence)

    async def read(
        self, tenant: str, name: str, from_sequence: int, timeout_seconds: float, limit: int = MAX_BATCH_EVENTS
    ) -> Sequence[task_pb2.TaskEvent]:
        """Events that exist from a number on; may be fewer than exist."""
        request = dispatcher_pb2.ReadEventsRequest(name=name, from_sequence=from_sequence, limit=limit)
        try:
            response: dispatcher_pb2.ReadEventsResponse = await self._dispatcher.ReadEvents(
                request, timeout=timeout_seconds, metadata=metadata_for(tenant), wait_for_ready=True
            )
        except grpc.aio.AioRpcError as error:
            raise from_rpc_error(error) from error
        return response.events

    @asynccontextmanager
    async def joined(self, tenant: str, name: str, position: int) -> AsyncIterator[Hub]:
        """The task's hub, opened at `position` if there is none, and closed when its last watcher leaves."""
        if self._closed:
            raise _stopping()
        key = (tenant, name)
        hub = self._hubs.get(key)
        if hub is None or hub.error is not None:
            hub = self._hubs[key] = Hub(self._dispatcher, tenant, name, position)
        hub.watchers += 1
        try:
            yield hub
        finally:
            hub.watchers -= 1
            if not hub.watchers:
                if self._hubs.get(key) is hub:
                    del self._hubs[key]
                await hub.close()

    def close(self) -> None:
        """End all watches with `Unavailable`, so that watchers go on at another replica. Accept no more."""
        self._closed = True
        for hub in self._hubs.values():
            hub.fail(_stopping())

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._closed


class Watch:
    """One watcher's way through a task's events.

    `ended` tells that the task ended before the first event asked for, so that nothing will come.
    """

    def __init__(
        self,
        fanout: Fanout,
        tenant: str,
        name: str,
        position: int,
        events: Sequence[task_pb2.TaskEvent] = (),
        *,
        ended: bool = False,
    ) -> None:
        self.ended = ended
        self._fanout = fanout
        self._tenant = tenant
        self._name = name
        self._position = position
        self._events = events

    async def batches(self) -> AsyncGenerator[Sequence[task_pb2.TaskEvent], None]:
        """Events in order, none left out and none twice, up to the terminal one. Use it once.

        Raises `Unavailable` when the gateway stops, and what the dispatcher refuses the stream with.
        """
        if self.ended:
            return
        with metrics.WATCHERS.track_inprogress():
            events, self._events = self._events, ()
            if events:
                self._position = events[-1].sequence + 1
                yield events
                if is_terminal(events[-1]):
                    return
            async with self._fanout.joined(self._tenant, self._name, self._position) as hub:
                while not (events and is_terminal(events[-1])):
                    if self._position < hub.first:
                        events = await self._read_gap()
                    else:
                        await hub.wait(self._position)
                        if self._position < hub.first:
                            continue
                        events = hub.after(self._position)
                    self._position = events[-1].sequence + 1
                    yield events

    async def _read_gap(self) -> Sequence[task_pb2.TaskEvent]:
        """Events that the hub no longer holds; at least one. Waits for a dispatcher that is away."""
        while not self._fanout.closed:
            try:
                events = await self._fanout.read(self._tenant, self._name, self._position, _GAP_TIMEOUT_SECONDS)
            except Unavailable:
                await asyncio.sleep(_GAP_PAUSE_SECONDS)
                continue
            if not events:
                raise WaybillError(
                    f"the events of {self._name} from {self._position} on are gone", reason="EVENTS_GONE"
                )
            return events
        raise _stopping()


def _stopping() -> Unavailable:
    return Unavailable("this gateway is stopping; go on at another one", reason="GATEWAY_STOPPING")
