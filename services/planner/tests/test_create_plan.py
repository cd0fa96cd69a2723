"""CreatePlan over gRPC."""

import json

import grpc
import pytest

from waybill.api.v1 import planner_pb2, planner_pb2_grpc, task_pb2
from waybill.core import limits
from waybill.errors import InvalidPlan
from waybill.rpc.status import from_rpc_error

Planner = planner_pb2_grpc.PlannerServiceStub

QUESTION = {"type": "object", "properties": {"question": {"type": "string"}}, "required": ["question"]}
AGENTS = [
    task_pb2.Agent(name="agents/retriever", input_schema=json.dumps(QUESTION)),
    task_pb2.Agent(name="agents/analyst", input_schema=json.dumps(QUESTION)),
    task_pb2.Agent(name="agents/writer", input_schema='{"type":"object","required":["goal","sections"]}'),
]


def step(name: str, agent: str = "retriever", text: str = '{"question":"why?"}', **fields: object) -> task_pb2.PlanStep:
    payload = task_pb2.Payload(media_type="application/json", data=text.encode())
    return task_pb2.PlanStep(name=name, agent=agent, input=payload, **fields)


async def refusal(planner: Planner, request: planner_pb2.CreatePlanRequest) -> InvalidPlan:
    """The error that a request must be refused with."""
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await planner.CreatePlan(request)
    assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    error = from_rpc_error(raised.value)
    assert hasattr(error, "violations")
    return error


async def violations(planner: Planner, *steps: task_pb2.PlanStep) -> dict[str, str]:
    request = planner_pb2.CreatePlanRequest(plan=task_pb2.Plan(steps=steps), agents=AGENTS)
    error = await refusal(planner, request)
    assert error.reason == "PLAN_INVALID"
    return {violation.field: violation.description for violation in error.violations}


async def test_a_goal_becomes_a_plan(planner: Planner) -> None:
    response = await planner.CreatePlan(
        planner_pb2.CreatePlanRequest(goal="What is a lease and how does it expire?", agents=AGENTS, paths=["docs"])
    )
    assert [planned.name for planned in response.plan.steps] == [
        "retrieve-1",
        "analyse-1",
        "retrieve-2",
        "analyse-2",
        "write",
    ]
    assert json.loads(response.plan.steps[2].input.data) == {"question": "How does a lease expire?", "paths": ["docs"]}
    assert response.plan.steps[0].input.media_type == "application/json"


async def test_a_plan_with_a_question_is_checked_and_comes_back_as_it_was(planner: Planner) -> None:
    asked = task_pb2.Question(prompt="Go on?", answer_schema='{"type":"object"}', timeout_ms=1_000)
    asked.default_answer.data = b"{}"
    plan = task_pb2.Plan(
        steps=[task_pb2.PlanStep(name="ask", question=asked), step("act", text='{"question":"${ask.why}"}')],
        failure_policy=task_pb2.FAILURE_POLICY_CONTINUE,
    )
    response = await planner.CreatePlan(planner_pb2.CreatePlanRequest(plan=plan, agents=AGENTS))
    assert response.plan == plan


async def test_what_is_wrong_with_questions_is_listed_with_all_else(planner: Planner) -> None:
    found = await violations(
        planner,
        step("both", question=task_pb2.Question(prompt="?", answer_schema="{")),
        task_pb2.PlanStep(name="late", question=task_pb2.Question(timeout_ms=-1), queue_timeout_ms=5, after=["gone"]),
        task_pb2.PlanStep(name="neither"),
    )
    assert list(found) == [
        "plan.steps[0].question",
        "plan.steps[0].question.answer_schema",
        "plan.steps[1].question.timeout_ms",
        "plan.steps[1].queue_timeout_ms",
        "plan.steps[1].question.prompt",
        "plan.steps[1].after[0]",
        "plan.steps[2].agent",
    ]


async def test_a_valid_plan_comes_back_as_it_was(planner: Planner) -> None:
    plan = task_pb2.Plan(
        steps=[
            step("a", text='{ "question" : "why?" }'),
            task_pb2.PlanStep(name="b", agent="writer", input=step("").input, after=["a"]),
        ]
    )
    plan.steps[1].input.data = b'{"goal":"${task.goal}","sections":["${a}"]}'
    response = await planner.CreatePlan(planner_pb2.CreatePlanRequest(plan=plan, agents=AGENTS))
    assert response.plan == plan


