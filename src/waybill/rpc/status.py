"""Errors as statuses: `google.rpc.Status` with `ErrorInfo` and `BadRequest`, there and back again."""

from __future__ import annotations

import grpc
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from waybill.errors import (
    AlreadyExists,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    OutOfRange,
    ResourceExhausted,
    Unavailable,
    Violation,
    WaybillError,
)

DOMAIN = "waybill"
OUT_OF_TIME = "DEADLINE_EXCEEDED"
"""Reason of `Unavailable` when a call behind this one did not finish in time."""
MAX_MESSAGE_CHARS = 1_000
MAX_VIOLATION_BYTES = 4_000
"""Room for violations in a status. Statuses travel as HTTP/2 trailers, which many clients refuse over 8 KiB."""

_NO_RETRY = ("grpc-retry-pushback-ms", "-1")

_CLASSES: dict[grpc.StatusCode, type[WaybillError]] = {
    kind.code: kind
    for kind in (
        AlreadyExists,
        FailedPrecondition,
        InvalidArgument,
        NotFound,
        OutOfRange,
        ResourceExhausted,
        Unavailable,
    )
}
_CODES: dict[int, grpc.StatusCode] = {code.value[0]: code for code in grpc.StatusCode}


def to_status(error: WaybillError) -> status_pb2.Status:
    """The status of an error. Violations beyond what a trailer can carry are counted, not listed."""
    status = status_pb2.Status(code=error.code.value[0], message=_clipped(error.message, MAX_MESSAGE_CHARS))
    status.details.add().Pack(error_details_pb2.ErrorInfo(reason=error.reason, domain=DOMAIN))
    if isinstance(error, InvalidArgument) and error.violations:
        status.details.add().Pack(_bad_request(error.violations))
    return status


def to_grpc_status(error: WaybillError) -> grpc.Status:
    """The status of an error in the form that `context.abort_with_status` takes."""
    status = rpc_status.to_status(to_status(error))
    if error.reason == OUT_OF_TIME or isinstance(error.__cause__, grpc.aio.AioRpcError):
        # The call behind this one was repeated already; were every hop to repeat it, attempts would multiply.
        return status._replace(trailing_metadata=(*status.trailing_metadata, _NO_RETRY))
    return status


def from_rpc_error(error: grpc.aio.AioRpcError) -> WaybillError:
    """The error that a failed call carries. Never shows details of a transport or of a foreign server."""
    try:
        status = rpc_status.from_call(error)
    except ValueError:
        status = None
    info = error_details_pb2.ErrorInfo()
    bad_request = error_details_pb2.BadRequest()
    known = False
    for detail in status.details if status is not None else ():
        if detail.Is(info.DESCRIPTOR):
            detail.Unpack(info)
            known = info.domain == DOMAIN
        elif detail.Is(bad_request.DESCRIPTOR):
            detail.Unpack(bad_request)
    if known and status is not None:
        violations = [Violation(item.field, item.description) for item in bad_request.field_violations]
        return error_of(status.code, info.reason, status.message, violations)
    return _foreign(error)


def error_of(code: int, reason: str, message: str, violations: list[Violation]) -> WaybillError:
    """The error with this gRPC status code, reason, message and violations."""
    kind = _CLASSES.get(_CODES.get(code, grpc.StatusCode.UNKNOWN), WaybillError)
    if issubclass(kind, InvalidArgument):
        return kind(message, violations, reason=reason or None)
    return kind(message, reason=reason or None)


def _foreign(error: grpc.aio.AioRpcError) -> WaybillError:
    """The error for a status that no Waybill service made: the transport's, or a proxy's."""
    match error.code():
        case grpc.StatusCode.UNAVAILABLE:
            return Unavailable("a service behind this one cannot be reached; try again", reason="SERVICE_UNAVAILABLE")
        case grpc.StatusCode.DEADLINE_EXCEEDED | grpc.StatusCode.CANCELLED:
            return Unavailable("the call did not finish in time; try again", reason=OUT_OF_TIME)
        case grpc.StatusCode.RESOURCE_EXHAUSTED:
            return ResourceExhausted("a message is over the size that a service takes", reason="MESSAGE_TOO_LARGE")
        case _:
            return WaybillError("internal error")


def _bad_request(violations: tuple[Violation, ...]) -> error_details_pb2.BadRequest:
    bad_request = error_details_pb2.BadRequest()
    used = 0
    for listed, violation in enumerate(violations):
        field, description = _clipped(violation.field, 300), _clipped(violation.description, 1_000)
        used += len(field.encode()) + len(description.encode()) + 8
        if listed and used > MAX_VIOLATION_BYTES:
            bad_request.field_violations.add(
                field=field, description=f"... and {len(violations) - listed} more violations; mend these first"
            )
            break
        bad_request.field_violations.add(field=field, description=description)
    return bad_request


def _clipped(text: str, limit: int) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"
