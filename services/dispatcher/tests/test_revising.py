"""Revising: a plan that met a failure gets a patch that fits it as it stands, or its task stops and says why."""

from __future__ import annotations

import asyncio
import json

import pytest
from planner_talks import MODEL, PlannerGone, call, patch, progress, tells

from waybill.api.v1 import planner_pb2, task_pb2
from waybill.core.limits import KIB
from waybill.core.task import CallState, Failure
from waybill.ledger.records import Outcome, Settlement

FAILED, SUCCEEDED = task_pb2.TASK_STATE_FAILED, task_pb2.TASK_STATE_SUCCEEDED
REPLAN = task_pb2.FAILURE_POLICY_REPLAN
LONG = json.dumps("x" * 20 * KIB).encode()


def step(name: str, *after: str, agent: str = "echo", **fields) -> task_pb2.PlanStep:
    return task_pb2.PlanStep(name=name, agent=agent, after=after, **fields)


def settle(grant) -> Settlement:
    """Steps of the agent `bad` fail for good, others succeed."""
    if grant.agent == "bad":
        return Settlement(grant.ref, Outcome.FAILED_FINALLY, failure=Failure("NO_WAY", "there is no way"), run_ms=1)
    return Settlement(grant.ref, Outcome.SUCCEEDED, LONG, run_ms=1)


async def failing(suite, talk, *, model=MODEL, **spec) -> str:
    """A task whose second step has failed; the third waits for it, the fourth for nobody's agent."""
    await suite.announce("echo", "bad", "idle")
    suite.planner.model, suite.planner.talk = model, talk
    steps = [step("read"), step("judge", "read", agent="bad"), step("write", "judge"), step("other", agent="idle")]
    plan = task_pb2.Plan(steps=steps, failure_policy=REPLAN)
    task = (await suite.submit(plan=plan, **spec)).task
    await suite.run_steps(["echo", "bad"], settle=settle)
    return str(task.name)


async def finish(suite, name: str):
    """The task at its end, every agent being there."""
    await suite.announce("echo", "bad", "idle")

    async def done() -> bool:
        await suite.run_steps(["echo", "bad", "idle"], settle=settle)
        return (await suite.task(name)).state in (FAILED, SUCCEEDED)

    async with asyncio.timeout(30):
        while not await done():
            await asyncio.sleep(0.02)
    return await suite.task(name)


async def states(suite, name: str) -> dict[str, str]:
    task_id = name.removeprefix("tasks/")
    record = await suite.ledger.task(task_id)
    return {item.name: item.state.value for item in await suite.ledger.steps(task_id, 1, record.step_count)}


async def test_given_a_patch_then_the_task_goes_on_and_the_planner_was_told_how_the_plan_stands(suite) -> None:
    talk = tells([progress("thinking"), call(700), patch(step("again", "read"), substitutes={"judge": "again"})])
    name = await failing(suite, talk)
    task = await finish(suite, name)
    assert (task.state, task.plan_revision, task.usage.cost_microusd) == (SUCCEEDED, 2, 700)
    assert await states(suite, name) == {
        "read": "succeeded",
        "judge": "failed",
        "write": "succeeded",
        "other": "succeeded",
        "again": "succeeded",
    }
    (asked,) = suite.planner.revisions
    shown = {planned.step.name: planned for planned in asked.steps}
    assert (asked.step, asked.failure.reason, asked.max_cost_microusd) == ("judge", "NO_WAY", 10_000)
    assert shown["judge"].state == task_pb2.STEP_STATE_FAILED
    assert shown["judge"].failure.message == "there is no way"
    assert list(shown["write"].step.after) == ["judge"]
    assert len(shown["read"].output.data) == 16 * KIB
    kinds = [event.type for event in await suite.events(name)]
    told = (
        task_pb2.EVENT_TYPE_REVISION_REQUESTED,
        task_pb2.EVENT_TYPE_PLANNING_PROGRESS,
        task_pb2.EVENT_TYPE_CALL_ENDED,
        task_pb2.EVENT_TYPE_PLAN_REVISED,
    )
    assert [kind for kind in kinds if kind in told] == list(told)


