"""RevisePlan: a model's patch is held to the plan that runs and to the task's policy; a bad one is none."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from injection_texts import Injection, injections
from model_answers import Behaviour
from model_server import ModelServer
from planner_models import agents, answers, author_of
from waybill_planner.revise_plan import revise_plan

from waybill.api.v1 import planner_pb2, task_pb2
from waybill.errors import InvalidPlan
from waybill.rpc.payloads import json_payload

FAILURE = task_pb2.Failure(reason="AGENT_ERROR", message="no such file")


def planned(name: str, state: str, *after: str, output: bytes = b"") -> planner_pb2.PlannedStep:
    return planner_pb2.PlannedStep(
        step=task_pb2.PlanStep(name=name, agent="llm", input=json_payload(b"{}"), after=after),
        state=task_pb2.StepState.Value(f"STEP_STATE_{state}"),
        output=json_payload(output) if output else None,
    )


def request_of(**fields: Any) -> planner_pb2.RevisePlanRequest:
    given: dict[str, Any] = {
        "goal": "Why?",
        "steps": [
            planned("bad", "FAILED"),
            planned("done", "SUCCEEDED", output=b'"x"'),
            planned("last", "PENDING", "bad"),
        ],
        "agents": agents(),
        "max_cost_microusd": 1_000_000,
        "failure": FAILURE,
        "step": "bad",
        **fields,
    }
    return planner_pb2.RevisePlanRequest(**given)


def patch_text(**fields: Any) -> str:
    return msgspec.json.encode({"steps": [], **fields}).decode()


OTHER = {"name": "other", "agent": "llm", "input": {"prompt": "${done}"}}
GOOD = patch_text(steps=[OTHER], substitutes=[{"old": "bad", "new": "other"}], reason="another way")


async def told_by(
    request: planner_pb2.RevisePlanRequest, server: ModelServer
) -> tuple[task_pb2.PlanPatch | None, list[planner_pb2.RevisePlanResponse]]:
    async with author_of(server) as author:
        told = [response async for response in revise_plan(request, author)]
    patches = [response.patch for response in told if response.HasField("patch")]
    return (patches[0] if patches else None), told


async def test_given_a_good_patch_then_it_is_the_last_message() -> None:
    async with ModelServer() as server:
        server.script.extend(answers(GOOD))
        patch, told = await told_by(request_of(), server)
        assert patch is not None
        assert (patch.steps[0].name, dict(patch.substitutes), patch.reason) == (
            "other",
            {"bad": "other"},
            "another way",
        )
        assert told[-1].HasField("patch")
        assert '"output":"\\"x\\""' in str(server.requests[0].body["messages"][1]["content"])


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        (patch_text(steps=[{**OTHER, "name": "done"}]), "patch.steps[0].name"),
        (patch_text(steps=[OTHER], drop=["done"]), "patch.drop[0]"),
        (patch_text(steps=[OTHER], substitutes=[{"old": "done", "new": "other"}]), "patch.substitutes.done"),
        (patch_text(steps=[{**OTHER, "after": ["bad"]}]), "patch.steps[0]"),
        (
            patch_text(steps=[{**OTHER, "after": ["last"]}], substitutes=[{"old": "bad", "new": "other"}]),
            "patch.steps[0]",
        ),
        (patch_text(steps=[{**OTHER, "agent": "python"}]), "patch.steps[0].agent"),
    ],
)
async def test_given_a_patch_that_does_not_fit_then_its_violations_go_back(wrong: str, field: str) -> None:
    async with ModelServer() as server:
        server.script.extend(answers(wrong, GOOD))
        patch, _ = await told_by(request_of(), server)
        assert patch is not None
        assert field in server.requests[1].last


async def test_given_nothing_to_change_or_nothing_usable_then_there_is_no_patch() -> None:
    async with ModelServer() as server:
        server.script.extend(answers(patch_text()))
        patch, told = await told_by(request_of(), server)
        assert (patch, [item.progress.failure.reason for item in told if item.progress.failure.reason]) == (None, [])
        server.script.extend(answers("x", "y", "z"))
        patch, told = await told_by(request_of(), server)
        assert (patch, told[-1].progress.failure.reason) == (None, "MODEL_PLAN_INVALID")


async def test_given_no_model_or_no_money_then_there_is_no_patch() -> None:
    assert [response async for response in revise_plan(request_of(), None)] == []
    async with ModelServer() as server:
        assert await told_by(request_of(max_cost_microusd=0), server) == (None, [])


async def test_given_steps_that_make_no_plan_then_the_request_is_refused() -> None:
    with pytest.raises(InvalidPlan):
        [response async for response in revise_plan(request_of(steps=[planned("a", "FAILED", "nobody")]), None)]


@pytest.mark.parametrize("order", injections(), ids=lambda order: order.name)
async def test_given_an_output_that_gives_orders_and_a_model_that_obeys_then_there_is_no_patch(
    order: Injection,
) -> None:
    obeyed = patch_text(steps=[{"name": "obey", "agent": order.agent, "input": {"to": order.recipient}}])
    steps = [planned("bad", "FAILED"), planned("done", "SUCCEEDED", output=msgspec.json.encode(order.text))]
    async with ModelServer(lambda _: Behaviour(text=obeyed)) as server:
        patch, told = await told_by(request_of(steps=steps), server)
        assert patch is None
        assert told[-1].progress.failure.reason == "MODEL_PLAN_INVALID"
        assert order.text not in str(server.requests[0].body["messages"][0]["content"])
