"""Enums of the domain as enums of the contracts, and back."""

from __future__ import annotations

from waybill.api.v1 import task_pb2
from waybill.core.budget import BudgetAction
from waybill.core.plan import FailurePolicy
from waybill.core.schedule import CatchUp, FiringOutcome, Overlap
from waybill.core.task import CallState, EffectState, EventType, Priority, StepState, TaskState

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

FAILURE_POLICY_TO_PROTO: dict[FailurePolicy, task_pb2.FailurePolicy.ValueType] = {
    policy: task_pb2.FailurePolicy.Value(f"FAILURE_POLICY_{policy.name}") for policy in FailurePolicy
}
FAILURE_POLICY_FROM_PROTO: dict[int, FailurePolicy] = {
    task_pb2.FAILURE_POLICY_UNSPECIFIED: FailurePolicy.STOP,
    **{value: policy for policy, value in FAILURE_POLICY_TO_PROTO.items()},
}

BUDGET_ACTION_TO_PROTO: dict[BudgetAction, task_pb2.BudgetAction.ValueType] = {
    action: task_pb2.BudgetAction.Value(f"BUDGET_ACTION_{action.name}") for action in BudgetAction
}
BUDGET_ACTION_FROM_PROTO: dict[int, BudgetAction] = {
    task_pb2.BUDGET_ACTION_UNSPECIFIED: BudgetAction.STOP,
    **{value: action for action, value in BUDGET_ACTION_TO_PROTO.items()},
}

CALL_STATE_TO_PROTO: dict[CallState, task_pb2.ModelCallState.ValueType] = {
    state: task_pb2.ModelCallState.Value(f"MODEL_CALL_STATE_{state.name}") for state in CallState
}
CALL_STATE_FROM_PROTO: dict[int, CallState] = {value: state for state, value in CALL_STATE_TO_PROTO.items()}

EVENT_TYPE_TO_PROTO: dict[EventType, task_pb2.EventType.ValueType] = {
    kind: task_pb2.EventType.Value(f"EVENT_TYPE_{kind.name}") for kind in EventType
}
EVENT_TYPE_FROM_PROTO: dict[int, EventType] = {value: kind for kind, value in EVENT_TYPE_TO_PROTO.items()}

EFFECT_STATE_TO_PROTO: dict[EffectState, task_pb2.EffectState.ValueType] = {
    state: task_pb2.EffectState.Value(f"EFFECT_STATE_{state.name}") for state in EffectState
}
EFFECT_STATE_FROM_PROTO: dict[int, EffectState] = {value: state for state, value in EFFECT_STATE_TO_PROTO.items()}

OVERLAP_TO_PROTO: dict[Overlap, task_pb2.OverlapPolicy.ValueType] = {
    policy: task_pb2.OverlapPolicy.Value(f"OVERLAP_POLICY_{policy.name}") for policy in Overlap
}
OVERLAP_FROM_PROTO: dict[int, Overlap] = {
    task_pb2.OVERLAP_POLICY_UNSPECIFIED: Overlap.SKIP,
    **{value: policy for policy, value in OVERLAP_TO_PROTO.items()},
}

CATCH_UP_TO_PROTO: dict[CatchUp, task_pb2.CatchUpPolicy.ValueType] = {
    policy: task_pb2.CatchUpPolicy.Value(f"CATCH_UP_POLICY_{policy.name}") for policy in CatchUp
}
CATCH_UP_FROM_PROTO: dict[int, CatchUp] = {
    task_pb2.CATCH_UP_POLICY_UNSPECIFIED: CatchUp.LATEST,
    **{value: policy for policy, value in CATCH_UP_TO_PROTO.items()},
}

FIRING_OUTCOME_TO_PROTO: dict[FiringOutcome, task_pb2.FiringOutcome.ValueType] = {
    outcome: task_pb2.FiringOutcome.Value(f"FIRING_OUTCOME_{outcome.name}") for outcome in FiringOutcome
}
FIRING_OUTCOME_FROM_PROTO: dict[int, FiringOutcome] = {
    value: outcome for outcome, value in FIRING_OUTCOME_TO_PROTO.items()
}
