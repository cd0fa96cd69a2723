"""An error is the same on the other side of a call."""

from __future__ import annotations

import grpc
import pytest
from google.rpc import error_details_pb2
from hypothesis import given
from hypothesis import strategies as st

from waybill import errors
from waybill.errors import InvalidArgument, InvalidPlan, Unavailable, Violation, WaybillError
from waybill.rpc.status import from_rpc_error, to_grpc_status, to_status

KINDS = [
    errors.AlreadyExists,
    errors.FailedPrecondition,
    errors.InvalidArgument,
    errors.NotFound,
    errors.ResourceExhausted,
    errors.Unavailable,
]
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=50)


def rpc_error(status: grpc.Status) -> grpc.aio.AioRpcError:
    """The error that a client meets for a status."""
    trailing = grpc.aio.Metadata(*status.trailing_metadata)
    return grpc.aio.AioRpcError(status.code, grpc.aio.Metadata(), trailing, details=status.details)


@given(st.sampled_from(KINDS), TEXTS, st.from_regex(r"[A-Z][A-Z_]{1,20}", fullmatch=True))
def test_an_error_survives_the_wire(kind, message, reason):
    met = from_rpc_error(rpc_error(to_grpc_status(kind(message, reason=reason))))
    assert (type(met), met.message, met.reason) == (kind, message, reason)


@given(st.lists(st.builds(Violation, TEXTS, TEXTS), max_size=10))
def test_violations_survive_the_wire(violations):
    met = from_rpc_error(rpc_error(to_grpc_status(InvalidArgument("bad", violations))))
    assert isinstance(met, InvalidArgument)
    assert list(met.violations) == violations


@given(st.integers(1, 3_000), st.integers(0, 500))
def test_however_many_violations_there_are_the_status_fits_into_a_trailer(count, length):
    error = InvalidPlan.of([Violation(f"plan.steps[{n}].agent", "ä" * length) for n in range(count)])
    status = to_status(error)
    assert status.ByteSize() < 7_500
    bad_request = error_details_pb2.BadRequest()
    status.details[1].Unpack(bad_request)
    listed = len(bad_request.field_violations)
    if listed < count:
        assert f"{count - listed + 1} more" in bad_request.field_violations[-1].description


@pytest.mark.parametrize(
    ("code", "kind", "reason"),
    [
        (grpc.StatusCode.UNAVAILABLE, Unavailable, "SERVICE_UNAVAILABLE"),
        (grpc.StatusCode.DEADLINE_EXCEEDED, Unavailable, "DEADLINE_EXCEEDED"),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, errors.ResourceExhausted, "MESSAGE_TOO_LARGE"),
        (grpc.StatusCode.UNKNOWN, WaybillError, "INTERNAL"),
    ],
)
def test_what_a_transport_says_is_never_shown(code, kind, reason):
    error = grpc.aio.AioRpcError(code, grpc.aio.Metadata(), grpc.aio.Metadata(), details="connect to 10.0.0.1")
    met = from_rpc_error(error)
    assert (type(met), met.reason) == (kind, reason)
    assert "10.0.0.1" not in met.message


def test_what_was_tried_again_already_is_not_to_be_repeated_by_policy():
    repeated = Unavailable("away")
    repeated.__cause__ = rpc_error(to_grpc_status(Unavailable("away")))
    assert ("grpc-retry-pushback-ms", "-1") in to_grpc_status(repeated).trailing_metadata
    assert len(to_grpc_status(Unavailable("away")).trailing_metadata) == 1
