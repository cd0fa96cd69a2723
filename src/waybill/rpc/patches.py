"""Patches of plans, and what a task may do, as messages and as domain values."""

from __future__ import annotations

from waybill.api.v1 import task_pb2
from waybill.core.budget import TaskPolicy
from waybill.core.patch import Patch
from waybill.errors import InvalidPlan
from waybill.rpc.plans import step_violations, steps_from_proto, steps_to_proto

_POLICY = TaskPolicy()


def patch_from_proto(patch: task_pb2.PlanPatch) -> Patch:
    """The patch, defaults filled in. Raises `InvalidPlan` with what is wrong with payloads, policies and times."""
    violations = step_violations(patch.steps, "patch.steps")
    if violations:
        raise InvalidPlan.of(violations)
    return Patch(steps_from_proto(patch.steps), tuple(patch.drop), dict(patch.substitutes), patch.reason)


def patch_to_proto(patch: Patch) -> task_pb2.PlanPatch:
    """The patch as a message."""
    return task_pb2.PlanPatch(
        steps=steps_to_proto(patch.steps), drop=patch.drop, substitutes=dict(patch.substitutes), reason=patch.reason
    )


def policy_from_proto(policy: task_pb2.TaskPolicy) -> TaskPolicy:
    """What a task may do, defaults filled in."""
    return TaskPolicy(
        allowed_agents=tuple(policy.allowed_agents),
        allowed_tools=tuple(policy.allowed_tools),
        allowed_hosts=tuple(policy.allowed_hosts),
        allowed_recipients=tuple(policy.allowed_recipients),
        max_revisions=policy.max_revisions if policy.HasField("max_revisions") else _POLICY.max_revisions,
        max_added_steps=policy.max_added_steps if policy.HasField("max_added_steps") else _POLICY.max_added_steps,
    )


def policy_to_proto(policy: TaskPolicy) -> task_pb2.TaskPolicy:
    """What a task may do, as a message, every field set."""
    return task_pb2.TaskPolicy(
        allowed_agents=policy.allowed_agents,
        allowed_tools=policy.allowed_tools,
        allowed_hosts=policy.allowed_hosts,
        allowed_recipients=policy.allowed_recipients,
        max_revisions=policy.max_revisions,
        max_added_steps=policy.max_added_steps,
    )
