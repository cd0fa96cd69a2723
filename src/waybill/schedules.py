"""Owns the client's calls about schedules, tasks that are submitted again and again, and what they tell as values."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from waybill.api.v1 import gateway_pb2, task_pb2
from waybill.core.schedule import CatchUp, FiringOutcome, Overlap
from waybill.core.task import Failure
from waybill.errors import InvalidArgument
from waybill.resources import Submission, Task, time_of
from waybill.rpc import conversion
from waybill.rpc.enums import (
    CATCH_UP_FROM_PROTO,
    CATCH_UP_TO_PROTO,
    FIRING_OUTCOME_FROM_PROTO,
    OVERLAP_FROM_PROTO,
    OVERLAP_TO_PROTO,
)
from waybill.rpc.events import failure_from_proto, timestamp_of
from waybill.rpc.spec_json import spec_to_json
from waybill.steering import chosen_request_id

_PAGE_SIZE = 200


@dataclass(frozen=True, slots=True)
class Firing:
    """One firing of a schedule: when it was due and decided, and its task's name, or why its submission was refused.

    MISSED and SKIPPED firings in a row are told as one, the newest; `count` is how many it stands for.
    """

    due_time: datetime | None
    decide_time: datetime | None
    outcome: FiringOutcome
    task: str
    failure: Failure | None
    triggered: bool
    count: int

    @classmethod
    def of(cls, message: task_pb2.Firing) -> Firing:
        """The firing of a message."""
        return cls(
            due_time=time_of(message, "due_time"),
            decide_time=time_of(message, "decide_time"),
            outcome=FIRING_OUTCOME_FROM_PROTO[message.outcome],
            task=message.task,
            failure=failure_from_proto(message.failure) if message.HasField("failure") else None,
            triggered=message.triggered,
            count=message.count,
        )


@dataclass(frozen=True, slots=True)
class Schedule:
    """A schedule as it was when it was asked for. `spec` is what it submits, in its JSON form; `firings` are the newest
    ones, newest first, and none in lists. `next_time` is None if no firing is due any more, or while it is paused;
    `queued` tells that a firing waits for the end of an earlier task.
    """

    name: str
    spec: Mapping[str, Any]
    cron: str
    interval: timedelta
    time_zone: str
    overlap: Overlap
    catch_up: CatchUp
    catch_up_window: timedelta
    begin_time: datetime | None
    end_time: datetime | None
    paused: bool
    next_time: datetime | None
    create_time: datetime | None
    update_time: datetime | None
    firings: Sequence[Firing]
    submitted_count: int
    queued: bool

    @property
    def id(self) -> str:
        """The name without its collection."""
        return self.name.removeprefix("schedules/")

    @classmethod
    def of(cls, message: task_pb2.Schedule) -> Schedule:
        """The schedule of a message."""
        return cls(
            name=message.name,
            spec=spec_to_json(message.spec),
            cron=message.cron,
            interval=timedelta(milliseconds=message.interval_ms),
            time_zone=message.time_zone,
            overlap=OVERLAP_FROM_PROTO[message.overlap_policy],
            catch_up=CATCH_UP_FROM_PROTO[message.catch_up_policy],
            catch_up_window=timedelta(milliseconds=message.catch_up_window_ms),
            begin_time=time_of(message, "begin_time"),
            end_time=time_of(message, "end_time"),
            paused=message.paused,
            next_time=time_of(message, "next_time"),
            create_time=time_of(message, "create_time"),
            update_time=time_of(message, "update_time"),
            firings=tuple(Firing.of(firing) for firing in message.firings),
            submitted_count=message.submitted_count,
            queued=message.queued,
        )


class Schedules(ABC):
    """Calls that set, read and steer schedules. Each names one by itself, its name or its id."""

    @abstractmethod
    async def call(self, method: str, request: Any) -> Any:
        """Make a unary call, repeated while nothing answers."""

    async def create_schedule(
        self,
        schedule: str,
        submission: Submission | Mapping[str, Any],
        *,
        cron: str = "",
        interval: timedelta | None = None,
        time_zone: str = "",
        overlap: Overlap = Overlap.SKIP,
        catch_up: CatchUp = CatchUp.LATEST,
        catch_up_window: timedelta | None = None,
        begin_time: datetime | None = None,
        end_time: datetime | None = None,
        paused: bool = False,
        request_id: str | None = None,
    ) -> Schedule:
        """Submit a task again and again: by a cron expression on the clocks of a time zone ("UTC" unless told), or at
        an interval. `submission` is what each firing submits, or its JSON form; without `request_id` and `start_time`.

        Raises `InvalidArgument`, also for what its tasks would be refused with; `AlreadyExists` for a name that is
        taken; `ResourceExhausted` if the tenant has too many, or the store is full.
        """
        message = schedule_message(
            schedule,
            submission,
            cron=cron,
            interval=interval,
            time_zone=time_zone,
            overlap=overlap,
            catch_up=catch_up,
            catch_up_window=catch_up_window,
            begin_time=begin_time,
            end_time=end_time,
        )
        message.paused = paused
        request = gateway_pb2.CreateScheduleRequest(schedule=message, request_id=chosen_request_id(request_id))
        return Schedule.of((await self.call("CreateSchedule", request)).schedule)

    async def update_schedule(
        self,
        schedule: Schedule | str,
        submission: Submission | Mapping[str, Any],
        *,
        cron: str = "",
        interval: timedelta | None = None,
        time_zone: str = "",
        overlap: Overlap = Overlap.SKIP,
        catch_up: CatchUp = CatchUp.LATEST,
        catch_up_window: timedelta | None = None,
        begin_time: datetime | None = None,
        end_time: datetime | None = None,
        request_id: str | None = None,
    ) -> Schedule:
        """Replace all of a schedule, except whether it is paused. Its tasks go on as they were submitted.

        The arguments are those of `create_schedule`. Raises `InvalidArgument`, `NotFound`, `AlreadyExists`,
        `ResourceExhausted`.
        """
        message = schedule_message(
            schedule,
            submission,
            cron=cron,
            interval=interval,
            time_zone=time_zone,
            overlap=overlap,
            catch_up=catch_up,
            catch_up_window=catch_up_window,
            begin_time=begin_time,
            end_time=end_time,
        )
        request = gateway_pb2.UpdateScheduleRequest(schedule=message, request_id=chosen_request_id(request_id))
        return Schedule.of((await self.call("UpdateSchedule", request)).schedule)

    async def schedule(self, schedule: Schedule | str) -> Schedule:
        """A schedule as it is now, with its newest firings. Raises `NotFound`."""
        request = gateway_pb2.GetScheduleRequest(name=schedule_name(schedule))
        return Schedule.of((await self.call("GetSchedule", request)).schedule)

    async def schedules(self) -> AsyncIterator[Schedule]:
        """The tenant's schedules by name, page after page, without firings."""
        request = gateway_pb2.ListSchedulesRequest(page_size=_PAGE_SIZE)
        while True:
            page = await self.call("ListSchedules", request)
            for schedule in page.schedules:
                yield Schedule.of(schedule)
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token

    async def delete_schedule(self, schedule: Schedule | str, request_id: str | None = None) -> None:
        """Delete a schedule; its tasks go on. Raises `NotFound`, `AlreadyExists`."""
        request = gateway_pb2.DeleteScheduleRequest(
            name=schedule_name(schedule), request_id=chosen_request_id(request_id)
        )
        await self.call("DeleteSchedule", request)

    async def pause_schedule(self, schedule: Schedule | str, request_id: str | None = None) -> Schedule:
        """Pause a schedule: nothing of it is due, and nothing that falls into the pause is made up for.

        Raises `NotFound`, `AlreadyExists`.
        """
        request = gateway_pb2.PauseScheduleRequest(
            name=schedule_name(schedule), request_id=chosen_request_id(request_id)
        )
        return Schedule.of((await self.call("PauseSchedule", request)).schedule)

    async def resume_schedule(self, schedule: Schedule | str, request_id: str | None = None) -> Schedule:
        """Resume a schedule with the next firing after now. Raises `NotFound`, `AlreadyExists`."""
        request = gateway_pb2.ResumeScheduleRequest(
            name=schedule_name(schedule), request_id=chosen_request_id(request_id)
        )
        return Schedule.of((await self.call("ResumeSchedule", request)).schedule)

    async def trigger_schedule(self, schedule: Schedule | str, request_id: str | None = None) -> Task:
        """Fire a schedule now, paused or not, whatever its overlap policy; the task. What is due later stays.

        Raises `NotFound`, `AlreadyExists`, and what `submit` raises.
        """
        request = gateway_pb2.TriggerScheduleRequest(
            name=schedule_name(schedule), request_id=chosen_request_id(request_id)
        )
        return Task.of((await self.call("TriggerSchedule", request)).task)


