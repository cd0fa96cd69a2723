"""Errors over HTTP: problem details (RFC 9457) with the status that fits.

Beside the standard's members a problem has `code`, gRPC's name of the kind of error, `reason`, which is stable, and
`violations`, the fields that are wrong.
"""

from __future__ import annotations

from collections.abc import Iterable
from http import HTTPStatus
from typing import Any

import grpc
import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Match
from starlette.types import ExceptionHandler

from waybill.errors import InvalidArgument, Violation, WaybillError
from waybill_gateway.problems import PAGE, PROBLEMS

_STATUSES: dict[grpc.StatusCode, int] = {
    grpc.StatusCode.INVALID_ARGUMENT: 400,
    grpc.StatusCode.PERMISSION_DENIED: 403,
    grpc.StatusCode.NOT_FOUND: 404,
    grpc.StatusCode.ALREADY_EXISTS: 409,
    grpc.StatusCode.FAILED_PRECONDITION: 409,
    grpc.StatusCode.OUT_OF_RANGE: 410,
    grpc.StatusCode.RESOURCE_EXHAUSTED: 429,
    grpc.StatusCode.UNAVAILABLE: 503,
}

CODES = {code.value[0]: code for code in grpc.StatusCode}
FRESH = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
"""What goes with every answer of the API: it is true now, and is JSON whatever it looks like."""
PROBLEM_JSON = "application/problem+json"
_TOO_LARGE = 413
_INTERNAL = "internal error; the service's log has the details"


class BodyTooLarge(WaybillError):
    """The body of an HTTP request is over its cap."""

    code = grpc.StatusCode.RESOURCE_EXHAUSTED
    reason = "BODY_TOO_LARGE"

    def __init__(self, limit_bytes: int) -> None:
        super().__init__(f"the body is over the limit of {limit_bytes} bytes; send large sources as paths")


def json_response(value: Any, status_code: int = 200) -> Response:
    """A response of JSON, which nobody may keep. `msgspec.Raw` stands inline."""
    return Response(msgspec.json.encode(value), status_code, FRESH, media_type="application/json")


def status_of(code: grpc.StatusCode, reason: str) -> int:
    """The HTTP status of an error."""
    return _TOO_LARGE if reason == BodyTooLarge.reason else _STATUSES.get(code, 500)


def error_to_json(error: WaybillError) -> dict[str, Any]:
    """The problem that tells of an error. Errors of the gateway's own doing tell nothing of their inside."""
    inside = error.code is grpc.StatusCode.INTERNAL and type(error) is WaybillError
    violations = error.violations if isinstance(error, InvalidArgument) else ()
    return problem(error.code, error.reason, _INTERNAL if inside else error.message, violations)


def problem(
    code: grpc.StatusCode,
    reason: str,
    detail: str,
    violations: Iterable[Violation] = (),
    status_code: int | None = None,
) -> dict[str, Any]:
    """A problem from its parts. One that the catalogue has points to what helps; others say what their status does."""
    status = HTTPStatus(status_code or status_of(code, reason))
    known = PROBLEMS.get(reason)
    return {
        "type": f"{PAGE}#{reason}" if known else "about:blank",
        "title": known.title if known else status.phrase,
        "status": status.value,
        "detail": detail,
        "code": code.name,
        "reason": reason,
        "violations": [{"field": item.field, "description": item.description} for item in violations],
    }


def problem_response(shown: dict[str, Any], headers: dict[str, str] | None = None) -> Response:
    """The response that tells a problem."""
    return Response(msgspec.json.encode(shown), shown["status"], FRESH | (headers or {}), media_type=PROBLEM_JSON)


async def _on_waybill_error(_request: Request, error: Exception) -> Response:
    if not isinstance(error, WaybillError):
        raise error
    shown = error_to_json(error)
    headers = {}
    if shown["status"] in (429, 503):
        headers["Retry-After"] = "1"
    if shown["status"] == _TOO_LARGE:
        headers["Connection"] = "close"
    return problem_response(shown, headers)


async def _on_http_error(request: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise error
    headers = dict(error.headers or {})
    if error.status_code == 405:
        headers["Allow"] = ", ".join(sorted(_methods_of(request)))
        if request.method == "OPTIONS":
            return Response(status_code=204, headers=headers)
    if error.status_code == 404:
        told = (grpc.StatusCode.NOT_FOUND, "ROUTE_NOT_FOUND", f"there is nothing at {request.url.path[:200]}")
    elif error.status_code == 405:
        described = f"{request.method} is not possible here; see the Allow header"
        told = (grpc.StatusCode.UNIMPLEMENTED, "METHOD_NOT_ALLOWED", described)
    else:
        told = (grpc.StatusCode.INVALID_ARGUMENT, "BAD_REQUEST", str(error.detail))
    return problem_response(problem(*told, status_code=error.status_code), headers)


def _methods_of(request: Request) -> set[str]:
    """The methods of all routes at a request's path."""
    at_path = (route for route in request.app.routes if route.matches(request.scope)[0] is not Match.NONE)
    return {"OPTIONS", *(method for route in at_path for method in getattr(route, "methods", None) or ())}


async def _on_disconnect(_request: Request, _error: Exception) -> Response:
    return Response(status_code=400)


async def _on_unknown_error(_request: Request, _error: Exception) -> Response:
    """The server logs the error itself, as Starlette raises it again after this response."""
    return problem_response(problem(grpc.StatusCode.INTERNAL, "INTERNAL", _INTERNAL))


EXCEPTION_HANDLERS: dict[Any, ExceptionHandler] = {
    WaybillError: _on_waybill_error,
    HTTPException: _on_http_error,
    ClientDisconnect: _on_disconnect,
    Exception: _on_unknown_error,
}
