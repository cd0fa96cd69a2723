"""Linking a plan as its author sent it: every violation of its fields and of what they mean together, at once."""

from __future__ import annotations

import re
from collections.abc import Mapping

from waybill.api.v1 import task_pb2
from waybill.core.budget import TaskPolicy
from waybill.core.limits import MAX_PLAN_STEPS
from waybill.core.plan import AgentSchema, Graph, Plan
from waybill.core.validation import link
from waybill.errors import InvalidPlan, Violation
from waybill.rpc.enums import FAILURE_POLICY_FROM_PROTO
from waybill.rpc.plans import plan_from_proto, plan_violations, steps_from_proto

_DEFECTIVE_FIELD = re.compile(
    r"plan\.steps\[(\d+)\]\.(?:(input|retry|run_timeout_ms|queue_timeout_ms|when|limits)|question\.(timeout_ms|default_answer))"
)


def link_plan(
    plan: task_pb2.Plan, agents: Mapping[str, AgentSchema], policy: TaskPolicy | None = None, *, closed: bool = True
) -> Graph:
    """The plan with its edges. Raises `InvalidPlan` with every violation, also of what the task's policy allows.

    Unless `closed`, there may be other agents than those that are given.
    """
    defects = plan_violations(plan)
    refused = _refused_agents(plan, agents, policy) if policy is not None else []
    if not defects and not refused:
        return link(
            Plan(steps_from_proto(plan.steps), FAILURE_POLICY_FROM_PROTO[plan.failure_policy]), agents, closed=closed
        )
    mended = _without_defects(plan, defects)
    if mended is None:
        raise InvalidPlan.of(sorted(defects + refused, key=_position))
    # A field that was taken out is reported once, as what was wrong with it, and not for being absent.
    reported = tuple(match[0] for defect in defects if (match := _DEFECTIVE_FIELD.match(defect.field)))
    try:
        link(plan_from_proto(mended), agents, closed=closed)
    except InvalidPlan as error:
        defects = defects + [item for item in error.violations if not item.field.startswith(reported)]
    raise InvalidPlan.of(sorted(defects + refused, key=_position))


def _refused_agents(plan: task_pb2.Plan, agents: Mapping[str, AgentSchema], policy: TaskPolicy) -> list[Violation]:
    """Steps of agents that exist and that the policy does not allow; those that do not exist are told as such."""
    return [
        Violation(f"plan.steps[{position}].agent", f"the task's policy does not allow agent {step.agent}")
        for position, step in enumerate(plan.steps[:MAX_PLAN_STEPS])
        if step.agent in agents and not policy.allows_agent(step.agent)
    ]


def _without_defects(plan: task_pb2.Plan, defects: list[Violation]) -> task_pb2.Plan | None:
    """The plan with defective fields at their defaults, so that the rest can be checked; None if it is too large."""
    mended = task_pb2.Plan()
    mended.CopyFrom(plan)
    for defect in defects:
        match = _DEFECTIVE_FIELD.match(defect.field)
        if match is None and defect.field != "plan.failure_policy":
            return None
        if match is None:
            mended.ClearField("failure_policy")
        elif match[2]:
            mended.steps[int(match[1])].ClearField(match[2])  # type: ignore[arg-type]
        else:
            mended.steps[int(match[1])].question.ClearField(match[3])  # type: ignore[arg-type]
    return mended


def _position(violation: Violation) -> int:
    """The step that a violation is about, so that a step's violations stand together; the plan's own come last."""
    number = re.match(r"plan\.steps\[(\d+)\]", violation.field)
    return int(number[1]) if number else MAX_PLAN_STEPS
