"""Planning: a goal gets its plan whatever happens to planner and dispatcher on the way."""

from __future__ import annotations

import asyncio

from waybill.api.v1 import dispatcher_pb2, task_pb2
from waybill.errors import InvalidPlan, Violation


async def read(suite, name: str):
    return (await suite.stub.ReadTask(dispatcher_pb2.ReadTaskRequest(name=name))).task


async def until(suite, name: str, reached) -> task_pb2.Task:
    """The task once `reached` holds of it."""
    async with asyncio.timeout(20):
        while not reached(task := await read(suite, name)):
            await asyncio.sleep(0.02)
    return task


async def test_given_a_goal_then_the_planner_is_asked_and_the_plan_runs(suite) -> None:
    await suite.announce("echo")
    task = (await suite.submit(goal="why?", paths=["notes"])).task
    assert task.state == task_pb2.TASK_STATE_PLANNING
    await until(suite, task.name, lambda seen: seen.state == task_pb2.TASK_STATE_RUNNING)
    assert suite.planner.asked[0].goal == "why?"
    assert list(suite.planner.asked[0].paths) == ["notes"]
    assert [agent.name for agent in suite.planner.asked[0].agents] == ["agents/echo"]
    await suite.run_steps(["echo"], b'"because"')
    done = await read(suite, task.name)
    assert done.state == task_pb2.TASK_STATE_SUCCEEDED
    assert done.output.data == b'"because"'


async def test_given_agents_that_are_not_there_yet_then_the_task_waits_and_says_so(suite) -> None:
    async def missing(request):
        raise InvalidPlan("no worker has announced agent writer yet", [], reason="AGENT_MISSING")

    suite.planner.answer = missing
    task = (await suite.submit(goal="why?")).task
    waiting = await until(suite, task.name, lambda seen: bool(seen.waiting_reason))
    assert waiting.state == task_pb2.TASK_STATE_PLANNING
    assert "writer" in waiting.waiting_reason


async def test_given_a_goal_that_no_plan_fits_then_the_task_fails_and_says_why(suite) -> None:
    async def refuse(request):
        raise InvalidPlan.of([Violation("goal", "is beyond me")])

    suite.planner.answer = refuse
    task = (await suite.submit(goal="why?")).task
    events = await suite.events(task.name)
    assert events[-1].state == task_pb2.TASK_STATE_FAILED
    assert (events[-1].failure.reason, "beyond me" in events[-1].failure.message) == ("PLAN_INVALID", True)


async def test_given_a_task_that_is_cancelled_while_it_is_planned_then_the_late_plan_is_dropped(suite) -> None:
    asked, answer = asyncio.Event(), asyncio.Event()

    async def slow(request):
        asked.set()
        await answer.wait()
        return task_pb2.Plan(steps=[task_pb2.PlanStep(name="only", agent="echo")])

    await suite.announce("echo")
    suite.planner.answer = slow
    task = (await suite.submit(goal="why?")).task
    await asked.wait()
    stopped = await suite.stub.SteerTask(
        dispatcher_pb2.SteerTaskRequest(name=task.name, action=dispatcher_pb2.TASK_ACTION_CANCEL, request_id="stop")
    )
    answer.set()
    assert stopped.task.state == task_pb2.TASK_STATE_CANCELLED
    assert await suite.run_steps(["echo"]) == 0
    assert (await read(suite, task.name)).step_count == 0
