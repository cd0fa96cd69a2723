"""Fan-out: many watchers of one task, one stream to the dispatcher.

Hubs are kept by tenant and task, so what one tenant may see is never served to another.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import grpc

from waybill.api.v1 import dispatcher_pb2
from waybill.errors import InvalidArgument, Unavailable
from waybill.rpc.caller import metadata_for
from waybill.rpc.status import from_rpc_error
from waybill_gateway.buffer import MAX_BATCH_EVENTS
from waybill_gateway.caller import Caller
from waybill_gateway.event import Events, events_of
from waybill_gateway.hub import Hub
from waybill_gateway.place import START, Place
from waybill_gateway.watch import Watch

if TYPE_CHECKING:
    from waybill.api.v1.dispatcher_pb2_grpc import DispatcherServiceAsyncStub


class Fanout:
    """All hubs of this process."""

    def __init__(self, dispatcher: DispatcherServiceAsyncStub) -> None:
        self._dispatcher = dispatcher
        self._hubs: dict[tuple[str, str], Hub] = {}
        self._closed = False

    async def open(self, caller: Caller, name: str, wanted: Place, *, rewind: bool = False) -> Watch:
        """A watch of a task from a place on.

        Where the store no longer has the event before that place, by its digest, the watch begins with STREAM_RESET
        and the first event; with `rewind`, also where the place lies beyond the next event. Raises `NotFound` for a
        task that the tenant has not, `InvalidArgument` for a place beyond the next event, `Unavailable` if the
        dispatcher cannot tell within the caller's deadline.
        """
        if self._closed:
            raise stopping()
        known = self._known(caller.tenant, name, wanted)
        if known is not None:
            return known
        # Read from the event before it on, which tells whether the place exists, and is what was seen.
        first = max(wanted.sequence - 1, START.sequence)
        events = await self.read(caller.tenant, name, first, caller.remaining_seconds)
        if first == wanted.sequence:
            return Watch(self, caller.tenant, name, START, events)
        if not events and not wanted.digest and not rewind:
            described = f"is {wanted.sequence}, beyond the next event of {name}; start at 1 or after the last one seen"
            raise InvalidArgument.of_field("from_sequence", described)
        if not events or (wanted.digest and wanted.digest != events[0].digest):
            return Watch(self, caller.tenant, name, START, reset=True)
        ended = len(events) == 1 and events[0].is_finish
        return Watch(self, caller.tenant, name, Place.after(events[0]), events[1:], ended=ended)

    def _known(self, tenant: str, name: str, wanted: Place) -> Watch | None:
        """The watch if a hub can tell that it is good; otherwise the dispatcher has to be asked."""
        hub = self._hubs.get((tenant, name))
        if hub is None or not hub.live or not hub.confirmed:
            return None
        if not hub.buffer.first <= wanted.sequence < hub.buffer.next:
            return None
        digest = hub.buffer.digest_before(wanted.sequence)
        if wanted.digest and not digest:
            return None
        if wanted.digest not in (0, digest):
            return Watch(self, tenant, name, START, reset=True)
        return Watch(self, tenant, name, Place(wanted.sequence, digest))

    async def read(
        self, tenant: str, name: str, from_sequence: int, timeout_seconds: float, limit: int = MAX_BATCH_EVENTS
    ) -> Events:
        """Events that exist from a number on; may be fewer than exist."""
        request = dispatcher_pb2.ReadEventsRequest(name=name, from_sequence=from_sequence, limit=limit)
        try:
            response: dispatcher_pb2.ReadEventsResponse = await self._dispatcher.ReadEvents(
                request, timeout=timeout_seconds, metadata=metadata_for(tenant), wait_for_ready=True
            )
        except grpc.aio.AioRpcError as error:
            raise from_rpc_error(error) from error
        return events_of(response.events)

    @asynccontextmanager
    async def joined(self, tenant: str, name: str, place: Place) -> AsyncIterator[Hub]:
        """The task's hub, opened at `place` if there is none, and closed when its last watcher leaves."""
        if self._closed:
            raise stopping()
        key = (tenant, name)
        hub = self._hubs.get(key)
        if hub is None or not hub.live:
            hub = self._hubs[key] = Hub(self._dispatcher, tenant, name, place)
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
            hub.fail(stopping())

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._closed


def stopping() -> Unavailable:
    """What watchers are told when the gateway stops."""
    return Unavailable("this gateway is stopping; go on at another one", reason="GATEWAY_STOPPING")
