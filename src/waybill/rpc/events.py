"""Events: of the ledger as messages and back, and as the flat JSON that HTTP and the command line show."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp

from waybill.api.v1 import task_pb2
from waybill.core.task import Event, Failure, Usage
from waybill.rpc.enums import (
    EVENT_TYPE_FROM_PROTO,
    EVENT_TYPE_TO_PROTO,
    STEP_STATE_FROM_PROTO,
    STEP_STATE_TO_PROTO,
    TASK_STATE_FROM_PROTO,
    TASK_STATE_TO_PROTO,
)

_PLAIN = (
    "step",
    "attempt",
    "agent",
    "worker",
    "revision",
    "step_count",
    "message",
    "text",
    "delay_ms",
    "wait_ms",
    "run_ms",
    "elapsed_ms",
    "text_offset",
    "digest",
    "call",
    "model",
)
"""Fields that are the same in the domain, in messages and in JSON, unset when empty or 0."""


def event_to_proto(event: Event) -> task_pb2.TaskEvent:
    """The event as a message."""
    message = task_pb2.TaskEvent(
        sequence=event.sequence,
        time=timestamp(event.time_ms),
        type=EVENT_TYPE_TO_PROTO[event.type],
        fraction=event.fraction,
        failure=failure_to_proto(event.failure),
        usage=usage_to_proto(event.usage),
    )
    for name in _PLAIN:
        value = getattr(event, name)
        if value:
            setattr(message, name, value)
    if event.state is not None:
        message.state = TASK_STATE_TO_PROTO[event.state]
    if event.step_state is not None:
        message.step_state = STEP_STATE_TO_PROTO[event.step_state]
    return message


def event_from_proto(message: task_pb2.TaskEvent) -> Event:
    """The event of a message. Raises KeyError for a type that this release does not know."""
    return Event(
        type=EVENT_TYPE_FROM_PROTO[message.type],
        time_ms=epoch_ms(message.time),
        sequence=message.sequence,
        state=TASK_STATE_FROM_PROTO.get(message.state),
        step_state=STEP_STATE_FROM_PROTO.get(message.step_state),
        fraction=message.fraction if message.HasField("fraction") else None,
        failure=failure_from_proto(message.failure) if message.HasField("failure") else None,
        usage=usage_from_proto(message.usage) if message.HasField("usage") else None,
        **{name: getattr(message, name) for name in _PLAIN},
    )


def event_to_json(message: task_pb2.TaskEvent) -> dict[str, Any]:
    """The event as flat JSON: sequence, time and type, and of the other fields those that are set."""
    kind = EVENT_TYPE_FROM_PROTO.get(message.type)
    shown: dict[str, Any] = {
        "sequence": message.sequence,
        "time": message.time.ToJsonString(),
        "type": kind.value if kind is not None else f"type_{message.type}",
    }
    for name in _PLAIN:
        value = getattr(message, name)
        if value:
            shown[name] = value
    if message.HasField("fraction"):
        shown["fraction"] = message.fraction
    if message.state in TASK_STATE_FROM_PROTO:
        shown["state"] = TASK_STATE_FROM_PROTO[message.state].value
    if message.step_state in STEP_STATE_FROM_PROTO:
        shown["step_state"] = STEP_STATE_FROM_PROTO[message.step_state].value
    if message.HasField("failure"):
        shown["failure"] = failure_to_json(message.failure)
    if message.HasField("usage"):
        shown["usage"] = usage_to_json(message.usage)
    return shown


def timestamp(epoch_ms: int) -> Timestamp:
    """A message's time from epoch milliseconds."""
    return Timestamp(seconds=epoch_ms // 1000, nanos=epoch_ms % 1000 * 1_000_000)


def timestamp_of(time: datetime) -> Timestamp:
    """A time as a message; one without a time zone is local. Raises TypeError, ValueError or OverflowError for none."""
    message = Timestamp()
    message.FromDatetime(time.astimezone(UTC))
    return message


def epoch_ms(time: Timestamp) -> int:
    """Epoch milliseconds of a message's time."""
    return time.seconds * 1000 + time.nanos // 1_000_000


def failure_to_proto(failure: Failure | None) -> task_pb2.Failure | None:
    """The failure as a message."""
    return None if failure is None else task_pb2.Failure(reason=failure.reason, message=failure.message)


def failure_from_proto(message: task_pb2.Failure) -> Failure:
    """The failure of a message."""
    return Failure(reason=message.reason, message=message.message)


def usage_to_proto(usage: Usage | None) -> task_pb2.Usage | None:
    """The usage as a message."""
    if usage is None:
        return None
    return task_pb2.Usage(**{name: getattr(usage, name) for name in Usage.__struct_fields__})


def usage_from_proto(message: task_pb2.Usage) -> Usage:
    """The usage of a message."""
    if not message.ByteSize():
        return _NO_USAGE
    return Usage(*(getattr(message, name) for name in Usage.__struct_fields__))


_NO_USAGE = Usage()


def failure_to_json(message: task_pb2.Failure) -> dict[str, str]:
    """The failure as JSON."""
    return {"reason": message.reason, "message": message.message}


def usage_to_json(message: task_pb2.Usage) -> dict[str, int]:
    """The usage as JSON, every field shown."""
    return {name: getattr(message, name) for name in Usage.__struct_fields__}
