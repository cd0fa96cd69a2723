"""Accepting: a submission is stored once, or refused with every reason."""

from __future__ import annotations

import grpc

from waybill.api.v1 import dispatcher_pb2, task_pb2
from waybill.core.plan import FailurePolicy, Question

ECHO = [task_pb2.PlanStep(name="only", agent="echo")]


async def test_given_a_plan_when_submitted_then_it_runs_at_once(suite) -> None:
    await suite.announce("echo")
    result = await suite.submit(plan=task_pb2.Plan(steps=ECHO))
    assert result.task.state == task_pb2.TASK_STATE_RUNNING
    assert result.task.last_sequence == 3
    assert await suite.run_steps(["echo"]) == 1
    assert [event.sequence for event in await suite.events(result.task.name)] == [1, 2, 3, 4, 5, 6]


async def test_given_a_request_id_when_submitted_again_then_the_same_task_returns(suite) -> None:
    first = await suite.submit(goal="why?", request_id="same")
    again = await suite.submit(goal="why?", request_id="same")
    assert again.task.name == first.task.name


async def test_given_a_request_id_when_reused_for_another_goal_then_it_is_refused(suite) -> None:
    await suite.submit(goal="why?", request_id="same")
    other = await suite.submit(goal="how?", request_id="same")
    assert other.refusal.code == grpc.StatusCode.ALREADY_EXISTS.value[0]
    assert other.refusal.reason == "REQUEST_ID_REUSED"


async def test_given_the_same_request_id_of_another_tenant_then_it_is_another_task(suite) -> None:
    first = await suite.submit(goal="why?", request_id="same")
    other = await suite.submit(goal="why?", request_id="same", tenant="other")
    assert other.task.name != first.task.name


async def test_given_a_bad_plan_when_submitted_then_every_violation_is_listed_and_nothing_is_stored(suite) -> None:
    await suite.announce("echo")
    steps = [
        task_pb2.PlanStep(name="a", agent="echo", after=["b"]),
        task_pb2.PlanStep(name="b", agent="echo", after=["a"]),
        task_pb2.PlanStep(name="c", agent="nobody", run_timeout_ms=-1),
        task_pb2.PlanStep(name="d", agent="echo", after=["z"]),
    ]
    refusal = (await suite.submit(plan=task_pb2.Plan(steps=steps))).refusal
    assert refusal.reason == "PLAN_INVALID"
    fields = {violation.field for violation in refusal.violations}
    assert {"plan.steps[2].agent", "plan.steps[2].run_timeout_ms", "plan.steps[3].after[0]"} <= fields
    assert any("cycle" in violation.description for violation in refusal.violations)
    assert (await suite.ledger.list_tasks("default", 10))[0] == []


async def test_given_an_agent_announced_a_moment_ago_then_a_plan_may_name_it(suite) -> None:
    refused = await suite.submit(plan=task_pb2.Plan(steps=ECHO))
    assert refused.refusal.reason == "PLAN_INVALID"
    await suite.announce("echo")
    accepted = await suite.submit(plan=task_pb2.Plan(steps=ECHO))
    assert accepted.task.name
    await suite.run_steps(["echo"])


async def test_given_a_group_with_one_bad_submission_then_the_others_are_accepted(suite) -> None:
    specs = [task_pb2.TaskSpec(goal="one"), task_pb2.TaskSpec(), task_pb2.TaskSpec(goal="three")]
    request = dispatcher_pb2.CreateTasksRequest(
        submissions=[
            dispatcher_pb2.Submission(tenant="default", request_id=f"r{at}", spec=spec) for at, spec in enumerate(specs)
        ]
    )
    results = (await suite.stub.CreateTasks(request)).results
    assert [result.HasField("task") for result in results] == [True, False, True]
    assert results[1].refusal.reason == "INVALID_ARGUMENT"


async def test_given_a_deadline_a_template_and_a_question_when_submitted_then_the_store_has_them(suite) -> None:
    await suite.announce("echo")
    asked = task_pb2.Question(prompt="Send it?", answer_schema='{"type":"boolean"}', timeout_ms=60_000)
    asked.default_answer.data = b"false"
    steps = [*ECHO, task_pb2.PlanStep(name="approve", question=asked, after=["only"])]
    plan = task_pb2.Plan(steps=steps, failure_policy=task_pb2.FAILURE_POLICY_CONTINUE)
    accepted = (await suite.submit(plan=plan, deadline_ms=3_600_000, template="weekly")).task
    task = await suite.ledger.task(accepted.name.removeprefix("tasks/"))
    assert (task.deadline_at_ms - task.created_ms, task.template) == (3_600_000, "weekly")
    assert task.failure_policy is FailurePolicy.CONTINUE
    (step,) = await suite.ledger.steps(task.id, 2, 2)
    assert step.question == Question("Send it?", '{"type":"boolean"}', 60_000, b"false")
