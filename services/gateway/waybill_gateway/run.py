"""A task that is submitted and followed in one call: as it was accepted, its events, and as it ended."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import TypeVar

from waybill.api.v1 import task_pb2
from waybill.errors import Unavailable
from waybill.rpc.enums import TASK_STATE_FROM_PROTO
from waybill_gateway.event import Events
from waybill_gateway.place import START, Place
from waybill_gateway.watch import Watch

_PAUSE_SECONDS = 0.5

_Read = TypeVar("_Read")


class Run:
    """One caller's way from an accepted `task`, of which nothing was seen yet but what lies before `place`, to its end.

    `open_watch` opens a watch of the task from a place on, `read_task` reads the task as it is now, and `stopping`
    tells whether this gateway stops. Whoever leaves stops nothing: the task goes on.
    """

    def __init__(
        self,
        task: task_pb2.Task,
        place: Place,
        *,
        open_watch: Callable[[Place], Awaitable[Watch]],
        read_task: Callable[[], Awaitable[task_pb2.Task]],
        stopping: Callable[[], bool],
    ) -> None:
        self.task = task
        self._place = place
        self._open_watch = open_watch
        self._read_task = read_task
        self._stopping = stopping

    async def batches(self) -> AsyncGenerator[Events, None]:
        """Events in order until the task has ended; `task` is then the task as it ended. Use it once.

        A dispatcher that is away is waited for. Raises `Unavailable` when the gateway stops, and what the dispatcher
        refuses the task with.
        """
        while True:
            watch = await self._patiently(lambda: self._open_watch(self._place))
            async with aclosing(watch.batches()) as batches:
                async for events in batches:
                    self._place = START if events[-1].is_reset else Place.after(events[-1])
                    yield events
            self.task = await self._patiently(self._read_task)
            state = TASK_STATE_FROM_PROTO.get(self.task.state)
            if state is not None and state.ended:
                return
            # It was retried after the end that was seen, so what was read is no result: another end follows.
            await asyncio.sleep(_PAUSE_SECONDS)

    async def _patiently(self, read: Callable[[], Awaitable[_Read]]) -> _Read:
        """What a read returns, once the dispatcher answers it."""
        while True:
            try:
                return await read()
            except Unavailable:
                if self._stopping():
                    raise
                await asyncio.sleep(_PAUSE_SECONDS)
