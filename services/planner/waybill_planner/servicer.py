"""The planner's RPCs, each handed to the file of its verb."""

from __future__ import annotations

import asyncio
from typing import Any

from waybill.api.v1 import planner_pb2, planner_pb2_grpc
from waybill_planner.create_plan import create_plan

SERVICE_NAME: str = planner_pb2.DESCRIPTOR.services_by_name["PlannerService"].full_name


class PlannerServicer(planner_pb2_grpc.PlannerServiceServicer):
    """`PlannerService`. Stateless, so calls may come in any order and number."""

    async def CreatePlan(self, request: planner_pb2.CreatePlanRequest, context: Any) -> planner_pb2.CreatePlanResponse:
        """Runs beside the loop, so that a large plan delays neither other calls nor health checks."""
        return await asyncio.to_thread(create_plan, request)
