"""The client's calls about schedules: what they send, and what comes back as values."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from client_gateway import Gateway, connected

from waybill.api.v1 import gateway_pb2, task_pb2
from waybill.core.schedule import CatchUp, FiringOutcome, Overlap
from waybill.core.task import Failure
from waybill.errors import InvalidArgument
from waybill.resources import Submission
from waybill.rpc.events import timestamp


class Scheduling(Gateway):
    """Answers with the schedule that it was sent, or with one that has fired."""

    async def CreateSchedule(self, request: Any, context: Any) -> Any:
        self.seen.append(request)
        return gateway_pb2.CreateScheduleResponse(schedule=request.schedule)

    async def UpdateSchedule(self, request: Any, context: Any) -> Any:
        self.seen.append(request)
        return gateway_pb2.UpdateScheduleResponse(schedule=request.schedule)

    async def GetSchedule(self, request: Any, context: Any) -> Any:
        self.seen.append(request)
        return gateway_pb2.GetScheduleResponse(schedule=fired(request.name))

    async def ListSchedules(self, request: Any, context: Any) -> Any:
        self.seen.append(request)
        page = int(request.page_token or 0)
        schedule = task_pb2.Schedule(name=f"schedules/s{page}", cron="0 3 * * *", time_zone="UTC")
        return gateway_pb2.ListSchedulesResponse(schedules=[schedule], next_page_token="" if page else "1")

    async def DeleteSchedule(self, request: Any, context: Any) -> Any:
        self.seen.append(request)
        return gateway_pb2.DeleteScheduleResponse()

    async def PauseSchedule(self, request: Any, context: Any) -> Any:
        self.seen.append(request)
        return gateway_pb2.PauseScheduleResponse(schedule=task_pb2.Schedule(name=request.name, paused=True))

    async def ResumeSchedule(self, request: Any, context: Any) -> Any:
        self.seen.append(request)
        return gateway_pb2.ResumeScheduleResponse(schedule=task_pb2.Schedule(name=request.name))

    async def TriggerSchedule(self, request: Any, context: Any) -> Any:
        self.seen.append(request)
        return gateway_pb2.TriggerScheduleResponse(task=self.task())


def fired(name: str) -> task_pb2.Schedule:
    schedule = task_pb2.Schedule(
        name=name, spec=task_pb2.TaskSpec(goal="why?"), interval_ms=90_000, next_time=timestamp(3_000), queued=True
    )
    schedule.firings.add(
        due_time=timestamp(2_000),
        decide_time=timestamp(2_001),
        outcome=task_pb2.FIRING_OUTCOME_SUBMITTED,
        task="tasks/a",
    )
    schedule.firings.add(
        due_time=timestamp(1_000), outcome=task_pb2.FIRING_OUTCOME_FAILED, failure={"reason": "BAD", "message": "no"}
    )
    return schedule


async def test_given_arguments_when_a_schedule_is_created_then_all_of_them_are_sent() -> None:
    gateway = Scheduling()
    async with connected(gateway) as client:
        made = await client.create_schedule(
            "nightly",
            Submission(goal="why?", labels={"team": "crm"}),
            interval=timedelta(minutes=5),
            overlap=Overlap.CANCEL,
            catch_up=CatchUp.ALL,
            catch_up_window=timedelta(hours=1),
            begin_time=datetime(2026, 11, 24, tzinfo=UTC),
            end_time=datetime(2027, 11, 24, tzinfo=UTC),
            paused=True,
            request_id="mine",
        )
    (seen,) = gateway.seen
    assert (seen.request_id, seen.schedule.spec.goal) == ("mine", "why?")
    assert (made.id, made.interval, made.overlap, made.catch_up) == (
        "nightly",
        timedelta(minutes=5),
        Overlap.CANCEL,
        CatchUp.ALL,
    )
    assert (made.catch_up_window, made.paused, made.spec) == (
        timedelta(hours=1),
        True,
        {"goal": "why?", "labels": {"team": "crm"}},
    )
    assert made.begin_time == datetime(2026, 11, 24, tzinfo=UTC)
    assert made.end_time == datetime(2027, 11, 24, tzinfo=UTC)


async def test_given_a_schedule_when_read_and_replaced_then_its_spec_can_be_used_as_it_is() -> None:
    gateway = Scheduling()
    async with connected(gateway) as client:
        found = await client.schedule("nightly")
        again = await client.update_schedule(found, found.spec, cron="0 3 * * *", time_zone="Europe/Berlin")
    assert (found.next_time, found.queued) == (datetime(1970, 1, 1, 0, 0, 3, tzinfo=UTC), True)
    newest, oldest = found.firings
    assert (newest.outcome, newest.task, newest.failure) == (FiringOutcome.SUBMITTED, "tasks/a", None)
    assert (oldest.outcome, oldest.failure) == (FiringOutcome.FAILED, Failure("BAD", "no"))
    assert (again.name, again.cron, again.time_zone, again.spec) == (
        "schedules/nightly",
        "0 3 * * *",
        "Europe/Berlin",
        found.spec,
    )


async def test_given_schedules_when_listed_then_they_come_page_by_page() -> None:
    async with connected(Scheduling()) as client:
        assert [found.id async for found in client.schedules()] == ["s0", "s1"]


async def test_given_a_schedule_when_steered_then_its_name_and_one_request_id_are_sent() -> None:
    gateway = Scheduling()
    async with connected(gateway) as client:
        assert (await client.pause_schedule("nightly")).paused
        assert not (await client.resume_schedule("schedules/nightly", "mine")).paused
        assert (await client.trigger_schedule("nightly")).name == "tasks/t1"
        await client.delete_schedule("nightly", request_id="gone")
    assert {request.name for request in gateway.seen} == {"schedules/nightly"}
    assert [request.request_id for request in gateway.seen[1::2]] == ["mine", "gone"]
    assert all(len(request.request_id) == 32 for request in gateway.seen[::2])


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ({"submission": Submission(goal="why?", request_id="r")}, "submission.request_id"),
        ({"submission": {"gaol": "why?"}}, "gaol"),
        ({"overlap": "sometimes"}, "schedule"),
        ({"cron": 5}, "schedule"),
        ({"interval": 5}, "interval"),
        ({"begin_time": "soon"}, "begin_time"),
    ],
)
async def test_given_an_argument_of_another_type_when_created_then_it_is_named(
    arguments: dict[str, Any], field: str
) -> None:
    given = {"submission": {"goal": "why?"}, **arguments}
    async with connected(Scheduling()) as client:
        with pytest.raises(InvalidArgument, match=field):
            await client.create_schedule("nightly", given.pop("submission"), **given)
