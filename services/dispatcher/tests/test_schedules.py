"""Schedules over the dispatcher's RPCs: what is asked for is checked, kept, and fired, whoever asks twice."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from ledger_schedules import asked
from waybill_planner.templates import Templates

from waybill.api.v1 import dispatcher_pb2, task_pb2
from waybill.core.recurrence import Recurrence
from waybill.core.schedule import CatchUp, Overlap, Terms
from waybill.ledger.schedule_records import NewSchedule

PLAN = task_pb2.Plan(steps=[task_pb2.PlanStep(name="only", agent="echo")])
SPEC = task_pb2.TaskSpec(plan=PLAN, labels={"team": "crm"})
MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS

PAUSE = dispatcher_pb2.SCHEDULE_ACTION_PAUSE
RESUME = dispatcher_pb2.SCHEDULE_ACTION_RESUME
DELETE = dispatcher_pb2.SCHEDULE_ACTION_DELETE
TRIGGER = dispatcher_pb2.SCHEDULE_ACTION_TRIGGER


def schedule(name: str = "nightly", **fields: Any) -> task_pb2.Schedule:
    """A schedule that does not fire during a test, unless it is told otherwise."""
    given = {"spec": SPEC, **({} if "interval_ms" in fields else {"cron": "0 3 1 1 *"}), **fields}
    return task_pb2.Schedule(name=f"schedules/{name}", **given)


async def create(suite: Any, *, request_id: str = "c1", **fields: Any) -> Any:
    return (await suite.call("WriteSchedule", schedule=schedule(**fields), request_id=request_id)).schedule


async def steer(suite: Any, action: int, name: str = "nightly", request_id: str = "s1") -> Any:
    return await suite.call("SteerSchedule", name=f"schedules/{name}", action=action, request_id=request_id)


async def read(suite: Any, name: str = "nightly") -> Any:
    return (await suite.call("ReadSchedule", name=f"schedules/{name}")).schedule


async def until(suite: Any, reached: Callable[[Any], object], name: str = "nightly") -> Any:
    """The schedule once something holds of it."""
    async with asyncio.timeout(30):
        while not reached(found := await read(suite, name)):
            await asyncio.sleep(0.02)
    return found


def outcomes(found: Any) -> list[tuple[str, int]]:
    """What became of firings, newest first, and how many."""
    return [
        (task_pb2.FiringOutcome.Name(firing.outcome).removeprefix("FIRING_OUTCOME_").lower(), firing.count)
        for firing in found.firings
    ]


async def test_given_a_schedule_when_created_then_it_is_read_with_its_defaults(suite) -> None:
    await suite.announce("echo")
    made = await create(suite)
    assert (made.name, made.cron, made.time_zone) == ("schedules/nightly", "0 3 1 1 *", "UTC")
    assert made.overlap_policy == task_pb2.OVERLAP_POLICY_SKIP
    assert made.catch_up_policy == task_pb2.CATCH_UP_POLICY_LATEST
    assert made.catch_up_window_ms == 24 * HOUR_MS
    assert made.spec == SPEC
    assert made.next_time.seconds > made.create_time.seconds
    assert (await suite.call("ReadSchedules")).schedules == [made]
    assert (await suite.refused("ReadSchedule", name="schedules/nightly", tenant="other"))[0] is (
        grpc.StatusCode.NOT_FOUND
    )


async def test_given_a_request_id_when_created_again_then_nothing_changes_and_another_schedule_is_refused(
    suite,
) -> None:
    await suite.announce("echo")
    first = await create(suite, request_id="same")
    assert await create(suite, request_id="same") == first
    code, _ = await suite.refused("WriteSchedule", schedule=schedule(cron="1 1 1 1 *"), request_id="same")
    assert code is grpc.StatusCode.ALREADY_EXISTS
    code, message = await suite.refused("WriteSchedule", schedule=schedule(), request_id="new")
    assert code is grpc.StatusCode.ALREADY_EXISTS
    assert "choose another name" in message


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"cron": "0 0 30 2 *"}, "cron: "),
        ({"cron": "0 * * * * *"}, "cron: "),
        ({"interval_ms": 10}, "interval_ms: "),
        ({"time_zone": "Mars/Base"}, "time_zone: "),
        ({"catch_up_window_ms": 5}, "catch_up_window_ms: "),
        ({"overlap_policy": 77}, "overlap_policy: "),
        ({"catch_up_policy": 77}, "catch_up_policy: "),
        ({"end_time": Timestamp(seconds=1)}, "end_time: "),
        ({"begin_time": Timestamp(seconds=253402300800)}, "begin_time: "),
        ({"spec": None}, "spec: is required"),
        ({"spec": task_pb2.TaskSpec()}, "exactly one of goal"),
        ({"spec": task_pb2.TaskSpec(plan=task_pb2.Plan())}, "spec: "),
        ({"spec": task_pb2.TaskSpec(plan=PLAN, start_time=Timestamp(seconds=9))}, "spec.start_time: "),
        ({"spec": task_pb2.TaskSpec(plan=PLAN, input={"data": b"x" * 2**22})}, "over the limit"),
        ({"name": "Nightly"}, "there is no schedules/Nightly"),
    ],
)
async def test_given_a_bad_field_when_created_then_it_is_named_and_nothing_is_kept(
    suite, fields: dict[str, Any], told: str
) -> None:
    await suite.announce("echo")
    code, message = await suite.refused("WriteSchedule", schedule=schedule(**fields), request_id="r")
    assert code in (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND)
    assert told in message
    assert not (await suite.call("ReadSchedules")).schedules


async def test_given_a_plan_with_an_unknown_agent_when_created_then_it_is_refused_as_its_submission_would_be(
    suite,
) -> None:
    code, message = await suite.refused("WriteSchedule", schedule=schedule(), request_id="r")
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert "echo" in message


async def test_given_an_interval_when_time_passes_then_each_firing_is_one_task_with_the_label(suite) -> None:
    await suite.announce("echo")
    made = await create(suite, interval_ms=1_000, overlap_policy=task_pb2.OVERLAP_POLICY_ALLOW)
    found = await until(suite, lambda found: found.submitted_count >= 3)
    dues = [firing.due_time.ToMilliseconds() for firing in reversed(found.firings)]
    first = made.create_time.ToMilliseconds() + 1_000
    assert dues == [first + at * 1_000 for at in range(len(dues))]
    for firing in found.firings:
        task = await suite.task(firing.task)
        assert task.labels == {"team": "crm", "waybill.schedule": "nightly"}
    listed = await suite.call("ReadTasks", filter={"labels": {"waybill.schedule": "nightly"}})
    assert len(listed.tasks) >= 3
    await steer(suite, DELETE)


async def test_given_a_firing_that_waits_when_its_task_ends_then_it_is_made_at_once(suite) -> None:
    await suite.announce("echo")
    await create(suite, interval_ms=1_000, overlap_policy=task_pb2.OVERLAP_POLICY_QUEUE)
    await until(suite, lambda found: found.queued)
    await suite.run_steps(["echo"])
    await until(suite, lambda found: found.submitted_count == 2)
    await steer(suite, DELETE)


async def test_given_a_refused_submission_when_due_then_the_firing_failed_and_says_why(suite) -> None:
    await suite.announce("echo")
    await create(suite, interval_ms=1_000, overlap_policy=task_pb2.OVERLAP_POLICY_ALLOW)
    await suite.store.hdel("waybill:{0}:agents", "echo")
    found = await until(suite, lambda found: ("failed", 1) in outcomes(found))
    failure = next(firing.failure for firing in found.firings if firing.failure.reason)
    assert (failure.reason, "echo" in failure.message) == ("PLAN_INVALID", True)
    await suite.announce("echo")
    await until(suite, lambda found: found.submitted_count > 0 and found.firings[0].task)
    await steer(suite, DELETE)


async def test_given_a_template_when_due_then_its_plan_is_made_once_the_planner_can(suite, tmp_path: Path) -> None:
    await suite.announce("echo")
    suite.planner.templates = Templates(tmp_path)
    file = tmp_path / "greet.json"
    file.write_text('{"name": "greet", "plan": {"steps": [{"name": "only", "agent": "echo"}]}}')
    spec = task_pb2.TaskSpec(template="greet")
    await create(suite, interval_ms=1_000, overlap_policy=task_pb2.OVERLAP_POLICY_ALLOW, spec=spec)
    suite.planner.is_gone = True
    await asyncio.sleep(1.2)
    assert "failed" not in dict(outcomes(await read(suite)))
    suite.planner.is_gone = False
    found = await until(suite, lambda found: found.submitted_count)
    task = await suite.task(found.firings[-1].task)
    assert (task.template, task.step_count) == ("greet", 1)
    file.unlink()
    found = await until(suite, lambda found: ("failed", 1) in outcomes(found))
    assert {firing.failure.reason for firing in found.firings if not firing.task} == {"TEMPLATE_NOT_FOUND"}
    await steer(suite, DELETE)


@pytest.mark.parametrize(
    ("catch_up", "window_ms", "expected"),
    [
        (CatchUp.LATEST, 24 * HOUR_MS, [("submitted", 1), ("missed", 29)]),
        (CatchUp.NONE, 24 * HOUR_MS, [("missed", 30)]),
        (CatchUp.LATEST, 1_000, [("missed", 30)]),
        (CatchUp.ALL, 5 * MINUTE_MS, [("submitted", 1)] * 5 + [("missed", 25)]),
    ],
)
async def test_given_an_outage_when_a_dispatcher_looks_again_then_missed_firings_follow_the_policy(
    suite, catch_up: CatchUp, window_ms: int, expected: list[tuple[str, int]]
) -> None:
    await suite.announce("echo")
    now_ms = await suite.ledger.now_ms()
    anchor_ms = now_ms - 30 * MINUTE_MS - 30_000
    terms = Terms(Recurrence(interval_ms=MINUTE_MS, anchor_ms=anchor_ms), Overlap.ALLOW, catch_up, window_ms)
    request = asked()
    await suite.ledger.create_schedule(
        NewSchedule("default", "nightly", terms, SPEC.SerializeToString()),
        "same",
        paused=False,
        created_ms=anchor_ms,
        next_ms=anchor_ms + MINUTE_MS,
        request=type(request)("default", request.id),
    )
    found = await until(suite, lambda found: sum(firing.count for firing in found.firings) == 30)
    assert outcomes(found) == expected
    assert found.next_time.ToMilliseconds() == anchor_ms + 31 * MINUTE_MS
    await steer(suite, DELETE)


async def test_given_a_schedule_when_updated_then_all_but_its_pause_is_replaced(suite) -> None:
    await suite.announce("echo")
    made = await create(suite, paused=True)
    other = schedule(cron="", interval_ms=HOUR_MS, spec=task_pb2.TaskSpec(goal="why?"), paused=False)
    update = {"schedule": other, "replace": True, "request_id": "u1"}
    changed = (await suite.call("WriteSchedule", **update)).schedule
    assert (await suite.call("WriteSchedule", **update)).schedule == changed
    assert (changed.cron, changed.interval_ms, changed.spec.goal, changed.paused) == ("", HOUR_MS, "why?", True)
    assert changed.create_time == made.create_time
    assert not changed.HasField("next_time")
    code, _ = await suite.refused("WriteSchedule", schedule=schedule("other"), replace=True, request_id="u2")
    assert code is grpc.StatusCode.NOT_FOUND


async def test_given_a_schedule_when_paused_and_resumed_then_it_stops_and_goes_on(suite) -> None:
    await suite.announce("echo")
    await create(suite, interval_ms=1_000, overlap_policy=task_pb2.OVERLAP_POLICY_ALLOW)
    await until(suite, lambda found: found.submitted_count)
    paused = (await steer(suite, PAUSE)).schedule
    assert (paused.paused, paused.HasField("next_time")) == (True, False)
    await asyncio.sleep(1.5)
    assert (await read(suite)).submitted_count == paused.submitted_count
    resumed = (await steer(suite, RESUME, request_id="s2")).schedule
    assert resumed.next_time.ToMilliseconds() > resumed.update_time.ToMilliseconds()
    await until(suite, lambda found: found.submitted_count > paused.submitted_count)
    await steer(suite, DELETE, request_id="s3")


async def test_given_a_trigger_when_repeated_then_the_same_task_returns(suite) -> None:
    await suite.announce("echo")
    await create(suite, paused=True)
    first = (await steer(suite, TRIGGER)).task
    assert first.labels == {"team": "crm", "waybill.schedule": "nightly"}
    assert (await steer(suite, TRIGGER)).task.name == first.name
    other = (await steer(suite, TRIGGER, request_id="s2")).task
    assert other.name != first.name
    assert [(firing.task, firing.triggered) for firing in (await read(suite)).firings] == [
        (other.name, True),
        (first.name, True),
    ]


async def test_given_a_refused_submission_when_triggered_then_the_caller_hears_why(suite) -> None:
    await suite.announce("echo")
    await create(suite, paused=True)
    await suite.store.hdel("waybill:{0}:agents", "echo")
    await suite.call("ReadAgents")  # what was known of agents is read anew
    code, message = await suite.refused("SteerSchedule", name="schedules/nightly", action=TRIGGER, request_id="t")
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert "echo" in message


async def test_given_a_schedule_when_deleted_then_it_is_gone_and_its_tasks_go_on(suite) -> None:
    await suite.announce("echo")
    await create(suite, paused=True)
    task = (await steer(suite, TRIGGER)).task
    await steer(suite, DELETE, request_id="d")
    await steer(suite, DELETE, request_id="d")
    assert (await suite.refused("ReadSchedule", name="schedules/nightly"))[0] is grpc.StatusCode.NOT_FOUND
    code, _ = await suite.refused("SteerSchedule", name="schedules/nightly", action=DELETE, request_id="d2")
    assert code is grpc.StatusCode.NOT_FOUND
    assert (await suite.task(task.name)).state == task_pb2.TASK_STATE_RUNNING


async def test_given_many_schedules_when_listed_then_each_is_on_one_page_without_firings(suite) -> None:
    await suite.announce("echo")
    for at in range(5):
        await create(suite, name=f"s{at}", request_id=f"c{at}", paused=True)
    await steer(suite, TRIGGER, "s0")
    names, token = [], ""
    while True:
        page = await suite.call("ReadSchedules", page_size=2, page_token=token)
        assert not any(found.firings for found in page.schedules)
        names += [found.name for found in page.schedules]
        token = page.next_page_token
        if not token:
            break
    assert names == [f"schedules/s{at}" for at in range(5)]
    assert (await suite.refused("ReadSchedules", page_token="nonsense"))[0] is grpc.StatusCode.INVALID_ARGUMENT
    assert (await suite.refused("SteerSchedule", name="schedules/s0", request_id="x"))[0] is (
        grpc.StatusCode.INVALID_ARGUMENT
    )


async def test_given_two_dispatchers_when_firings_are_due_then_each_is_made_once(start_suite) -> None:
    suite, _other = await start_suite(), await start_suite()
    await suite.announce("echo")
    for at in range(4):
        await create(
            suite,
            name=f"s{at}",
            request_id=f"c{at}",
            interval_ms=1_000,
            overlap_policy=task_pb2.OVERLAP_POLICY_ALLOW,
        )
    for at in range(4):
        found = await until(suite, lambda found: found.submitted_count >= 4, f"s{at}")
        dues = [firing.due_time.ToMilliseconds() for firing in reversed(found.firings)]
        assert dues == [dues[0] + number * 1_000 for number in range(len(dues))]
        await steer(suite, DELETE, f"s{at}", request_id=f"d{at}")


async def test_given_a_damaged_schedule_when_others_are_due_then_they_fire(suite) -> None:
    await suite.announce("echo")
    await create(suite, name="broken", request_id="c1", interval_ms=1_000)
    await suite.store.hset("waybill:{0}:schedule:default:broken", "terms", b"\xff{")
    await create(suite, name="whole", request_id="c2", interval_ms=1_000)
    await until(suite, lambda found: found.submitted_count, "whole")
    assert [found.name for found in (await suite.call("ReadSchedules")).schedules] == ["schedules/whole"]
    assert (await suite.refused("ReadSchedule", name="schedules/broken"))[0] is grpc.StatusCode.INTERNAL
    for at, name in enumerate(("broken", "whole")):
        await steer(suite, DELETE, name, request_id=f"d{at}")
