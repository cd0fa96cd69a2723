"""Refusals of single submissions of a batch: errors as messages, and back again."""

from __future__ import annotations

from waybill.api.v1 import gateway_pb2, task_pb2
from waybill.errors import InvalidArgument, Violation, WaybillError
from waybill.rpc.status import error_of


def refusal_of(error: WaybillError) -> gateway_pb2.SubmitRefusal:
    """The refusal that tells of an error, with all of its violations."""
    violations = error.violations if isinstance(error, InvalidArgument) else ()
    return gateway_pb2.SubmitRefusal(
        code=error.code.value[0],
        reason=error.reason,
        message=error.message,
        violations=[task_pb2.FieldViolation(field=item.field, description=item.description) for item in violations],
    )


def refused_error(refusal: gateway_pb2.SubmitRefusal) -> WaybillError:
    """The error that a refusal tells of."""
    violations = [Violation(item.field, item.description) for item in refusal.violations]
    return error_of(refusal.code, refusal.reason, refusal.message, violations)
