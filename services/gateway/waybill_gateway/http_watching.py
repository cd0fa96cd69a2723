"""The HTTP routes that stream: watches, and tasks that are submitted and followed in one call."""

from __future__ import annotations

from collections.abc import AsyncIterator

from sse_starlette import EventSourceResponse, ServerSentEvent
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from waybill.api.v1 import gateway_pb2
from waybill_gateway.caller import Caller
from waybill_gateway.http_errors import FRESH
from waybill_gateway.http_events import events_of_run, events_of_watch
from waybill_gateway.http_requests import caller_of, check_parameters, place_of, submission_of, task_of
from waybill_gateway.settings import GatewaySettings
from waybill_gateway.verbs import Verbs


def watching_routes(verbs: Verbs, settings: GatewaySettings) -> list[BaseRoute]:
    """The routes over the verbs."""
    handlers = _Handlers(verbs, settings)
    return [
        Route("/v1/tasks:run", handlers.run_task, methods=["POST"]),
        Route("/v1/tasks/{task}/events", handlers.watch_task, methods=["GET"]),
    ]


class _Handlers:
    """One method a route: reads the request, calls the verb, streams the response."""

    def __init__(self, verbs: Verbs, settings: GatewaySettings) -> None:
        self._verbs = verbs
        self._settings = settings

    async def run_task(self, request: Request) -> Response:
        """`POST /v1/tasks:run`: accepts a task as `POST /v1/tasks` does, and streams Server-Sent Events until it ended.

        `task` tells the task as it was accepted, the task's events follow, and `task_result` tells the task as it
        ended. A client that leaves stops nothing; the same request again with `Last-Event-ID` goes on after it.
        """
        check_parameters(request, ("from_sequence",))
        caller = self._caller(request)
        place, resumed = place_of(request)
        submission = await submission_of(request, self._settings.max_body_bytes)
        running = gateway_pb2.RunTaskRequest(
            spec=submission.spec,
            request_id=submission.request_id,
            from_sequence=place.sequence,
            after_digest=place.digest,
        )
        run = await self._verbs.run_task(caller, running, rewind=resumed)
        return self._stream(events_of_run(run))

    async def watch_task(self, request: Request) -> Response:
        """`GET /v1/tasks/{task}/events`: Server-Sent Events until the task has ended.

        204 if it had ended and its last event was seen already, which tells a browser to stop asking.
        """
        check_parameters(request, ("from_sequence",))
        place, resumed = place_of(request)
        watching = gateway_pb2.WatchTaskRequest(
            name=task_of(request), from_sequence=place.sequence, after_digest=place.digest
        )
        watch = await self._verbs.watch_task(self._caller(request), watching, rewind=resumed)
        if watch.ended:
            return Response(status_code=204)
        if request.method == "HEAD":
            return Response(media_type="text/event-stream", headers=FRESH)
        return self._stream(events_of_watch(watch))

    def _stream(self, events: AsyncIterator[ServerSentEvent]) -> Response:
        return EventSourceResponse(events, ping=self._settings.sse_ping_seconds, sep="\n")

    def _caller(self, request: Request) -> Caller:
        return caller_of(request, self._settings.call_timeout_seconds)
