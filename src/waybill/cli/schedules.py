"""Owns what the commands about schedules do. Each returns its exit code and raises `waybill.errors`."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from waybill.api.v1 import gateway_pb2, task_pb2
from waybill.cli import exits, schedule_tables
from waybill.cli.gateway import client_of, json_line
from waybill.cli.reading import Typed, plan_file, span_ms, start_time, submission
from waybill.cli.templates import typed_parameters
from waybill.core.schedule import CatchUp, Overlap
from waybill.errors import InvalidArgument, InvalidPlan
from waybill.rpc.resources import task_to_json
from waybill.rpc.schedules import schedule_to_json
from waybill.schedules import schedule_message, schedule_name
from waybill.steering import chosen_request_id

_PAGE_SIZE = 200


@dataclass(frozen=True)
class TypedSchedule:
    """The arguments of `waybill schedule create`, as typed; `spec` is what each firing submits."""

    name: str
    spec: Typed
    cron: str = ""
    every: str = ""
    time_zone: str = ""
    overlap: Overlap = Overlap.SKIP
    catch_up: CatchUp = CatchUp.LATEST
    window: str = ""
    begin: str = ""
    end: str = ""
    paused: bool = False
    request_id: str = ""


async def write(address: str, tenant: str, typed: TypedSchedule, *, replace: bool, as_json: bool) -> int:
    """Create or replace a schedule, and print it."""
    if bool(typed.cron) == bool(typed.every):
        raise InvalidArgument.of_field("--cron, --every", "give exactly one of them")
    plan = plan_file(typed.spec)
    schedule = schedule_message(
        typed.name,
        submission(typed.spec, plan, await typed_parameters(address, tenant, typed.spec)),
        cron=typed.cron,
        interval=_span(typed.every, "--every"),
        time_zone=typed.time_zone,
        overlap=typed.overlap,
        catch_up=typed.catch_up,
        catch_up_window=_span(typed.window, "--window"),
        begin_time=_time(typed.begin, "--begin"),
        end_time=_time(typed.end, "--end"),
    )
    schedule.paused = typed.paused
    message = gateway_pb2.UpdateScheduleRequest if replace else gateway_pb2.CreateScheduleRequest
    request = message(schedule=schedule, request_id=chosen_request_id(typed.request_id))
    try:
        async with client_of(address, tenant) as client:
            written = (await client.call("UpdateSchedule" if replace else "CreateSchedule", request)).schedule
    except InvalidArgument as error:
        if plan is None or error.reason != InvalidPlan.reason or not error.violations:
            raise
        raise plan.invalid(error.violations) from error
    _print(written, as_json=as_json)
    return exits.OK


def _span(typed: str, option: str) -> timedelta | None:
    return timedelta(milliseconds=span_ms(typed, option)) if typed else None


def _time(typed: str, option: str) -> datetime | None:
    return start_time(typed, option) if typed else None


async def list_schedules(address: str, tenant: str, *, as_json: bool) -> int:
    """Print the schedules by name."""
    request = gateway_pb2.ListSchedulesRequest(page_size=_PAGE_SIZE)
    found: list[task_pb2.Schedule] = []
    async with client_of(address, tenant) as client:
        while True:
            page = await client.call("ListSchedules", request)
            found += page.schedules
            request.page_token = page.next_page_token
            if not page.next_page_token:
                break
    if as_json:
        for schedule in found:
            print(json_line(schedule_to_json(schedule)))
    elif found:
        schedule_tables.print_schedules(found)
    else:
        exits.say(f"tenant {tenant} has no schedule yet: `waybill schedule create` makes one")
    return exits.OK


async def show(address: str, tenant: str, name: str, *, as_json: bool) -> int:
    """Print a schedule with its newest firings."""
    request = gateway_pb2.GetScheduleRequest(name=schedule_name(name))
    async with client_of(address, tenant) as client:
        schedule = (await client.call("GetSchedule", request)).schedule
    _print(schedule, as_json=as_json)
    return exits.OK


async def pause(address: str, tenant: str, name: str, paused: bool, request_id: str, *, as_json: bool) -> int:
    """Pause or resume a schedule, and print what it is now."""
    method = "PauseSchedule" if paused else "ResumeSchedule"
    message = gateway_pb2.PauseScheduleRequest if paused else gateway_pb2.ResumeScheduleRequest
    request = message(name=schedule_name(name), request_id=chosen_request_id(request_id))
    async with client_of(address, tenant) as client:
        schedule = (await client.call(method, request)).schedule
    if as_json:
        print(json_line(schedule_to_json(schedule)))
    else:
        print(f"{schedule.name} {schedule_tables.next_text(schedule)}")
    return exits.OK


async def delete(address: str, tenant: str, name: str, request_id: str, *, as_json: bool) -> int:
    """Delete a schedule."""
    request = gateway_pb2.DeleteScheduleRequest(name=schedule_name(name), request_id=chosen_request_id(request_id))
    async with client_of(address, tenant) as client:
        await client.call("DeleteSchedule", request)
    print(json_line({"name": request.name}) if as_json else f"{request.name} deleted")
    return exits.OK


async def trigger(address: str, tenant: str, name: str, request_id: str, *, as_json: bool) -> int:
    """Fire a schedule now, and print the task's name."""
    request = gateway_pb2.TriggerScheduleRequest(name=schedule_name(name), request_id=chosen_request_id(request_id))
    async with client_of(address, tenant) as client:
        task = (await client.call("TriggerSchedule", request)).task
    print(json_line(task_to_json(task)) if as_json else task.name)
    return exits.OK


def _print(schedule: task_pb2.Schedule, *, as_json: bool) -> None:
    if as_json:
        print(json_line(schedule_to_json(schedule)))
    else:
        schedule_tables.print_schedule(schedule)
