"""The planner's RPCs, each handed to the file of its verb."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from waybill.api.v1 import planner_pb2, planner_pb2_grpc
from waybill_planner.author import Author
from waybill_planner.create_plan import create_plan
from waybill_planner.revise_plan import revise_plan
from waybill_planner.stream_plan import stream_plan
from waybill_planner.templates import Templates

SERVICE_NAME: str = planner_pb2.DESCRIPTOR.services_by_name["PlannerService"].full_name

_REST_SECONDS = 10.0


class PlannerServicer(planner_pb2_grpc.PlannerServiceServicer):
    """`PlannerService`. Stateless, so calls may come in any order and number. `author` is there if a model is."""

    def __init__(
        self, author: Author | None = None, max_cost_microusd: int = 0, templates: Templates | None = None
    ) -> None:
        self._author = author
        self._templates = templates or Templates(None)
        self._max_cost_microusd = max_cost_microusd

    async def CreatePlan(self, request: planner_pb2.CreatePlanRequest, context: Any) -> planner_pb2.CreatePlanResponse:
        """Runs beside the loop, so that a large plan delays neither other calls nor health checks."""
        return await asyncio.to_thread(create_plan, request)

    async def StreamPlan(
        self, request: planner_pb2.StreamPlanRequest, context: Any
    ) -> AsyncIterator[planner_pb2.StreamPlanResponse]:
        """A plan, by a model if there is one."""
        async for response in stream_plan(request, self._author, _seconds_left(context)):
            yield response

    async def RevisePlan(
        self, request: planner_pb2.RevisePlanRequest, context: Any
    ) -> AsyncIterator[planner_pb2.RevisePlanResponse]:
        """A patch, by a model if there is one."""
        async for response in revise_plan(request, self._author, _seconds_left(context)):
            yield response

    async def DescribeTemplates(
        self, request: planner_pb2.DescribeTemplatesRequest, context: Any
    ) -> planner_pb2.DescribeTemplatesResponse:
        """The templates there are; files are read beside the loop."""
        return await asyncio.to_thread(self._templates.describe, request)

    async def ExpandTemplate(
        self, request: planner_pb2.ExpandTemplateRequest, context: Any
    ) -> planner_pb2.ExpandTemplateResponse:
        """A plan from a template; beside the loop, as above."""
        return await asyncio.to_thread(self._templates.expand, request)

    async def GetPlannerModel(
        self, request: planner_pb2.GetPlannerModelRequest, context: Any
    ) -> planner_pb2.GetPlannerModelResponse:
        """What plans."""
        if self._author is None:
            return planner_pb2.GetPlannerModelResponse()
        limits = self._author.limits
        return planner_pb2.GetPlannerModelResponse(
            model=self._author.provider_model,
            endpoint=self._author.endpoint,
            max_cost_microusd=self._max_cost_microusd if self._author.costs() else min(1, self._max_cost_microusd),
            max_concurrency=limits.max_concurrency,
            requests_per_minute=limits.requests_per_minute,
            tokens_per_minute=limits.tokens_per_minute,
        )


def _seconds_left(context: Any) -> float | None:
    """The time for a model, which leaves some to go on without it."""
    left_seconds = context.time_remaining()
    return None if left_seconds is None else max(left_seconds - _REST_SECONDS, left_seconds / 2)
