"""Patches of plans as messages and as domain values."""

from __future__ import annotations

from waybill.api.v1 import task_pb2
from waybill.core.patch import Patch
from waybill.errors import InvalidPlan
from waybill.rpc.plans import step_violations, steps_from_proto, steps_to_proto


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
