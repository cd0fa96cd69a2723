"""The HTTP routes that tell whether the gateway serves."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from waybill_gateway.http_errors import json_response


def health_routes(ready: Callable[[], Awaitable[bool]]) -> list[BaseRoute]:
    """The routes; `ready` answers `/readyz`."""
    handlers = _Handlers(ready)
    return [
        Route("/healthz", handlers.health, methods=["GET"]),
        Route("/readyz", handlers.readiness, methods=["GET"]),
    ]


class _Handlers:
    """One method a route."""

    def __init__(self, ready: Callable[[], Awaitable[bool]]) -> None:
        self._ready = ready

    async def health(self, _request: Request) -> Response:
        """`GET /healthz`: 200 while the process serves."""
        return json_response({"status": "ok"})

    async def readiness(self, _request: Request) -> Response:
        """`GET /readyz`: 200 if a submission would be accepted now, 503 otherwise."""
        if await self._ready():
            return json_response({"status": "ready"})
        return json_response({"status": "not ready"}, 503)
