"""Enums of the domain as enums of the contracts, and back."""

from __future__ import annotations

from waybill.api.v1 import task_pb2
from waybill.core.task import EventType, Priority, StepState, TaskState

TASK_STATE_TO_PROTO: dict[TaskState, task_pb2.TaskState.ValueType] = {
    state: task_pb2.TaskState.Value(f"TASK_STATE_{state.name}") for state in TaskState
}
TASK_STATE_FROM_PROTO: dict[int, TaskState] = {value: state for state, value in TASK_STATE_TO_PROTO.items()}

STEP_STATE_TO_PROTO: dict[StepState, task_pb2.StepState.ValueType] = {
    state: task_pb2.StepState.Value(f"STEP_STATE_{state.name}") for state in StepState
}
STEP_STATE_FROM_PROTO: dict[int, StepState] = {value: state for state, value in STEP_STATE_TO_PROTO.items()}

PRIORITY_TO_PROTO: dict[Priority, task_pb2.Priority.ValueType] = {
    priority: task_pb2.Priority.Value(f"PRIORITY_{priority.name}") for priority in Priority
}
PRIORITY_FROM_PROTO: dict[int, Priority] = {
    task_pb2.PRIORITY_UNSPECIFIED: Priority.NORMAL,
    **{value: priority for priority, value in PRIORITY_TO_PROTO.items()},
}

EVENT_TYPE_TO_PROTO: dict[EventType, task_pb2.EventType.ValueType] = {
    kind: task_pb2.EventType.Value(f"EVENT_TYPE_{kind.name}") for kind in EventType
}
EVENT_TYPE_FROM_PROTO: dict[int, EventType] = {value: kind for kind, value in EVENT_TYPE_TO_PROTO.items()}
