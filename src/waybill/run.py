"""Owns a task that is submitted and followed to its end in one call, over streams that break."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from waybill.api.v1 import gateway_pb2, task_pb2
from waybill.connection import Connection, wait_seconds
from waybill.core.task import Event, TaskState
from waybill.errors import FailedPrecondition, NotFound, Unavailable
from waybill.progress import Progress, TaskProgress
from waybill.resources import Task
from waybill.rpc import conversion
from waybill.watch import Place


class Run:
    """A task of one's own, from its submission to its end: an async iterator of its events, each once, in order.

    Use it as `async with client.run(goal=...) as run`, which submits the task, or iterate over it, or await its
    `result()`. A stream that breaks goes on where it was, under the same request id. Leaving a run stops following the
    task, not the task.
    """

    def __init__(self, connection: Connection, request: gateway_pb2.RunTaskRequest) -> None:
        self._connection = connection
        self._request = request
        self._place = Place(max(1, request.from_sequence), request.after_digest)
        self._task: Task | None = None
        self._fold = TaskProgress("")
        self._events: AsyncGenerator[Event | None, None] | None = None
        self._closed = False

    @property
    def task(self) -> Task:
        """The task: as it was accepted, and once all events were seen, as it ended. Raises `FailedPrecondition` before
        it is accepted.
        """
        if self._task is None:
            raise FailedPrecondition("the task is not submitted yet: use `async with client.run(...) as run`")
        return self._task

    @property
    def request_id(self) -> str:
        """Under which the task is submitted: whoever submits the same under it follows the same task."""
        return self._request.request_id

    async def __aenter__(self) -> Run:
        await self._accepted()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Stop following the task, which goes on."""
        self._closed = True
        if self._events is not None:
            await self._events.aclose()

    def __aiter__(self) -> Run:
        return self

    async def __anext__(self) -> Event:
        """The next event. Raises as `Client.submit`, `Unavailable` once the patience is over without contact."""
        events = await self._accepted()
        async for event in events:
            if event is not None:
                self._fold.apply(event)
                return event
        raise StopAsyncIteration

    async def progress(self) -> AsyncGenerator[Progress, None]:
        """How far the task is: now, and again with each event that is taken from the run, until the task has ended."""
        await self._accepted()
        yield self._fold.snapshot()
        async for _event in self:
            yield self._fold.snapshot()

    async def result(self) -> Any:
        """See the events through to the end, and return the task's output, decoded.

        Raises `FailedPrecondition` with the failure's reason and message if it failed or was cancelled.
        """
        try:
            async for _event in self:
                pass
        except NotFound:  # the archive keeps no events
            if self._task is None:
                raise
        if not self.task.state.ended:
            response = await self._connection.call("GetTask", gateway_pb2.GetTaskRequest(name=self.task.name))
            self._task = Task.of(response.task)
        return output_of(self.task)

    async def _accepted(self) -> AsyncGenerator[Event | None, None]:
        """The events, once the task is accepted."""
        if self._closed:
            raise FailedPrecondition("the run is closed: iterate over it inside its `async with` block")
        if self._events is None:
            self._events = self._followed()
            async for event in self._events:  # the first comes with the acceptance, and is none
                assert event is None
                break
        return self._events

    async def _followed(self) -> AsyncGenerator[Event | None, None]:
        """None once the task is accepted, then its events, over as many streams as it takes."""
        fruitless, contact = 0, time.monotonic()
        while True:
            before, was_accepted, has_ended = self._place.received, self._task is not None, False
            try:
                async with aclosing(self._stream()) as responses:
                    async for response in responses:
                        contact = time.monotonic()
                        if has_ended := response.HasField("task"):
                            has_ended = self._take(response.task)
                        if not was_accepted and self._task is not None:
                            was_accepted = True
                            yield None
                        for message in response.events:
                            if self._place.leaves_gap(message):
                                raise Unavailable("the stream left out events", reason="STREAM_BROKEN")
                            if self._place.move_past(message):
                                yield conversion.event_from_proto(message)
                if has_ended and (self._has_seen_all or self._place.received == before):
                    return
            except Unavailable:
                if time.monotonic() - contact > self._connection.patience_seconds:
                    raise
            fruitless = fruitless + 1 if self._place.received == before else 0
            if fruitless:
                await asyncio.sleep(wait_seconds(fruitless))

    @property
    def _has_seen_all(self) -> bool:
        return self._place.sequence > self.task.last_sequence

    def _take(self, message: task_pb2.Task) -> bool:
        """Know the task as it is told; whether it has ended."""
        self._task = Task.of(message)
        self._fold.name = self._task.name
        return self._task.state.ended

    def _stream(self) -> Any:
        request = gateway_pb2.RunTaskRequest(
            spec=self._request.spec,
            request_id=self._request.request_id,
            from_sequence=self._place.sequence,
            after_digest=self._place.after_digest,
        )
        return self._connection.stream("RunTask", request)


def output_of(ended: Task) -> Any:
    """What a task returned that has ended, decoded. Raises `FailedPrecondition` if it failed or was cancelled."""
    if ended.state is TaskState.SUCCEEDED:
        return ended.output
    if ended.failure is not None:
        raise FailedPrecondition(f"{ended.name} failed: {ended.failure.message}", reason=ended.failure.reason)
    raise FailedPrecondition(f"{ended.name} was {ended.state}: it has no output", reason="TASK_CANCELLED")
