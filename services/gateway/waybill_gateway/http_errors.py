"""Errors over HTTP: `{"error": {"code", "reason", "message", "violations"}}` with the status that fits."""

from __future__ import annotations

from typing import Any

import grpc
import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ExceptionHandler

from waybill.errors import InvalidArgument, WaybillError

_STATUSES: dict[grpc.StatusCode, int] = {
    grpc.StatusCode.INVALID_ARGUMENT: 400,
    grpc.StatusCode.NOT_FOUND: 404,
    grpc.StatusCode.ALREADY_EXISTS: 409,
    grpc.StatusCode.FAILED_PRECONDITION: 409,
    grpc.StatusCode.OUT_OF_RANGE: 410,
    grpc.StatusCode.RESOURCE_EXHAUSTED: 429,
    grpc.StatusCode.UNAVAILABLE: 503,
}

CODES = {code.value[0]: code.name for code in grpc.StatusCode}


class BodyTooLarge(WaybillError):
    """The body of an HTTP request is over its cap."""

    code = grpc.StatusCode.RESOURCE_EXHAUSTED
    reason = "BODY_TOO_LARGE"

    def __init__(self, limit_bytes: int) -> None:
        super().__init__(f"the body is over the limit of {limit_bytes} bytes; send large sources as paths")


def json_response(value: Any, status_code: int = 200, headers: dict[str, str] | None = None) -> Response:
    """A response of JSON. `msgspec.Raw` stands inline."""
    return Response(msgspec.json.encode(value), status_code, headers, media_type="application/json")


def error_to_json(error: WaybillError) -> dict[str, Any]:
    """The body that tells of an error. Errors of the gateway's own doing tell nothing of their inside."""
    if error.code is grpc.StatusCode.INTERNAL and type(error) is WaybillError:
        return error_body("INTERNAL", error.reason, "internal error; the service's log has the details")
    violations = error.violations if isinstance(error, InvalidArgument) else ()
    listed = [{"field": item.field, "description": item.description} for item in violations]
    return error_body(error.code.name, error.reason, error.message, listed)


def error_body(code: str, reason: str, message: str, violations: list[dict[str, str]] | None = None) -> dict[str, Any]:
    """The body of an error from its parts."""
    return {"error": {"code": code, "reason": reason, "message": message, "violations": violations or []}}


async def _on_waybill_error(_request: Request, error: Exception) -> Response:
    if not isinstance(error, WaybillError):
        raise error
    status_code = 413 if isinstance(error, BodyTooLarge) else _STATUSES.get(error.code, 500)
    headers = {}
    if status_code in (429, 503):
        headers["Retry-After"] = "1"
    if status_code == 413:
        headers["Connection"] = "close"
    return json_response(error_to_json(error), status_code, headers)


async def _on_http_error(request: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise error
    if error.status_code == 404:
        body = error_body("NOT_FOUND", "ROUTE_NOT_FOUND", f"there is nothing at {request.url.path[:200]}")
    elif error.status_code == 405:
        described = f"{request.method} is not possible here; see the Allow header"
        body = error_body("UNIMPLEMENTED", "METHOD_NOT_ALLOWED", described)
    else:
        body = error_body("INVALID_ARGUMENT", "BAD_REQUEST", str(error.detail))
    return json_response(body, error.status_code, dict(error.headers or {}))


async def _on_disconnect(_request: Request, _error: Exception) -> Response:
    return Response(status_code=400)


async def _on_unknown_error(_request: Request, _error: Exception) -> Response:
    """The server logs the error itself, as Starlette raises it again after this response."""
    return json_response(error_body("INTERNAL", "INTERNAL", "internal error; the service's log has the details"), 500)


EXCEPTION_HANDLERS: dict[Any, ExceptionHandler] = {
    WaybillError: _on_waybill_error,
    HTTPException: _on_http_error,
    ClientDisconnect: _on_disconnect,
    Exception: _on_unknown_error,
}
