"""Tasks that begin later, as callers see them, and dispatchers that start them."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

from google.protobuf.timestamp_pb2 import Timestamp

from waybill.api.v1 import dispatcher_pb2, task_pb2

ONE = task_pb2.Plan(steps=[task_pb2.PlanStep(name="only", agent="echo")])
SCHEDULED = task_pb2.TASK_STATE_SCHEDULED


def later(seconds: float) -> Timestamp:
    """A time from now on, to the millisecond, as the store keeps it."""
    at = Timestamp()
    at.FromMilliseconds(int((time.time() + seconds) * 1000))
    return at


async def test_given_a_start_when_submitted_then_the_task_says_when_it_begins(suite) -> None:
    await suite.announce("echo")
    start = later(3600)
    accepted = (await suite.submit(plan=ONE, start_time=start, deadline_ms=60_000)).task
    assert accepted.state == SCHEDULED
    assert accepted.waiting_reason == f"begins at {start.ToJsonString()}"
    assert accepted.start_time == start
    assert not accepted.HasField("deadline_time")
    read = await suite.task(accepted.name)
    read.ClearField("archived")
    assert read == accepted
    metrics = (await suite.call("ReadTaskMetrics", name=accepted.name)).metrics
    assert (metrics.elapsed_ms, metrics.planning_ms, list(metrics.steps)) == (0, 0, [])
    assert list((await suite.call("ReadSteps", parent=accepted.name)).steps) == []


async def test_given_tasks_of_several_states_when_scheduled_ones_are_listed_then_no_others_are(suite) -> None:
    await suite.announce("echo")
    scheduled = (await suite.submit(plan=ONE, start_time=later(3600))).task
    await suite.submit(plan=ONE, request_id="r2")
    wanted = task_pb2.TaskFilter(states=[SCHEDULED])
    listed = (await suite.call("ReadTasks", filter=wanted)).tasks
    assert [(task.name, task.start_time) for task in listed] == [(scheduled.name, scheduled.start_time)]
    await suite.run_steps(["echo"])


async def test_given_a_start_soon_when_it_has_come_then_a_dispatcher_starts_the_task(suite) -> None:
    await suite.announce("echo")
    start = later(0.3)
    accepted = (await suite.submit(plan=ONE, start_time=start)).task
    begun = await suite.until(accepted.name, lambda seen: seen.state == task_pb2.TASK_STATE_RUNNING)
    assert begun.start_time.ToMilliseconds() >= start.ToMilliseconds()
    assert begun.step_count == 1
    assert await suite.run_steps(["echo"]) == 1
    events = await suite.events(accepted.name)
    assert [event.type for event in events].count(task_pb2.EVENT_TYPE_TASK_STARTED) == 1


async def test_given_a_goal_with_a_start_when_it_has_come_then_it_is_planned(suite) -> None:
    await suite.announce("echo")
    accepted = (await suite.submit(goal="why?", start_time=later(0.2))).task
    assert accepted.state == SCHEDULED
    await suite.until(accepted.name, lambda seen: seen.state == task_pb2.TASK_STATE_RUNNING)
    await suite.run_steps(["echo"])


async def test_given_a_start_that_has_passed_when_submitted_then_the_task_begins_at_once(suite) -> None:
    await suite.announce("echo")
    long_ago = Timestamp()
    long_ago.FromDatetime(datetime.now(UTC) - timedelta(days=40_000))
    for name, start in (("r1", later(-1)), ("r2", long_ago)):
        accepted = (await suite.submit(plan=ONE, start_time=start, request_id=name)).task
        assert accepted.state == task_pb2.TASK_STATE_RUNNING
        assert not accepted.HasField("start_time")
        assert await suite.run_steps(["echo"]) == 1


async def test_given_a_scheduled_task_when_it_is_cancelled_and_retried_then_it_runs_at_once(suite) -> None:
    await suite.announce("echo")
    task = (await suite.submit(plan=ONE, start_time=later(3600))).task
    cancel, retry = dispatcher_pb2.TASK_ACTION_CANCEL, dispatcher_pb2.TASK_ACTION_RETRY
    cancelled = (await suite.call("SteerTask", name=task.name, action=cancel, request_id="1")).task
    assert cancelled.state == task_pb2.TASK_STATE_CANCELLED
    retried = (await suite.call("SteerTask", name=task.name, action=retry, request_id="2")).task
    assert retried.state == task_pb2.TASK_STATE_RUNNING
    assert await suite.run_steps(["echo"]) == 1
