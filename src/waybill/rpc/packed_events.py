"""Events on the wire, without a message in between: `events.event_to_proto` says the same."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from operator import attrgetter

from waybill.api.v1 import task_pb2
from waybill.core.task import Event
from waybill.rpc.enums import EVENT_TYPE_TO_PROTO, STEP_STATE_TO_PROTO, TASK_STATE_TO_PROTO
from waybill.rpc.events import failure_to_proto, usage_to_proto
from waybill.rpc.wire import sized, sized_time, tag, varint

_TEXT_NAMES = ("step", "agent", "worker", "message", "text", "model")
_NUMBER_NAMES = (
    "attempt",
    "revision",
    "step_count",
    "delay_ms",
    "wait_ms",
    "run_ms",
    "elapsed_ms",
    "text_offset",
    "call",
)
_texts, _numbers = attrgetter(*_TEXT_NAMES), attrgetter(*_NUMBER_NAMES)
_TEXTS = tuple(tag(task_pb2.TaskEvent, name) for name in _TEXT_NAMES)
_NUMBERS = tuple(tag(task_pb2.TaskEvent, name) for name in _NUMBER_NAMES)
_SEQUENCE, _TIME, _FAILURE, _USAGE = (
    tag(task_pb2.TaskEvent, name) for name in ("sequence", "time", "failure", "usage")
)
_FRACTION = varint(task_pb2.TaskEvent.FRACTION_FIELD_NUMBER << 3 | 1)
_DIGEST = varint(task_pb2.TaskEvent.DIGEST_FIELD_NUMBER << 3 | 5)
_fixed32, _double = struct.Struct("<I").pack, struct.Struct("<d").pack


def _enum(field: str, numbers: Iterable[tuple[object, int]]) -> dict[object, bytes]:
    """What stands for each value of an enum."""
    return {value: tag(task_pb2.TaskEvent, field) + varint(number) for value, number in numbers}


_TYPES = _enum("type", EVENT_TYPE_TO_PROTO.items())
_STATES = _enum("state", TASK_STATE_TO_PROTO.items()) | {None: b""}
_STEP_STATES = _enum("step_state", STEP_STATE_TO_PROTO.items()) | {None: b""}


def packed_event(event: Event) -> bytes:
    """A TaskEvent on the wire."""
    parts = [_SEQUENCE, varint(event.sequence), _TIME, sized_time(event.time_ms), _TYPES[event.type]]
    parts += (_STATES[event.state], _STEP_STATES[event.step_state], _DIGEST, _fixed32(event.digest))
    for field, text in zip(_TEXTS, _texts(event), strict=True):
        if text:
            parts += (field, sized(text.encode()))
    for field, number in zip(_NUMBERS, _numbers(event), strict=True):
        if number:
            parts += (field, varint(number))
    if event.fraction is not None:
        parts += (_FRACTION, _double(event.fraction))
    failure, usage = failure_to_proto(event.failure), usage_to_proto(event.usage)
    if failure is not None:
        parts += (_FAILURE, sized(failure.SerializeToString()))
    if usage is not None:
        parts += (_USAGE, sized(usage.SerializeToString()))
    return b"".join(parts)


def packed_events(field: bytes, events: Iterable[Event]) -> bytes:
    """A message of nothing but events, in the field of this tag."""
    return b"".join([part for event in events for part in (field, sized(packed_event(event)))])