async def test_every_violation_is_listed_whatever_its_kind(planner: Planner) -> None:
    found = await violations(
        planner,
        step("a", after=["b"]),
        step("b", after=["a"]),
        step("c", text="{", after=["nowhere"]),
        step("d", text='{"question":5}', run_timeout_ms=-1),
        step("c", agent="retreiver"),
    )
    assert list(found) == [
        "plan.steps[0]",
        "plan.steps[2].input",
        "plan.steps[2].after[0]",
        "plan.steps[3].run_timeout_ms",
        "plan.steps[3].input.question",
        "plan.steps[4].name",
        "plan.steps[4].agent",
    ]
    assert "'a' -> 'b' -> 'a'" in found["plan.steps[0]"]
    assert "did you mean 'retriever'?; known agents: analyst, retriever, writer" in found["plan.steps[4].agent"]


async def test_a_plan_over_a_cap_names_the_cap(planner: Planner) -> None:
    steps = [step(f"s{number}") for number in range(limits.MAX_PLAN_STEPS + 1)]
    assert "10000" in (await violations(planner, *steps))["plan.steps"]


async def test_the_largest_plan_is_taken(planner: Planner) -> None:
    steps = [step(f"s{number}") for number in range(limits.MAX_PLAN_STEPS)]
    plan = task_pb2.Plan(steps=steps)
    response = await planner.CreatePlan(planner_pb2.CreatePlanRequest(plan=plan, agents=AGENTS))
    assert len(response.plan.steps) == limits.MAX_PLAN_STEPS


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (planner_pb2.CreatePlanRequest(agents=AGENTS), "goal"),
        (planner_pb2.CreatePlanRequest(agents=AGENTS, goal="why?", plan=task_pb2.Plan(steps=[step("a")])), "goal"),
        (planner_pb2.CreatePlanRequest(agents=AGENTS, goal=" \n\x00"), "goal"),
        (planner_pb2.CreatePlanRequest(agents=AGENTS, goal="é" * limits.MAX_GOAL_BYTES), "goal"),
        (planner_pb2.CreatePlanRequest(agents=AGENTS, goal="why?", paths=["docs"] * (limits.MAX_PATHS + 1)), "paths"),
        (planner_pb2.CreatePlanRequest(agents=AGENTS, plan=task_pb2.Plan()), "plan.steps"),
    ],
)
async def test_a_request_that_makes_no_sense_is_refused_with_its_field(
    planner: Planner, request_: planner_pb2.CreatePlanRequest, field: str
) -> None:
    error = await refusal(planner, request_)
    assert error.reason == "PLAN_INVALID"
    assert [violation.field for violation in error.violations] == [field]


async def test_a_goal_whose_agents_are_not_there_yet_is_told_apart(planner: Planner) -> None:
    error = await refusal(planner, planner_pb2.CreatePlanRequest(goal="why?", agents=AGENTS[:1]))
    assert error.reason == "AGENT_MISSING"
    assert "analyst, writer" in error.message


async def test_agents_of_the_right_name_and_the_wrong_input_make_the_plan_invalid(planner: Planner) -> None:
    wrong = task_pb2.Agent(name="writer", input_schema='{"type":"object","required":["style"]}')
    error = await refusal(planner, planner_pb2.CreatePlanRequest(goal="why?", agents=[*AGENTS[:2], wrong]))
    assert error.reason == "PLAN_INVALID"
    assert [violation.field for violation in error.violations] == ["plan.steps[2].input"]


async def test_words_of_a_goal_that_look_like_references_are_none(planner: Planner) -> None:
    goal = "What is ${task.input} or ${nowhere.x \u202e\x00 '$${' ?"
    response = await planner.CreatePlan(planner_pb2.CreatePlanRequest(goal=goal, agents=AGENTS))
    question = json.loads(response.plan.steps[0].input.data)["question"]
    assert question == "What is $${task.input} or $${nowhere.x \u202e '$$${' ?"


async def test_a_call_changes_nothing_so_it_can_be_repeated(planner: Planner) -> None:
    request = planner_pb2.CreatePlanRequest(goal="Compare Redis and Kafka on cost", agents=AGENTS)
    assert await planner.CreatePlan(request) == await planner.CreatePlan(request)