async def test_given_no_model_then_the_task_fails_as_its_step_did(suite) -> None:
    name = await failing(suite, None, model=planner_pb2.GetPlannerModelResponse())
    task = await finish(suite, name)
    assert (task.state, task.failure.reason) == (FAILED, "NO_WAY")
    assert (
        task.failure.message == "there is no way; the plan was not revised: the planner has no model to revise it with"
    )
    assert (await states(suite, name))["write"] == "cancelled"


@pytest.mark.parametrize(("reason", "why"), [("MODEL_PLAN_INVALID", "so it is"), ("", "the model found no other way")])
async def test_given_no_patch_then_the_task_fails_as_its_step_did(suite, reason: str, why: str) -> None:
    name = await failing(suite, tells([progress("no idea", reason), call(3)]))
    task = await finish(suite, name)
    assert (task.state, task.failure.reason, task.usage.cost_microusd) == (FAILED, "NO_WAY", 3)
    assert task.failure.message == f"there is no way; the plan was not revised: {why}"


async def test_given_a_spent_budget_then_the_task_fails_and_says_so(suite) -> None:
    await suite.ledger.set_tenant_budget("default", 10, 0)
    budget = task_pb2.Budget(max_cost_microusd=10)
    name = await failing(suite, tells([call(10), patch(step("next", agent="bad"))]), budget=budget)
    task = await finish(suite, name)
    assert (task.state, task.failure.reason, len(suite.planner.revisions)) == (FAILED, "NO_WAY", 1)
    assert "nothing is left of the budget" in task.failure.message


async def test_given_a_step_that_starts_while_it_is_dropped_then_the_planner_is_asked_again_about_the_new_plan(
    suite,
) -> None:
    asked, started = asyncio.Event(), asyncio.Event()

    async def talk(request):
        if not asked.is_set():
            asked.set()
            await started.wait()
            yield patch(step("new"), drop=["other"])
        else:
            yield call(5)
            yield patch(step("again"), substitutes={"judge": "again"})

    name = await failing(suite, talk)
    await asked.wait()
    await suite.announce("echo", "bad", "idle")
    assert await suite.run_steps(["idle"], settle=settle) == 1
    started.set()
    task = await finish(suite, name)
    assert task.state == SUCCEEDED
    first, second = suite.planner.revisions
    assert {item.step.name: item.state for item in first.steps}["other"] == task_pb2.STEP_STATE_READY
    assert {item.step.name: item.state for item in second.steps}["other"] == task_pb2.STEP_STATE_SUCCEEDED
    assert "new" not in await states(suite, name)


async def test_given_patches_that_never_fit_then_the_task_fails(suite) -> None:
    name = await failing(suite, tells([patch(step("read"))]))
    task = await finish(suite, name)
    assert task.state == FAILED
    assert "it changed each time" in task.failure.message
    assert len(suite.planner.revisions) == 3


async def test_given_a_planner_that_dies_then_the_rest_counts_as_spent_and_it_is_asked_again(suite) -> None:
    talk = tells([call(1_000), PlannerGone()], [call(500), patch(step("again"), substitutes={"judge": "again"})])
    name = await failing(suite, talk)
    task = await finish(suite, name)
    assert task.state == SUCCEEDED
    calls = await suite.ledger.calls(name.removeprefix("tasks/"))
    assert [(item.number, item.state, item.usage.cost_microusd) for item in calls] == [
        (1, CallState.SETTLED, 1_000),
        (2, CallState.ESTIMATED, 9_000),
        (3, CallState.SETTLED, 500),
    ]
    assert (task.usage.cost_microusd, task.usage.estimated_microusd) == (10_500, 9_000)


async def test_given_one_failure_after_another_then_revisions_come_to_an_end(suite) -> None:
    turns = iter(range(10))

    async def talk(request):
        yield patch(step(f"try-{next(turns)}", agent="bad"))

    name = await failing(suite, talk, policy=task_pb2.TaskPolicy(max_revisions=2))
    task = await finish(suite, name)
    assert (task.state, task.failure.reason, task.plan_revision) == (FAILED, "NO_WAY", 3)
    assert len(suite.planner.revisions) == 2
