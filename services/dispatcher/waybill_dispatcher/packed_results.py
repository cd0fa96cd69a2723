"""Results on the wire, made of what is stored without a message in between: `views.task_message` says the same.

What many tasks have in common, their goal, labels, policy and the like, is converted once and kept.
"""

from __future__ import annotations

from collections.abc import Iterable
from operator import attrgetter

import msgspec

from waybill.api.v1 import dispatcher_pb2, task_pb2
from waybill.core.limits import KIB
from waybill.core.task import Priority, TaskState, Usage
from waybill.ledger.ended import NO_USAGE, EndedTask
from waybill.ledger.unpacking import budget_of, failure_of, policy_of
from waybill.rpc.budgets import budget_to_proto, policy_to_proto
from waybill.rpc.enums import PRIORITY_TO_PROTO, TASK_STATE_TO_PROTO
from waybill.rpc.events import failure_to_proto
from waybill.rpc.payloads import JSON_MEDIA_TYPE
from waybill.rpc.wire import sized, sized_time, tag, varint

_MOST_KEPT = 512
_LARGEST_KEPT_BYTES = 8 * KIB

_NAME, _SEQUENCE, _OUTPUT, _FAILURE, _USAGE, _CREATED, _ENDED, _DEADLINE, _RESERVED, _STARTED = (
    tag(task_pb2.Task, name)
    for name in (
        *("name", "last_sequence", "output", "failure", "usage"),
        *("create_time", "end_time", "deadline_time", "reserved_microusd", "start_time"),
    )
)
_TASK, _RESULT_CURSOR = tag(task_pb2.TaskResult, "task"), tag(task_pb2.TaskResult, "cursor")
_RESULT, _CURSOR = (tag(dispatcher_pb2.StreamResultsResponse, name) for name in ("results", "cursor"))
_MEDIA_TYPE = tag(task_pb2.Payload, "media_type") + sized(JSON_MEDIA_TYPE.encode())
_DATA = tag(task_pb2.Payload, "data")
_UNUSED = _USAGE + sized(b"")
_PREFIX = b"tasks/"

_shared = attrgetter(
    *("state", "goal", "priority", "labels", "revision", "step_count", "open_step_count"),
    *("template", "max_cost_microusd", "on_limit", "policy"),
)
_kept: dict[tuple[bytes | str | int, ...], bytes] = {}


def packed_response(results: Iterable[bytes], cursor: bytes) -> bytes:
    """A StreamResultsResponse of packed results."""
    return b"".join((*results, _CURSOR, sized(cursor)))


def packed_result(task: EndedTask, output: bytes, cursor: bytes) -> bytes:
    """One result of a response. `output` is empty for a task that has none."""
    name = _PREFIX + task.id.encode()
    parts = [_common(task), _NAME, sized(name), _SEQUENCE, varint(task.last_sequence)]
    if output:
        payload = _MEDIA_TYPE + _DATA + varint(len(output)) + output
        parts += (_OUTPUT, varint(len(payload)), payload)
    parts += (_UNUSED if task.usage is NO_USAGE else _usage(task), _CREATED, sized_time(task.created_ms))
    if task.ended_ms:
        parts += (_ENDED, sized_time(task.ended_ms))
    if task.failure or task.deadline_at_ms or task.reserved_microusd or task.start_ms:
        parts.append(_rare(task))
    return packed_task(b"".join(parts), cursor)


def packed_task(task: bytes, cursor: bytes) -> bytes:
    """One result of a response, of a task that is a message on the wire already."""
    result = b"".join((_TASK, varint(len(task)), task, _RESULT_CURSOR, varint(len(cursor)), cursor))
    return b"".join((_RESULT, varint(len(result)), result))


def _common(task: EndedTask) -> bytes:
    """The fields that other tasks have too."""
    key = _shared(task)
    found = _kept.get(key)
    if found is None:
        found = _common_message(task).SerializeToString()
        if len(found) <= _LARGEST_KEPT_BYTES:
            if len(_kept) >= _MOST_KEPT:
                _kept.clear()
            _kept[key] = found
    return found


def _common_message(task: EndedTask) -> task_pb2.Task:
    return task_pb2.Task(
        state=TASK_STATE_TO_PROTO[TaskState(task.state)],
        goal=task.goal.decode(),
        priority=PRIORITY_TO_PROTO[Priority(task.priority)],
        labels=msgspec.json.decode(task.labels or b"{}", type=dict[str, str]),
        plan_revision=task.revision,
        step_count=task.step_count,
        ended_step_count=task.step_count - task.open_step_count,
        template=task.template.decode(),
        budget=budget_to_proto(budget_of(task.max_cost_microusd, task.on_limit)),
        policy=policy_to_proto(policy_of(task.policy)),
    )


def _usage(task: EndedTask) -> bytes:
    usage = task_pb2.Usage(**dict(zip(Usage.__struct_fields__, task.usage, strict=True)))
    return _USAGE + sized(usage.SerializeToString())


def _rare(task: EndedTask) -> bytes:
    """What few ended tasks have."""
    written = b""
    failure = failure_to_proto(failure_of(task.failure))
    if failure is not None:
        written += _FAILURE + sized(failure.SerializeToString())
    for field, time_ms in ((_DEADLINE, task.deadline_at_ms), (_STARTED, task.start_ms)):
        if time_ms:
            written += field + sized_time(time_ms)
    if task.reserved_microusd:
        written += _RESERVED + varint(task.reserved_microusd)
    return written
