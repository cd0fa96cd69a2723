"""CreatePlan: a goal becomes a plan, a caller's plan is checked."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from waybill.api.v1 import planner_pb2, task_pb2
from waybill.core.budget import TaskPolicy
from waybill.core.limits import MAX_GOAL_BYTES, MAX_PATHS
from waybill.core.plan import AgentSchema, Plan
from waybill.core.validation import link
from waybill.errors import InvalidPlan, Violation
from waybill.rpc.linking import link_plan
from waybill.rpc.plans import plan_to_proto
from waybill_planner.goal_plan import AGENTS, plan_of_goal
from waybill_planner.questions import questions_of

AGENT_MISSING = "AGENT_MISSING"
"""Reason of a refusal that ends by itself, once workers announce the agents."""


def create_plan(request: planner_pb2.CreatePlanRequest) -> planner_pb2.CreatePlanResponse:
    """The response to a request. Takes up to seconds for the largest plans, and does not wait for anything.

    Raises `InvalidPlan`: PLAN_INVALID with every violation, or AGENT_MISSING if a goal needs agents that are not there.
    """
    agents = schemas_of(request.agents)
    has_plan = request.HasField("plan")
    if has_plan == bool(request.goal):
        raise InvalidPlan.of([Violation("goal", "exactly one of goal and plan is required; give one of them")])
    if has_plan:
        link_plan(request.plan, agents)
        return planner_pb2.CreatePlanResponse(plan=request.plan)
    check_goal(request.goal, request.paths)
    plan = plan_without_model(request.goal, request.paths, agents, TaskPolicy())
    return planner_pb2.CreatePlanResponse(plan=plan_to_proto(plan))


def plan_without_model(goal: str, paths: Sequence[str], agents: Mapping[str, AgentSchema], policy: TaskPolicy) -> Plan:
    """The plan of a goal that `check_goal` has passed.

    Raises InvalidPlan as `create_plan` does, also if the policy does not allow the agents that it needs.
    """
    refused = [name for name in AGENTS if not policy.allows_agent(name)]
    if refused:
        problem = f"does not name {', '.join(refused)}, which planning a goal without a model needs; add them"
        raise InvalidPlan.of([Violation("policy.allowed_agents", problem)])
    _check_agents(agents)
    plan = plan_of_goal(goal, paths)
    link(plan, agents)
    return plan


def schemas_of(agents: Iterable[task_pb2.Agent]) -> dict[str, AgentSchema]:
    """The agents of a request by name."""
    return {schema.name: schema for schema in map(_schema, agents)}


def _schema(agent: task_pb2.Agent) -> AgentSchema:
    return AgentSchema(
        name=agent.name.removeprefix("agents/"),
        description=agent.description,
        input_schema=agent.input_schema,
        output_schema=agent.output_schema,
        max_batch=agent.max_batch,
    )


def check_goal(goal: str, paths: Sequence[str]) -> None:
    """Raises InvalidPlan if there is nothing to plan, or too much."""
    violations: list[Violation] = []
    size_bytes = len(goal.encode())
    if size_bytes > MAX_GOAL_BYTES:
        limit = f"at most {MAX_GOAL_BYTES} are allowed; send long texts as documents"
        violations.append(Violation("goal", f"has {size_bytes} bytes, and {limit}"))
    elif not questions_of(goal):
        violations.append(Violation("goal", "holds no visible character; say in words what is to be found out"))
    if len(paths) > MAX_PATHS:
        violations.append(Violation("paths", f"has {len(paths)} entries, and at most {MAX_PATHS} are allowed"))
    if violations:
        raise InvalidPlan.of(violations)


def _check_agents(agents: Mapping[str, AgentSchema]) -> None:
    missing = [name for name in AGENTS if name not in agents]
    if missing:
        names = ", ".join(missing)
        raise InvalidPlan(
            f"planning a goal needs agents that no worker has announced: {names}; start a worker that serves them",
            [Violation("agents", f"no worker has announced agent {name}") for name in missing],
            reason=AGENT_MISSING,
        )
