"""Submitting by a template: the planner makes the plan once, and the task stands whatever becomes of the template."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import grpc
import pytest
from waybill_planner.templates import Templates

from waybill.api.v1 import task_pb2

UNAVAILABLE = grpc.StatusCode.UNAVAILABLE.value[0]
NOT_FOUND = grpc.StatusCode.NOT_FOUND.value[0]


@pytest.fixture
async def folder(suite, tmp_path: Path) -> Path:
    """The planner's templates: `greet`, for an agent that a worker has announced."""
    await suite.announce("echo")
    suite.planner.templates = Templates(tmp_path)
    write(tmp_path)
    return tmp_path


def write(folder: Path, agent: str = "echo", steps: int = 1) -> None:
    plan = {
        "steps": [
            {"name": f"step-{number}", "agent": agent, "input": {"text": "Hello ${parameters.who}, ${task.input}"}}
            for number in range(steps)
        ]
    }
    template = {"name": "greet", "parameters": {"who": {"type": "string"}}, "required": ["who"], "plan": plan}
    (folder / "greet.json").write_text(json.dumps(template))


def parameters(**values: Any) -> task_pb2.Payload:
    return task_pb2.Payload(media_type="application/json", data=json.dumps(values).encode())


async def test_given_a_template_when_submitted_then_its_plan_runs(suite, folder) -> None:
    result = await suite.submit(template="greet", parameters=parameters(who="Ann ${task.goal}"))
    assert (result.task.state, result.task.template) == (task_pb2.TASK_STATE_RUNNING, "greet")
    steps = (await suite.call("ReadSteps", parent=result.task.name)).steps
    assert steps[0].input.data == b'{"text":"Hello Ann $${task.goal}, ${task.input}"}'
    assert await suite.run_steps(["echo"]) == 1


async def test_given_a_request_id_when_repeated_then_the_first_task_returns_whatever_became_of_the_template(
    suite, folder
) -> None:
    spec = {"template": "greet", "parameters": parameters(who="Ann")}
    first = await suite.submit(**spec, request_id="same")
    write(folder, steps=3)
    assert (await suite.submit(**spec, request_id="same")).task.name == first.task.name
    write(folder, agent="nobody")
    assert (await suite.submit(**spec, request_id="same")).task.name == first.task.name
    (folder / "greet.json").unlink()
    assert (await suite.submit(**spec, request_id="same")).task.name == first.task.name
    suite.planner.is_gone = True
    again = await suite.submit(**spec, request_id="same")
    assert (again.task.name, again.task.step_count) == (first.task.name, 1)
    assert len(suite.planner.expansions) == 1


async def test_given_a_request_id_when_reused_with_other_parameters_then_it_is_refused(suite, folder) -> None:
    await suite.submit(template="greet", parameters=parameters(who="Ann"), request_id="same")
    other = await suite.submit(template="greet", parameters=parameters(who="Bob"), request_id="same")
    assert other.refusal.reason == "REQUEST_ID_REUSED"


async def test_given_a_planner_that_is_away_then_the_same_call_succeeds_later_and_others_are_not_held_up(
    suite, folder
) -> None:
    spec = {"template": "greet", "parameters": parameters(who="Ann")}
    suite.planner.is_gone = True
    refused = await suite.submit(**spec, request_id="same")
    assert (refused.refusal.code, refused.refusal.reason) == (UNAVAILABLE, "PLANNER_UNAVAILABLE")
    assert (await suite.submit(goal="why?", request_id="other")).task.name
    suite.planner.is_gone = False
    first = await suite.submit(**spec, request_id="same")
    assert first.task.state == task_pb2.TASK_STATE_RUNNING
    assert (await suite.submit(**spec, request_id="same")).task.name == first.task.name


async def test_given_a_planner_that_is_stuck_then_its_callers_hear_of_it_and_may_repeat(
    start_suite, tmp_path: Path
) -> None:
    suite = await start_suite(planning_timeout_seconds=0.3)
    await suite.announce("echo")
    suite.planner.templates = Templates(tmp_path)
    write(tmp_path)
    suite.planner.is_stuck = True
    spec = {"template": "greet", "parameters": parameters(who="Ann")}
    refused = await suite.submit(**spec, request_id="same")
    assert (refused.refusal.code, refused.refusal.reason) == (UNAVAILABLE, "PLANNER_UNAVAILABLE")
    suite.planner.is_stuck = False
    assert (await suite.submit(**spec, request_id="same")).task.state == task_pb2.TASK_STATE_RUNNING


async def test_given_what_does_not_fit_then_every_reason_is_told_and_nothing_is_stored(suite, folder) -> None:
    wrong = (await suite.submit(template="greet", parameters=parameters(woh="Ann"), request_id="a")).refusal
    assert {violation.field for violation in wrong.violations} == {"parameters.woh", "parameters.who"}
    missing = (await suite.submit(template="gret", request_id="b")).refusal
    assert (missing.code, missing.reason) == (NOT_FOUND, "TEMPLATE_NOT_FOUND")
    assert "did you mean 'greet'" in missing.message
    write(folder, agent="nobody")
    unfit = (await suite.submit(template="greet", parameters=parameters(who="Ann"), request_id="c")).refusal
    assert (unfit.reason, unfit.violations[0].field) == ("PLAN_INVALID", "plan.steps[0].agent")
    assert (await suite.ledger.list_tasks("default", 10))[0] == []


async def test_given_a_goal_or_a_plan_then_a_template_is_only_a_name(suite, folder) -> None:
    plan = task_pb2.Plan(steps=[task_pb2.PlanStep(name="only", agent="echo")])
    for number, work in enumerate(({"goal": "why?"}, {"plan": plan})):
        result = await suite.submit(**work, template="nowhere", request_id=f"r{number}")
        assert result.task.template == "nowhere"
    assert suite.planner.expansions == []


async def test_given_a_policy_then_an_agent_of_a_template_has_to_be_allowed(suite, folder) -> None:
    policy = task_pb2.TaskPolicy(allowed_agents=["other"])
    refused = await suite.submit(template="greet", parameters=parameters(who="Ann"), policy=policy)
    assert "does not allow agent echo" in refused.refusal.message


async def test_given_templates_then_they_are_read_through_the_dispatcher(suite, folder) -> None:
    listed = (await suite.call("ReadTemplates")).templates
    assert [(template.name, template.plan) for template in listed] == [("templates/greet", "")]
    read = (await suite.call("ReadTemplates", name="templates/greet")).templates[0]
    assert json.loads(read.plan)["steps"][0]["agent"] == "echo"
    assert (await suite.refused("ReadTemplates", name="templates/gret"))[0] is grpc.StatusCode.NOT_FOUND
    suite.planner.is_gone = True
    assert (await suite.refused("ReadTemplates"))[0] is grpc.StatusCode.UNAVAILABLE
