"""StreamPlan: a goal becomes a plan, by a model if there is one, and what happens on the way is told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

from waybill.api.v1 import planner_pb2
from waybill.core.plan import FailurePolicy, Plan
from waybill.core.task import Failure
from waybill.core.validation import link
from waybill.errors import InvalidPlan
from waybill.rpc.budgets import policy_from_proto
from waybill.rpc.plans import plan_to_proto
from waybill_planner.author import Answer, Author, Cap, fallen_back
from waybill_planner.create_plan import AGENT_MISSING, check_goal, plan_without_model, schemas_of
from waybill_planner.forms import plan_of, plan_schema
from waybill_planner.given_sources import with_sources
from waybill_planner.permitted import permitted_agents, policy_violations
from waybill_planner.prompts import PLAN_RULES, plan_question


async def stream_plan(
    request: planner_pb2.StreamPlanRequest, author: Author | None, seconds: float | None = None
) -> AsyncIterator[planner_pb2.StreamPlanResponse]:
    """The messages of the stream, the plan last, within about so many seconds.

    Raises InvalidPlan as `create_plan` does. What that needs is looked at first: a model is asked in vain otherwise.
    """
    check_goal(request.goal, request.paths)
    plan = await asyncio.to_thread(_without_model, request)
    if author is not None and request.max_cost_microusd > 0:
        async for content in _by_model(request, author, seconds):
            yield content
            if content.HasField("plan"):
                return
    if isinstance(plan, InvalidPlan):
        raise plan
    yield planner_pb2.StreamPlanResponse(plan=plan_to_proto(plan))


async def _by_model(
    request: planner_pb2.StreamPlanRequest, author: Author, seconds: float | None
) -> AsyncIterator[planner_pb2.StreamPlanResponse]:
    """What the model comes to; without a plan at the end where it comes to none."""
    policy = policy_from_proto(request.policy)
    agents = permitted_agents(schemas_of(request.agents), policy)
    if not agents:
        names = ", ".join(policy.allowed_agents)
        raise InvalidPlan(f"no worker has announced an agent that the task may use: {names}", reason=AGENT_MISSING)

    def read(text: str) -> Plan:
        plan = plan_of(text)
        plan = replace(plan, steps=with_sources(plan.steps, request.paths))
        refused = policy_violations(plan.steps, policy, "plan.steps")
        if refused:
            raise InvalidPlan.of(refused)
        link(plan, agents)
        return replace(plan, failure_policy=FailurePolicy.REPLAN)

    cap = Cap(request.max_cost_microusd, request.budgeted, request.call_name, request.first_call, seconds)
    async for told in author.write(PLAN_RULES, plan_question(request, agents), plan_schema(agents), cap, read):
        if isinstance(told, planner_pb2.PlannerProgress):
            yield planner_pb2.StreamPlanResponse(progress=told)
        elif isinstance(told, planner_pb2.PlannerCall):
            yield planner_pb2.StreamPlanResponse(call=told)
        else:
            yield _conclusion(told)


def _conclusion(answer: Answer[Plan]) -> planner_pb2.StreamPlanResponse:
    if answer.written is not None:
        return planner_pb2.StreamPlanResponse(plan=plan_to_proto(answer.written))
    return planner_pb2.StreamPlanResponse(progress=fallen_back(answer.failure or Failure("MODEL_PLAN_INVALID", "")))


def _without_model(request: planner_pb2.StreamPlanRequest) -> Plan | InvalidPlan:
    """The plan, or why the task's policy does not allow it. Raises InvalidPlan for all else."""
    agents, policy = schemas_of(request.agents), policy_from_proto(request.policy)
    try:
        return plan_without_model(request.goal, request.paths, agents, policy)
    except InvalidPlan as error:
        if error.reason == AGENT_MISSING:
            raise
        return error
