"""Calls as bytes: any RPC, any body, any metadata, and what came back."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import grpc
from fuzz_suite import SERVICES, WORST_SECONDS, Service
from google.protobuf import descriptor as pb
from google.protobuf import descriptor_pool
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from hypothesis import strategies as st

from waybill.api.v1 import dispatcher_pb2, gateway_pb2, planner_pb2, worker_pb2  # noqa: F401 - into the pool
from waybill.rpc.caller import TENANT_KEY

BROKEN = (grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN)
STREAM_SECONDS = 0.2
"""How long a stream that may be endless is listened to."""

Metadata = tuple[tuple[str, str | bytes], ...]


def methods_of(kind: str) -> list[pb.MethodDescriptor]:
    """Every RPC of a service."""
    return list(descriptor_pool.Default().FindServiceByName(SERVICES[kind]).methods)


@dataclass(frozen=True)
class Answer:
    """How a call ended: code, what it said, the messages, unparsed, and the fields that it was refused for."""

    code: grpc.StatusCode
    details: str = ""
    messages: tuple[bytes, ...] = ()
    fields: tuple[str, ...] = ()


def call(service: Service, method: pb.MethodDescriptor, body: bytes, metadata: Metadata = ()) -> Answer:
    """One call of an RPC with this body. A stream is left after a moment, and then counts as OK."""
    path = f"/{method.containing_service.full_name}/{method.name}"
    options: dict[str, Any] = {"request_serializer": None, "response_deserializer": None}
    try:
        if method.server_streaming:
            return Answer(
                grpc.StatusCode.OK, "", _listen(service.channel.unary_stream(path, **options), body, metadata)
            )
        one = service.channel.unary_unary(path, **options)(body, timeout=WORST_SECONDS, metadata=metadata)
        return Answer(grpc.StatusCode.OK, "", (one,))
    except grpc.RpcError as error:
        return Answer(error.code(), error.details() or "", (), tuple(_fields_of(error)))


def _fields_of(error: grpc.RpcError) -> Iterator[str]:
    status = rpc_status.from_call(error)
    found = error_details_pb2.BadRequest()
    for detail in status.details if status is not None else ():
        if detail.Unpack(found):
            yield from (violation.field for violation in found.field_violations)


def _listen(open_stream: Any, body: bytes, metadata: Metadata) -> tuple[bytes, ...]:
    heard: list[bytes] = []
    try:
        heard.extend(open_stream(body, timeout=STREAM_SECONDS, metadata=metadata))
    except grpc.RpcError as error:
        if error.code() is not grpc.StatusCode.DEADLINE_EXCEEDED:
            raise
    return tuple(heard)


_KEYS = st.from_regex(r"\A[a-z0-9_.-]{1,20}\Z").filter(lambda key: not key.startswith(("grpc-", "te", ":")))
_PRINTABLE = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=30)


def metadata() -> st.SearchStrategy[Metadata]:
    """Metadata that a client may send: tenants good and bad, repeated, huge, binary, and strange trace contexts."""
    tenant = st.tuples(st.just(TENANT_KEY), st.sampled_from(["default", "other", "", "-", "a" * 65, "a b", "${a}"]))
    traceparent = st.tuples(st.just("traceparent"), _PRINTABLE | st.just("00-" + "f" * 32 + "-" + "f" * 16 + "-01"))
    plain = st.tuples(_KEYS.filter(lambda key: not key.endswith("-bin")), _PRINTABLE | st.just("x" * 6_000))
    binary = st.tuples(st.sampled_from([f"{TENANT_KEY}-bin", "x-bin", "traceparent-bin"]), st.binary(max_size=200))
    some = st.lists(tenant | traceparent | plain | binary, max_size=3).map(tuple)
    return st.just(()) | st.just(()) | some


@st.composite
def spoiled(draw: st.DrawFn, body: bytes) -> bytes:
    """A message with unknown fields, cut off, or not a message at all."""
    match draw(st.sampled_from(("unknown", "cut", "noise", "group", "deep", "huge length"))):
        case "unknown":
            return body + bytes([0xFA, 0x7F, 3]) + draw(st.binary(min_size=3, max_size=3))
        case "cut":
            return body[: draw(st.integers(0, len(body)))]
        case "group":
            return body + b"\x0b" * draw(st.integers(1, 2_000))
        case "deep":
            return _nested(body, draw(st.integers(1, 200)))
        case "huge length":
            return body + b"\x0a\xff\xff\xff\xff\x07" + struct.pack("<I", 1)
        case _:
            return draw(st.binary(max_size=200))


def _nested(body: bytes, levels: int) -> bytes:
    for _ in range(levels):
        size = len(body)
        length = bytes([size & 0x7F | 0x80, size >> 7 & 0x7F | 0x80, size >> 14])
        body = b"\x0a" + length + body if size < 2**21 else body
    return body
