"""The verbs of schedules."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from waybill.api.v1 import dispatcher_pb2, gateway_pb2, task_pb2
from waybill.errors import InvalidArgument, Violation
from waybill.rpc.schedules import schedule_violations
from waybill_gateway import fields
from waybill_gateway.asking import ask
from waybill_gateway.caller import Caller
from waybill_gateway.submission import spec_violations

if TYPE_CHECKING:
    from waybill.api.v1.dispatcher_pb2_grpc import DispatcherServiceAsyncStub

_DELETE = dispatcher_pb2.SCHEDULE_ACTION_DELETE
_PAUSE = dispatcher_pb2.SCHEDULE_ACTION_PAUSE
_RESUME = dispatcher_pb2.SCHEDULE_ACTION_RESUME
_TRIGGER = dispatcher_pb2.SCHEDULE_ACTION_TRIGGER


class Schedules:
    """One method a verb. Each takes a caller and a request of the public API, and raises `WaybillError` alone."""

    def __init__(self, dispatcher: DispatcherServiceAsyncStub) -> None:
        self._dispatcher = dispatcher

    async def create_schedule(
        self, caller: Caller, request: gateway_pb2.CreateScheduleRequest
    ) -> gateway_pb2.CreateScheduleResponse:
        """Create a schedule."""
        fields.new_schedule_name("name", request.schedule.name)
        schedule = await self._write(caller, request.schedule, request.request_id, replace=False)
        return gateway_pb2.CreateScheduleResponse(schedule=schedule)

    async def update_schedule(
        self, caller: Caller, request: gateway_pb2.UpdateScheduleRequest
    ) -> gateway_pb2.UpdateScheduleResponse:
        """Replace a schedule."""
        fields.schedule_name("name", request.schedule.name)
        schedule = await self._write(caller, request.schedule, request.request_id, replace=True)
        return gateway_pb2.UpdateScheduleResponse(schedule=schedule)

    async def get_schedule(
        self, caller: Caller, request: gateway_pb2.GetScheduleRequest
    ) -> gateway_pb2.GetScheduleResponse:
        """Read a schedule."""
        reading = dispatcher_pb2.ReadScheduleRequest(name=fields.schedule_name("name", request.name))
        response = await ask(self._dispatcher.ReadSchedule, reading, caller)
        return gateway_pb2.GetScheduleResponse(schedule=response.schedule)

    async def list_schedules(
        self, caller: Caller, request: gateway_pb2.ListSchedulesRequest
    ) -> gateway_pb2.ListSchedulesResponse:
        """List the caller's schedules."""
        reading = dispatcher_pb2.ReadSchedulesRequest(
            page_size=fields.page_size(request.page_size), page_token=request.page_token
        )
        response = await ask(self._dispatcher.ReadSchedules, reading, caller)
        return gateway_pb2.ListSchedulesResponse(schedules=response.schedules, next_page_token=response.next_page_token)

    async def delete_schedule(
        self, caller: Caller, request: gateway_pb2.DeleteScheduleRequest
    ) -> gateway_pb2.DeleteScheduleResponse:
        """Delete a schedule."""
        await self._steer(caller, request.name, request.request_id, _DELETE)
        return gateway_pb2.DeleteScheduleResponse()

    async def pause_schedule(
        self, caller: Caller, request: gateway_pb2.PauseScheduleRequest
    ) -> gateway_pb2.PauseScheduleResponse:
        """Pause a schedule."""
        response = await self._steer(caller, request.name, request.request_id, _PAUSE)
        return gateway_pb2.PauseScheduleResponse(schedule=response.schedule)

    async def resume_schedule(
        self, caller: Caller, request: gateway_pb2.ResumeScheduleRequest
    ) -> gateway_pb2.ResumeScheduleResponse:
        """Resume a schedule."""
        response = await self._steer(caller, request.name, request.request_id, _RESUME)
        return gateway_pb2.ResumeScheduleResponse(schedule=response.schedule)

    async def trigger_schedule(
        self, caller: Caller, request: gateway_pb2.TriggerScheduleRequest
    ) -> gateway_pb2.TriggerScheduleResponse:
        """Fire a schedule now."""
        response = await self._steer(caller, request.name, request.request_id, _TRIGGER)
        return gateway_pb2.TriggerScheduleResponse(task=response.task)

    async def _write(
        self, caller: Caller, schedule: task_pb2.Schedule, request_id: str, *, replace: bool
    ) -> task_pb2.Schedule:
        # Steps that are wrong by themselves pass: the dispatcher lists them together with what is wrong between steps.
        # An expression that hardly ever fires takes a moment to be found out about, beside the loop.
        found = await asyncio.to_thread(schedule_violations, schedule, time.time_ns() // 1_000_000)
        if schedule.HasField("spec"):
            within = [item for item in spec_violations(schedule.spec) if not item.field.startswith("plan.steps[")]
            found += [
                Violation(item.field if item.field == "spec" else f"spec.{item.field}", item.description)
                for item in within
            ]
        if found:
            shown = "; ".join(f"{item.field}: {item.description}" for item in found[:3])
            raise InvalidArgument(f"{shown} (and {len(found) - 3} more)" if len(found) > 3 else shown, found)
        writing = dispatcher_pb2.WriteScheduleRequest(
            schedule=schedule, replace=replace, request_id=fields.request_id(request_id)
        )
        written: task_pb2.Schedule = (await ask(self._dispatcher.WriteSchedule, writing, caller)).schedule
        return written

    async def _steer(
        self, caller: Caller, name: str, request_id: str, action: dispatcher_pb2.ScheduleAction.ValueType
    ) -> dispatcher_pb2.SteerScheduleResponse:
        steering = dispatcher_pb2.SteerScheduleRequest(
            name=fields.schedule_name("name", name), action=action, request_id=fields.request_id(request_id)
        )
        response: dispatcher_pb2.SteerScheduleResponse = await ask(self._dispatcher.SteerSchedule, steering, caller)
        return response
