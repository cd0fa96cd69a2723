"""The HTTP route that streams results: Server-Sent Events whose ids are cursors."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing

import msgspec
from sse_starlette import EventSourceResponse, ServerSentEvent
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from waybill.api.v1 import gateway_pb2
from waybill.errors import InvalidArgument, WaybillError
from waybill.rpc.resources import result_to_json
from waybill_gateway.filters import PARAMETERS
from waybill_gateway.http_errors import FRESH, error_to_json
from waybill_gateway.http_requests import LAST_EVENT_ID, caller_of, check_parameters, filter_of
from waybill_gateway.results import ResultStream
from waybill_gateway.settings import GatewaySettings
from waybill_gateway.verbs import Verbs

_TRUTHS = {"true": True, "false": False}


def results_routes(verbs: Verbs, settings: GatewaySettings) -> list[BaseRoute]:
    """The route over the verb."""

    async def watch_tasks(request: Request) -> Response:
        """`GET /v1/tasks:watch`: the results of tasks as they end; those of named tasks until all have.

        204 if all named tasks have ended and their results were told already, which tells a browser to stop asking.
        """
        caller = caller_of(request, settings.call_timeout_seconds)
        stream = await verbs.results.open(caller, watching_of(request))
        if stream.ended:
            return Response(status_code=204)
        return EventSourceResponse(_events(stream), ping=settings.sse_ping_seconds, sep="\n", headers=FRESH)

    return [Route("/v1/tasks:watch", watch_tasks, methods=["GET"])]


def watching_of(request: Request) -> gateway_pb2.WatchTasksRequest:
    """The request that the parameters describe; `Last-Event-ID` goes before `cursor`. Raises `InvalidArgument`."""
    check_parameters(request, ("name", "cursor", "from_now", *PARAMETERS.values()))
    from_now = request.query_params.get("from_now", "false")
    if from_now not in _TRUTHS:
        raise InvalidArgument.of_field("from_now", "must be true or false")
    names = [name for value in request.query_params.getlist("name") for name in value.split(",") if name]
    return gateway_pb2.WatchTasksRequest(
        names=[name if name.startswith("tasks/") else f"tasks/{name}" for name in names],
        filter=filter_of(request),
        cursor=request.headers.get(LAST_EVENT_ID) or request.query_params.get("cursor", ""),
        from_now=_TRUTHS[from_now],
    )


async def _events(stream: ResultStream) -> AsyncIterator[ServerSentEvent]:
    """The results of a stream; `cursor` where others were passed over, so that a client that breaks off goes on there.

    A stream that broke ends with `watch_failed`, which has no id.
    """
    try:
        async with aclosing(stream.messages()) as messages:
            async for written in messages:
                message = gateway_pb2.WatchTasksResponse.FromString(written)
                for result in message.results:
                    data = msgspec.json.encode(result_to_json(result, msgspec.Raw)).decode()
                    yield ServerSentEvent(data, event="task_result", id=result.cursor, sep="\n")
                if not message.results or message.cursor != message.results[-1].cursor:
                    data = msgspec.json.encode({"cursor": message.cursor}).decode()
                    yield ServerSentEvent(data, event="cursor", id=message.cursor, sep="\n")
    except WaybillError as error:
        yield ServerSentEvent(msgspec.json.encode(error_to_json(error)).decode(), event="watch_failed", sep="\n")
