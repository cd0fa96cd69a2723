"""Owns following a task over streams that break: each event once, in order, until the task has ended."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

from waybill.api.v1 import gateway_pb2, task_pb2
from waybill.connection import Connection, wait_seconds
from waybill.core.task import Event
from waybill.errors import Unavailable
from waybill.rpc import conversion


class Place:
    """Where a watcher is in a task's history: the next event is `sequence`, the one before it had `digest`, 0 if that
    is not known. `finished` tells whether the newest event seen ended the task; a retry may still have followed it.
    """

    def __init__(self, sequence: int = 1, digest: int = 0) -> None:
        self.sequence = sequence
        self.digest = digest
        self.finished = False
        self.received = 0
        """How many events were new."""

    @property
    def after_digest(self) -> int:
        """What a stream that goes on from here is asked with."""
        return self.digest if self.sequence > 1 else 0

    def leaves_gap(self, message: task_pb2.TaskEvent) -> bool:
        """Whether events are missing between this place and an event."""
        return message.type != task_pb2.EVENT_TYPE_STREAM_RESET and message.sequence > self.sequence

    def move_past(self, message: task_pb2.TaskEvent) -> bool:
        """Move on past an event; False for one that is not to be told: seen before, or of a type of a newer server."""
        if message.type == task_pb2.EVENT_TYPE_STREAM_RESET:
            self.sequence, self.digest, self.finished = 1, 0, False
        elif message.sequence == self.sequence:
            self.sequence, self.digest = message.sequence + 1, message.digest
            self.finished = message.type == task_pb2.EVENT_TYPE_TASK_FINISHED
        else:
            return False
        self.received += 1
        return message.type in conversion.EVENT_TYPE_FROM_PROTO


class Watch:
    """A watch of one task from a place on."""

    def __init__(self, connection: Connection, name: str, place: Place) -> None:
        self._connection = connection
        self._name = name
        self._place = place
        self._ended_in_order = False

    async def events(self) -> AsyncGenerator[Event, None]:
        """The events. Use it once. Raises `NotFound`, `InvalidArgument` for a first event beyond the next one, and
        `Unavailable` once the connection's patience is over without contact.
        """
        place, fruitless = self._place, 0
        while True:
            before = place.received
            stream = self._stream()
            async with aclosing(stream):
                async for event in stream:
                    yield event
            if self._ended_in_order and place.finished:
                return
            # The stream broke, or had nothing more. An answer to this call is contact; without one it raises.
            task = (await self._connection.call("GetTask", gateway_pb2.GetTaskRequest(name=self._name))).task
            if self._ended_in_order and not place.received and self._is_behind(task):
                return
            fruitless = fruitless + 1 if place.received == before else 0
            if fruitless:
                await asyncio.sleep(wait_seconds(fruitless))

    def _is_behind(self, task: task_pb2.Task) -> bool:
        """Whether a watch that began after a task's last event has nothing to see."""
        state = conversion.TASK_STATE_FROM_PROTO.get(task.state)
        return state is not None and state.ended and self._place.sequence == task.last_sequence + 1

    async def _stream(self) -> AsyncGenerator[Event, None]:
        """One stream's new events, in order and without a gap. Ends when the stream does, or breaks."""
        self._ended_in_order = False
        request = gateway_pb2.WatchTaskRequest(
            name=self._name, from_sequence=self._place.sequence, after_digest=self._place.after_digest
        )
        responses = self._connection.stream("WatchTask", request)
        try:
            async with aclosing(responses):  # type: ignore[type-var]
                async for response in responses:
                    for message in response.events:
                        if self._place.leaves_gap(message):
                            return
                        if self._place.move_past(message):
                            yield conversion.event_from_proto(message)
        except Unavailable:
            return
        self._ended_in_order = True
