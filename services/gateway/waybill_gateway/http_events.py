"""Watches and runs as Server-Sent Events: the type is the event's, the data flat JSON, the id its place.

The id is `<sequence>.<digest>`: by the digest whoever goes on after it is told if a failover of the store put another
event in its place.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Any

import msgspec
from sse_starlette import ServerSentEvent

from waybill.api.v1 import task_pb2
from waybill.errors import WaybillError
from waybill.rpc.events import event_to_json
from waybill.rpc.resources import task_to_json
from waybill_gateway.event import Event, Events
from waybill_gateway.http_errors import error_to_json
from waybill_gateway.run import Run
from waybill_gateway.watch import Watch


async def events_of_watch(watch: Watch) -> AsyncIterator[ServerSentEvent]:
    """The events of a watch.

    What is no event of the history has no id, so that a client that breaks off there resumes before it: `stream_reset`,
    after which the history begins anew, and `watch_failed`, with which a watch that broke ends.
    """
    try:
        async with aclosing(_events(watch.batches())) as sent:
            async for event in sent:
                yield event
    except WaybillError as error:
        yield _server_sent("watch_failed", error_to_json(error))


async def events_of_run(run: Run) -> AsyncIterator[ServerSentEvent]:
    """A run: `task` with the task as accepted, its events as those of a watch, and `task_result` with the ended task.

    `task` and `task_result` have no id, as is said above.
    """
    yield _task("task", run.task)
    try:
        async with aclosing(_events(run.batches())) as sent:
            async for event in sent:
                yield event
    except WaybillError as error:
        yield _server_sent("watch_failed", error_to_json(error))
    else:
        yield _task("task_result", run.task)


async def _events(batches: AsyncGenerator[Events, None]) -> AsyncGenerator[ServerSentEvent, None]:
    async with aclosing(batches):
        async for events in batches:
            for event in events:
                shown = event_to_json(event.message)
                yield _server_sent(shown["type"], shown, _id(event))


def _id(event: Event) -> str | None:
    if not event.sequence:
        return None
    return f"{event.sequence}.{event.digest:08x}" if event.digest else str(event.sequence)


def _task(kind: str, task: task_pb2.Task) -> ServerSentEvent:
    return _server_sent(kind, {"task": task_to_json(task, msgspec.Raw)})


def _server_sent(kind: str, data: dict[str, Any], event_id: str | None = None) -> ServerSentEvent:
    return ServerSentEvent(msgspec.json.encode(data).decode(), event=kind, id=event_id, sep="\n")