def schedule_name(schedule: Schedule | str) -> str:
    """Resource name of a schedule that was given as itself, by name, or by id."""
    name = schedule.name if isinstance(schedule, Schedule) else schedule
    return name if name.startswith("schedules/") else f"schedules/{name}"


def schedule_message(
    schedule: Schedule | str,
    submission: Submission | Mapping[str, Any],
    *,
    cron: str = "",
    interval: timedelta | None = None,
    time_zone: str = "",
    overlap: Overlap = Overlap.SKIP,
    catch_up: CatchUp = CatchUp.LATEST,
    catch_up_window: timedelta | None = None,
    begin_time: datetime | None = None,
    end_time: datetime | None = None,
) -> task_pb2.Schedule:
    """A schedule as a message. Raises `InvalidArgument` for an argument of another type."""
    if isinstance(submission, Submission) and submission.request_id is not None:
        raise InvalidArgument.of_field("submission.request_id", "is not for schedules: each firing has one of its own")
    spec = submission.spec() if isinstance(submission, Submission) else conversion.spec_from_json(submission)
    with InvalidArgument.unless_fitting("schedule", "needs texts for its name, cron and time_zone, and known policies"):
        message = task_pb2.Schedule(
            name=schedule_name(schedule),
            spec=spec,
            cron=cron,
            time_zone=time_zone,
            overlap_policy=OVERLAP_TO_PROTO[Overlap(overlap)],
            catch_up_policy=CATCH_UP_TO_PROTO[CatchUp(catch_up)],
        )
    with InvalidArgument.unless_fitting("interval, catch_up_window", "must be spans of time (timedelta)"):
        message.interval_ms = _milliseconds(interval)
        message.catch_up_window_ms = _milliseconds(catch_up_window)
    for name, time in (("begin_time", begin_time), ("end_time", end_time)):
        with InvalidArgument.unless_fitting(name, "must be a datetime"):
            if time is not None:
                getattr(message, name).CopyFrom(timestamp_of(time))
    return message


def _milliseconds(span: timedelta | None) -> int:
    return span // timedelta(milliseconds=1) if span is not None else 0
