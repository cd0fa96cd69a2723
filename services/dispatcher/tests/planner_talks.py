"""What a planner with a model tells a dispatcher, for tests."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

from waybill.api.v1 import planner_pb2, task_pb2

MODEL = planner_pb2.GetPlannerModelResponse(model="gpt-x", endpoint="default", max_cost_microusd=10_000)
PLAN = {"plan": task_pb2.Plan(steps=[task_pb2.PlanStep(name="only", agent="echo")])}
Content = dict[str, Any]


class PlannerGone(Exception):
    """The planner dies in the middle of what it tells."""


def call(cost_microusd: int, model: str = "gpt-x") -> Content:
    usage = task_pb2.Usage(input_tokens=7, output_tokens=3, cost_microusd=cost_microusd)
    return {"call": planner_pb2.PlannerCall(model=model, endpoint="default", usage=usage)}


def progress(message: str, reason: str = "") -> Content:
    failure = task_pb2.Failure(reason=reason, message="so it is") if reason else None
    return {"progress": planner_pb2.PlannerProgress(message=message, failure=failure)}


def patch(*steps: task_pb2.PlanStep, **fields: Any) -> Content:
    return {"patch": task_pb2.PlanPatch(steps=steps, **fields)}


def tells(*turns: list[Content | BaseException]) -> Callable[[Any], AsyncIterator[Content]]:
    """Tells one list of contents a request, the last one for ever; an exception is raised in its place."""
    left = list(turns)

    async def talk(request: Any) -> AsyncIterator[Content]:
        for content in left.pop(0) if len(left) > 1 else left[0]:
            if isinstance(content, BaseException):
                raise content
            yield content

    return talk
