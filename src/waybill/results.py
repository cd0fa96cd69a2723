"""Owns following the results of many tasks as they end, over streams that break: each result once, in order."""

from __future__ import annotations

import asyncio
import time
from abc import ABC
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from contextlib import aclosing
from datetime import datetime

import msgspec

from waybill.api.v1 import gateway_pb2, task_pb2
from waybill.connection import Connection, wait_seconds
from waybill.core.task import TaskState
from waybill.errors import Unavailable
from waybill.filters import TaskFilter
from waybill.resources import Task
from waybill.steering import task_name


class TaskResult(msgspec.Struct, frozen=True):
    """A task that has ended, with its output. `cursor` goes on after it: keep it to go on there in another process."""

    task: Task
    cursor: str

    @classmethod
    def of(cls, message: task_pb2.TaskResult) -> TaskResult:
        """The result of a message."""
        return cls(Task.of(message.task), message.cursor)


class Results(ABC):
    """The client's way to the results of many tasks."""

    _connection: Connection

    async def results(
        self,
        names: Sequence[Task | str] = (),
        *,
        states: Iterable[TaskState] = (),
        labels: Mapping[str, str] | None = None,
        agent: str = "",
        template: str = "",
        created_from: datetime | None = None,
        created_until: datetime | None = None,
        cursor: str = "",
        from_now: bool = False,
    ) -> AsyncGenerator[TaskResult, None]:
        """The tenant's tasks as they end, those that have ended already included, each result exactly once, in order.

        With `names` (at most 1,000) it ends when all of those have ended, else never: then the results are those of
        tasks for which all holds that is given (`TaskFilter`). A task that is retried and ends again is told again. It
        goes on after `cursor`; without one, `from_now` leaves out what has ended before.

        Raises `OutOfRange` if what follows the cursor is not kept any more, `NotFound` for a name that no task has,
        `InvalidArgument`, and `Unavailable` once the patience is over without contact.
        """
        wanted = TaskFilter(states, labels or {}, agent, template, created_from, created_until)
        request = gateway_pb2.WatchTasksRequest(
            names=[task_name(name) for name in names], filter=wanted.message(), cursor=cursor, from_now=from_now
        )
        async with aclosing(self.result_messages(request)) as results:
            async for result in results:
                yield TaskResult.of(result)

    async def result_messages(
        self, request: gateway_pb2.WatchTasksRequest
    ) -> AsyncGenerator[task_pb2.TaskResult, None]:
        """As `results`, with messages: whoever hands them on as they are needs no values. The request is not kept."""
        asked = gateway_pb2.WatchTasksRequest()
        asked.CopyFrom(request)
        broken_since: float | None = None
        tries = 0
        while True:
            before = asked.cursor
            responses = self._connection.stream("WatchTasks", asked)
            try:
                async with aclosing(responses):  # type: ignore[type-var]
                    async for response in responses:
                        broken_since = None
                        for result in response.results:
                            asked.cursor = result.cursor
                            yield result
                        asked.cursor = response.cursor
                return
            except Unavailable:
                now = time.monotonic()
                broken_since = broken_since or now
                if now - broken_since > self._connection.patience_seconds:
                    raise
            tries = tries + 1 if asked.cursor == before else 0
            if tries:  # a stream that came to something is gone on with at once
                await asyncio.sleep(wait_seconds(tries))
