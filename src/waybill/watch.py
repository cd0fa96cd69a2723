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


class Watch:
    """A watch of one task, from the event `next_sequence` on; `digest` is that of the event before it, 0 if unknown."""

    def __init__(self, connection: Connection, name: str, next_sequence: int, digest: int) -> None:
        self._connection = connection
        self._name = name
        self._next = next_sequence
        self._digest = digest
        self._finished = False
        """Whether the newest event seen ended the task; a retry may still have followed it."""
        self._received = 0
        self._ended_in_order = False

    async def events(self) -> AsyncGenerator[Event, None]:
        """The events. Use it once. Raises `NotFound`, `InvalidArgument` for a first event beyond the next one, and
        `Unavailable` once the connection's patience is over without contact.
        """
        fruitless = 0
        while True:
            before = self._received
            stream = self._stream()
            async with aclosing(stream):
                async for event in stream:
                    yield event
            if self._ended_in_order and self._finished:
                return
            # The stream broke, or had nothing more. An answer to this call is contact; without one it raises.
            task = (await self._connection.call("GetTask", gateway_pb2.GetTaskRequest(name=self._name))).task
            if self._ended_in_order and not self._received and self._is_behind(task):
                return
            fruitless = fruitless + 1 if self._received == before else 0
            if fruitless:
                await asyncio.sleep(wait_seconds(fruitless))

    def _is_behind(self, task: task_pb2.Task) -> bool:
        """Whether a watch that began after a task's last event has nothing to see."""
        state = conversion.TASK_STATE_FROM_PROTO.get(task.state)
        return state is not None and state.ended and self._next == task.last_sequence + 1

    async def _stream(self) -> AsyncGenerator[Event, None]:
        """One stream's new events, in order and without a gap. Ends when the stream does, or breaks."""
        self._ended_in_order = False
        request = gateway_pb2.WatchTaskRequest(
            name=self._name, from_sequence=self._next, after_digest=self._digest if self._next > 1 else 0
        )
        responses = self._connection.stream("WatchTask", request)
        try:
            async with aclosing(responses):  # type: ignore[type-var]
                async for response in responses:
                    for message in response.events:
                        if message.type != task_pb2.EVENT_TYPE_STREAM_RESET and message.sequence > self._next:
                            return
                        if self._pass(message):
                            yield conversion.event_from_proto(message)
        except Unavailable:
            return
        self._ended_in_order = True

    def _pass(self, message: task_pb2.TaskEvent) -> bool:
        """Move on past an event; False for one that is not to be told: seen before, or of a type of a newer server."""
        if message.type == task_pb2.EVENT_TYPE_STREAM_RESET:
            self._next, self._digest, self._finished = 1, 0, False
        elif message.sequence == self._next:
            self._next, self._digest = message.sequence + 1, message.digest
            self._finished = message.type == task_pb2.EVENT_TYPE_TASK_FINISHED
        else:
            return False
        self._received += 1
        return message.type in conversion.EVENT_TYPE_FROM_PROTO
