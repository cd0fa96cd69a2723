"""RevisePlan: a plan that runs gets a patch, by a model if there is one, and what happens on the way is told."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace

from waybill.api.v1 import planner_pb2
from waybill.core.patch import Patch
from waybill.core.patching import KnownStep, link_patch
from waybill.errors import InvalidPlan
from waybill.rpc.budgets import policy_from_proto
from waybill.rpc.enums import STEP_STATE_FROM_PROTO
from waybill.rpc.events import failure_to_proto
from waybill.rpc.patches import patch_to_proto
from waybill_planner.author import Author, Cap
from waybill_planner.create_plan import schemas_of
from waybill_planner.forms import patch_of, patch_schema
from waybill_planner.given_sources import with_sources
from waybill_planner.permitted import permitted_agents, policy_violations
from waybill_planner.prompts import PATCH_RULES, patch_question


async def revise_plan(
    request: planner_pb2.RevisePlanRequest, author: Author | None, seconds: float | None = None
) -> AsyncIterator[planner_pb2.RevisePlanResponse]:
    """The messages of the stream, within about so many seconds; a patch is the last one, if there is any.

    Raises InvalidPlan for a wrong request.
    """
    known = _known(request)
    if author is None or request.max_cost_microusd <= 0:
        return
    policy = policy_from_proto(request.policy)
    agents = permitted_agents(schemas_of(request.agents), policy)

    def read(text: str) -> Patch | None:
        patch = patch_of(text)
        if patch is None:
            return None
        patch = replace(patch, steps=with_sources(patch.steps, request.paths))
        refused = policy_violations(patch.steps, policy, "patch.steps")
        if refused:
            raise InvalidPlan.of(refused)
        link_patch(patch, known, agents, policy, request.step)
        return patch

    cap = Cap(request.max_cost_microusd, request.budgeted, request.call_name, request.first_call, seconds)
    async for told in author.write(PATCH_RULES, patch_question(request, agents), patch_schema(agents), cap, read):
        if isinstance(told, planner_pb2.PlannerProgress):
            yield planner_pb2.RevisePlanResponse(progress=told)
        elif isinstance(told, planner_pb2.PlannerCall):
            yield planner_pb2.RevisePlanResponse(call=told)
        elif told.written is not None:
            yield planner_pb2.RevisePlanResponse(patch=patch_to_proto(told.written))
        elif told.failure is not None:
            why = planner_pb2.PlannerProgress(
                message="the model has no revision that can be used", failure=failure_to_proto(told.failure)
            )
            yield planner_pb2.RevisePlanResponse(progress=why)


def _known(request: planner_pb2.RevisePlanRequest) -> list[KnownStep]:
    positions = {planned.step.name: number for number, planned in enumerate(request.steps, 1)}
    with InvalidPlan.unless_fitting("steps", "each needs a name, a known state, and dependencies that are steps"):
        return [
            KnownStep(
                planned.step.name,
                STEP_STATE_FROM_PROTO[planned.state],
                tuple(positions[name] for name in planned.step.after),
                planned.dropped,
            )
            for planned in request.steps
        ]
