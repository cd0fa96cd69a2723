"""Which web pages may call the gateway: those of its own origin, and those of the origins that the operator names.

Nothing checks who calls, so a page of another origin that a user happens to visit could submit and cancel tasks in
their name: browsers ask before they let it read an answer, but send many requests all the same. Those are refused.
"""

from __future__ import annotations

from collections.abc import Collection

import grpc
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

from waybill.errors import WaybillError
from waybill.rpc.caller import TENANT_KEY
from waybill.telemetry.tracing import TRACEPARENT
from waybill_gateway.http_bodies import IDEMPOTENCY_KEY
from waybill_gateway.http_errors import error_to_json, problem_response
from waybill_gateway.http_requests import LAST_EVENT_ID

ANY = "*"
PREFLIGHT_SECONDS = 600
"""How long a browser may remember what it was allowed."""

_SAFE_METHODS = ("GET", "HEAD", "OPTIONS")
_METHODS = ("GET", "POST", "PUT", "DELETE")
_TELLING = (b"host", b"origin", b"sec-fetch-site")
_REQUEST_HEADERS = ("content-type", IDEMPOTENCY_KEY, LAST_EVENT_ID, TENANT_KEY, TRACEPARENT)
_RESPONSE_HEADERS = ("retry-after",)


class OriginRefused(WaybillError):
    """A web page of another origin sent what would change something."""

    code = grpc.StatusCode.PERMISSION_DENIED
    reason = "ORIGIN_REFUSED"

    def __init__(self) -> None:
        super().__init__(
            "pages of this origin may not do this; an operator can name it by WAYBILL_GATEWAY_CORS_ORIGINS"
        )


def origins_middleware(origins: Collection[str]) -> list[Middleware]:
    """The middleware that lets pages of these origins in, besides the gateway's own, and no others."""
    guard = Middleware(OriginGuard, origins=frozenset(origins))
    if not origins:
        return [guard]
    allowing = Middleware(
        CORSMiddleware,
        allow_origins=tuple(origins),
        allow_methods=_METHODS,
        allow_headers=_REQUEST_HEADERS,
        expose_headers=_RESPONSE_HEADERS,
        max_age=PREFLIGHT_SECONDS,
    )
    return [allowing, guard]


class OriginGuard:
    """ASGI middleware that refuses requests by which a page of another origin would change something."""

    def __init__(self, app: ASGIApp, origins: frozenset[str]) -> None:
        self._app = app
        self._origins = origins

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or refuse it."""
        if scope["type"] == "http" and scope["method"] not in _SAFE_METHODS and self._refuses(scope):
            await problem_response(error_to_json(OriginRefused()))(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _refuses(self, scope: Scope) -> bool:
        told: dict[bytes, bytes] = {name: value for name, value in scope["headers"] if name in _TELLING}
        if ANY in self._origins or (b"origin" not in told and b"sec-fetch-site" not in told):
            return False
        origin = told.get(b"origin", b"").decode("latin-1")
        if origin in self._origins:
            return False
        site = told.get(b"sec-fetch-site")
        if site is not None:
            return site not in (b"same-origin", b"none")
        # Older browsers say where a request comes from, but not whether that is where it goes. Programs say neither.
        return origin.partition("://")[2] != told.get(b"host", b"").decode("latin-1")
