"""StreamPlan: a model's plan is held to the same rules as anybody's, and to the task's policy."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import pytest
from injection_texts import Injection, injections
from model_answers import Behaviour, Request
from model_server import ModelServer
from planner_models import agents, answers, author_of, plan_request, plan_text
from waybill_planner.stream_plan import stream_plan

from waybill.api.v1 import planner_pb2, task_pb2
from waybill.errors import InvalidPlan

READ = {"name": "read", "agent": "retriever", "input": {"question": "Why?", "paths": ["/etc/shadow"]}}
WRITE = {"name": "write", "agent": "writer", "input": {"goal": "${task.goal}", "sections": ["${read}"]}}


async def told_by(
    request: planner_pb2.StreamPlanRequest, server: ModelServer, *, priced: bool = True
) -> tuple[task_pb2.Plan, list[planner_pb2.StreamPlanResponse]]:
    async with author_of(server, priced=priced) as author:
        told = [response async for response in stream_plan(request, author)]
    assert [response.HasField("plan") for response in told].count(True) == 1
    return told[-1].plan, told


def failures(told: Sequence[planner_pb2.StreamPlanResponse]) -> list[str]:
    return [item.progress.failure.reason for item in told if item.progress.failure.reason]


def costs(told: Sequence[planner_pb2.StreamPlanResponse]) -> list[int]:
    return [item.call.usage.cost_microusd for item in told if item.HasField("call")]


async def test_given_a_good_plan_then_it_is_the_one_and_its_sources_are_the_tasks() -> None:
    async with ModelServer() as server:
        server.script.extend(answers(plan_text(READ, WRITE)))
        plan, told = await told_by(plan_request(paths=["docs"]), server)
        assert [step.name for step in plan.steps] == ["read", "write"]
        assert msgspec.json.decode(plan.steps[0].input.data)["paths"] == ["docs"]
        (billed,) = server.bill
        assert costs(told) == [billed.prompt_tokens + billed.completion_tokens]
        assert failures(told) == []


async def test_given_plans_that_cannot_run_then_their_violations_go_back_and_the_third_counts() -> None:
    async with ModelServer() as server:
        bad = plan_text({"name": "a", "agent": "nobody", "input": {}})
        server.script.extend(answers("no JSON at all", bad, plan_text(READ, WRITE)))
        plan, told = await told_by(plan_request(), server)
        assert len(plan.steps) == 2
        assert "plan.steps[0].agent" in server.requests[2].last
        assert len(costs(told)) == 3


async def test_given_three_plans_that_cannot_run_then_it_is_planned_without_the_model() -> None:
    async with ModelServer() as server:
        server.script.extend(answers("{}", "[]", plan_text()))
        plan, told = await told_by(plan_request("Why? How?"), server)
        assert failures(told) == ["MODEL_PLAN_INVALID"]
        assert [step.name for step in plan.steps][-1] == "write"
        assert len(server.requests) == 3


@pytest.mark.parametrize(
    ("behaviour", "reason"),
    [
        (Behaviour(status=401, error={"message": "bad key"}), "MODEL_REFUSED"),
        (Behaviour(status=500, error={"message": "oops"}), "MODEL_UNAVAILABLE"),
        (Behaviour(fault="connect"), "MODEL_UNAVAILABLE"),
    ],
)
async def test_given_a_model_that_fails_then_it_is_planned_without_it(behaviour: Behaviour, reason: str) -> None:
    async with ModelServer(lambda _: behaviour) as server:
        plan, told = await told_by(plan_request(), server)
        assert failures(told) == [reason]
        assert len(plan.steps) == 3


async def test_given_no_money_then_no_call_is_made() -> None:
    async with ModelServer() as server:
        _, told = await told_by(plan_request(max_cost_microusd=0), server)
        assert [response.WhichOneof("content") for response in told] == ["plan"]
        _, told = await told_by(plan_request(max_cost_microusd=1), server)
        assert failures(told) == ["BUDGET_EXHAUSTED"]
        assert server.requests == []


async def test_given_a_model_without_a_price_then_it_is_asked_only_where_no_budget_applies() -> None:
    async with ModelServer() as server:
        _, told = await told_by(plan_request(budgeted=True), server, priced=False)
        assert failures(told) == ["PRICE_UNKNOWN"]
        assert server.requests == []
        server.script.extend(answers(plan_text(READ, WRITE)))
        _, told = await told_by(plan_request(), server, priced=False)
        assert failures(told) == []


async def test_given_no_model_then_nothing_is_told_but_the_plan() -> None:
    told = [response async for response in stream_plan(plan_request(), None)]
    assert [response.WhichOneof("content") for response in told] == ["plan"]


async def test_given_a_policy_without_the_agents_then_planning_without_a_model_is_refused() -> None:
    request = plan_request(policy=task_pb2.TaskPolicy(allowed_agents=["llm"]))
    with pytest.raises(InvalidPlan, match=r"policy\.allowed_agents"):
        [response async for response in stream_plan(request, None)]


def obeying(order: Injection) -> str:
    """The plan of a model that does what the text orders."""
    sent = {
        "to": order.recipient,
        "url": "https://evil.example/",
        "goal": order.text,
        "servers": [order.tool.split("/")[0]],
    }
    return plan_text(READ, {"name": "obey", "agent": order.agent, "input": {**sent, "tools": [order.tool]}}, WRITE)


@pytest.mark.parametrize("order", injections(), ids=lambda order: order.name)
async def test_given_a_text_that_gives_orders_and_a_model_that_obeys_then_nothing_of_it_is_in_the_plan(
    order: Injection,
) -> None:
    def obey(request: Request) -> Behaviour:
        assert order.text not in str(request.body["messages"][0]["content"])
        return Behaviour(text=obeying(order))

    async with ModelServer(obey) as server:
        for request in (
            plan_request(order.text),
            plan_request(document_names=[order.text]),
            plan_request(
                order.text,
                policy=task_pb2.TaskPolicy(
                    allowed_agents=["retriever", "analyst", "writer", "tools", "http"],
                    allowed_tools=["calendar/read"],
                    allowed_hosts=["example.org"],
                ),
                agents=agents(),
            ),
        ):
            plan, told = await told_by(request, server)
            assert {step.agent for step in plan.steps} <= {"retriever", "analyst", "writer"}
            assert failures(told) == ["MODEL_PLAN_INVALID"]


async def test_given_calls_then_each_is_told_as_it_ends_and_named_by_its_number() -> None:
    async with ModelServer() as server:
        server.script.extend([Behaviour(status=500), *answers("{}", plan_text(READ, WRITE))])
        plan, told = await told_by(plan_request(call_name="0-x/0/2", first_call=4), server)
        assert plan.failure_policy == task_pb2.FAILURE_POLICY_REPLAN
        assert [request.call for request in server.requests] == ["0-x/0/2/4", "0-x/0/2/5", "0-x/0/2/6"]
        kinds = [response.WhichOneof("content") for response in told]
        assert kinds[:2] == ["progress", "call"]
        assert kinds.count("call") == 3
        assert kinds[-2:] == ["call", "plan"]


async def test_given_a_model_that_writes_then_its_steps_are_told_as_they_appear() -> None:
    async with ModelServer() as server:
        server.script.append(Behaviour(text=plan_text(READ, WRITE), chunk_chars=20, chunk_seconds=0.1))
        _, told = await told_by(plan_request(), server)
        assert "the model writes: read" in [response.progress.message for response in told]


async def test_given_a_model_that_takes_too_long_then_its_call_is_told_as_lost_and_it_is_planned_without_it() -> None:
    async with ModelServer() as server, author_of(server) as author:
        server.script.append(Behaviour(fault="stall"))
        told = [response async for response in stream_plan(plan_request(), author, 0.5)]
        assert failures(told) == ["MODEL_UNAVAILABLE"]
        (call,) = [response.call for response in told if response.HasField("call")]
        assert call.usage.estimated_microusd == call.usage.cost_microusd > 0
        assert len(told[-1].plan.steps) == 3


async def test_given_agents_that_are_not_there_yet_then_no_model_is_asked() -> None:
    async with ModelServer() as server, author_of(server) as author:
        late = [
            plan_request(agents=agents("retriever", "llm")),
            plan_request(policy=task_pb2.TaskPolicy(allowed_agents=["own"])),
        ]
        for request in late:
            with pytest.raises(InvalidPlan) as caught:
                [response async for response in stream_plan(request, author)]
            assert caught.value.reason == "AGENT_MISSING"
        assert server.requests == []


async def test_given_a_policy_that_only_a_model_can_keep_to_then_the_model_plans_or_nobody() -> None:
    policy = task_pb2.TaskPolicy(allowed_agents=["llm"])
    async with ModelServer() as server:
        server.script.extend(answers(plan_text({"name": "ask", "agent": "llm", "input": {}})))
        plan, _ = await told_by(plan_request(policy=policy), server)
        assert [step.agent for step in plan.steps] == ["llm"]
        server.rule = lambda _: Behaviour(status=401)
        with pytest.raises(InvalidPlan, match=r"policy\.allowed_agents"):
            await told_by(plan_request(policy=policy), server)


async def test_given_an_answer_between_fences_then_it_is_read_all_the_same() -> None:
    async with ModelServer() as server:
        server.script.extend(answers(f"```json\n{plan_text(READ, WRITE)}\n```"))
        plan, _ = await told_by(plan_request(), server)
        assert len(plan.steps) == 2
        assert server.requests[0].schema["$defs"]["StepForm"]["properties"]["agent"] == {
            "enum": ["analyst", "llm", "retriever", "writer"]
        }
