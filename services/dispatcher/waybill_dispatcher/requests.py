"""What requests say besides names: under which id a call may be repeated, and which tasks are meant."""

from __future__ import annotations

from google.protobuf.timestamp_pb2 import Timestamp

from waybill.api.v1 import task_pb2
from waybill.core.limits import REQUEST_ID
from waybill.core.task import TaskState
from waybill.errors import InvalidArgument
from waybill.ledger.records import Request, TaskFilter
from waybill.rpc.enums import TASK_STATE_FROM_PROTO

_LAST_MS = 2**53


def request_of(tenant: str, request_id: str) -> Request:
    """The request of a call that changes something. Raises InvalidArgument unless the id is one."""
    if not REQUEST_ID.fullmatch(request_id):
        raise InvalidArgument.of_field("request_id", "must be 1 to 128 visible ASCII characters")
    return Request(tenant, request_id)


def filter_of(message: task_pb2.TaskFilter) -> TaskFilter:
    """Which tasks are meant. Raises InvalidArgument for a state that is none."""
    until = message.create_time_until
    return TaskFilter(
        states=frozenset(_state(value) for value in message.states),
        labels=dict(message.labels),
        agent=message.agent,
        template=message.template,
        from_ms=_ms_at_or_after(message.create_time_from),
        # 0 stands for an open end, and nothing was accepted in the first millisecond.
        until_ms=max(1, _ms_at_or_after(until)) if message.HasField("create_time_until") else 0,
    )


def _state(value: int) -> TaskState:
    state = TASK_STATE_FROM_PROTO.get(value)
    if state is None:
        raise InvalidArgument.of_field("filter.states", f"holds {value}, which is no state of a task")
    return state


def _ms_at_or_after(time: Timestamp) -> int:
    """The first millisecond that is not before this time, within what every store can compare."""
    return min(max(0, time.seconds * 1000 - (-time.nanos // 1_000_000)), _LAST_MS)
