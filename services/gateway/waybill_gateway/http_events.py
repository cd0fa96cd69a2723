"""A watch as Server-Sent Events: the id is the sequence number, the type the event's, the data flat JSON."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import msgspec
from sse_starlette import ServerSentEvent

from waybill.errors import WaybillError
from waybill.rpc.events import event_to_json
from waybill_gateway.http_errors import error_to_json
from waybill_gateway.watch import Watch


async def server_sent_events(watch: Watch) -> AsyncIterator[ServerSentEvent]:
    """The events of a watch.

    What is no event of the history has no id, so that a client that breaks off there resumes before it: `stream_reset`,
    after which the history begins anew, and `watch_failed`, with which a watch that broke ends.
    """
    try:
        async with aclosing(watch.batches()) as batches:
            async for events in batches:
                for event in events:
                    shown = event_to_json(event)
                    yield _server_sent(shown["type"], shown, str(event.sequence) if event.sequence else None)
    except WaybillError as error:
        yield _server_sent("watch_failed", error_to_json(error))


def _server_sent(kind: str, data: dict[str, Any], sequence: str | None = None) -> ServerSentEvent:
    return ServerSentEvent(msgspec.json.encode(data).decode(), event=kind, id=sequence, sep="\n")
