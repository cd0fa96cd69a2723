"""The HTTP routes of schedules."""

from __future__ import annotations

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from waybill.api.v1 import gateway_pb2
from waybill.rpc.resources import task_to_json
from waybill.rpc.schedule_forms import NewScheduleForm, ScheduleForm, schedule_of_form
from waybill.rpc.schedules import schedule_to_json
from waybill_gateway.caller import Caller
from waybill_gateway.http_bodies import Action
from waybill_gateway.http_errors import json_response
from waybill_gateway.http_requests import action_of, caller_of, check_parameters, page_size_of, schedule_of
from waybill_gateway.settings import GatewaySettings
from waybill_gateway.verbs import Verbs


def schedule_routes(verbs: Verbs, settings: GatewaySettings) -> list[BaseRoute]:
    """The routes over the verbs."""
    handlers = _Handlers(verbs, settings)
    return [
        Route("/v1/schedules", handlers.create_schedule, methods=["POST"]),
        Route("/v1/schedules", handlers.list_schedules, methods=["GET"]),
        Route("/v1/schedules/{schedule}:pause", handlers.pause_schedule, methods=["POST"]),
        Route("/v1/schedules/{schedule}:resume", handlers.resume_schedule, methods=["POST"]),
        Route("/v1/schedules/{schedule}:trigger", handlers.trigger_schedule, methods=["POST"]),
        Route("/v1/schedules/{schedule}", handlers.get_schedule, methods=["GET"]),
        Route("/v1/schedules/{schedule}", handlers.update_schedule, methods=["PUT"]),
        Route("/v1/schedules/{schedule}", handlers.delete_schedule, methods=["DELETE"]),
    ]


class _Handlers:
    """One method a route: reads the request, calls the verb, writes the response."""

    def __init__(self, verbs: Verbs, settings: GatewaySettings) -> None:
        self._verbs = verbs
        self._settings = settings

    async def create_schedule(self, request: Request) -> Response:
        """`POST /v1/schedules`: the schedule."""
        check_parameters(request)
        caller = self._caller(request)
        form = await action_of(request, NewScheduleForm, self._settings.max_body_bytes)
        creation = gateway_pb2.CreateScheduleRequest(
            schedule=schedule_of_form(form, f"schedules/{form.id}"), request_id=form.request_id
        )
        response = await self._verbs.schedules.create_schedule(caller, creation)
        return json_response(schedule_to_json(response.schedule, msgspec.Raw))

    async def list_schedules(self, request: Request) -> Response:
        """`GET /v1/schedules`: `schedules`, without firings, and `next_page_token`."""
        check_parameters(request, ("page_size", "page_token"))
        listing = gateway_pb2.ListSchedulesRequest(
            page_size=page_size_of(request), page_token=request.query_params.get("page_token", "")
        )
        response = await self._verbs.schedules.list_schedules(self._caller(request), listing)
        schedules = [schedule_to_json(schedule, msgspec.Raw) for schedule in response.schedules]
        return json_response({"schedules": schedules, "next_page_token": response.next_page_token})

    async def get_schedule(self, request: Request) -> Response:
        """`GET /v1/schedules/{schedule}`: the schedule with its newest firings."""
        check_parameters(request)
        reading = gateway_pb2.GetScheduleRequest(name=schedule_of(request))
        response = await self._verbs.schedules.get_schedule(self._caller(request), reading)
        return json_response(schedule_to_json(response.schedule, msgspec.Raw))

    async def update_schedule(self, request: Request) -> Response:
        """`PUT /v1/schedules/{schedule}`: the schedule after the call."""
        check_parameters(request)
        caller = self._caller(request)
        form = await action_of(request, ScheduleForm, self._settings.max_body_bytes)
        update = gateway_pb2.UpdateScheduleRequest(
            schedule=schedule_of_form(form, schedule_of(request)), request_id=form.request_id
        )
        response = await self._verbs.schedules.update_schedule(caller, update)
        return json_response(schedule_to_json(response.schedule, msgspec.Raw))

    async def delete_schedule(self, request: Request) -> Response:
        """`DELETE /v1/schedules/{schedule}`: an empty object."""
        caller, asked = await self._action(request)
        deletion = gateway_pb2.DeleteScheduleRequest(name=schedule_of(request), request_id=asked)
        await self._verbs.schedules.delete_schedule(caller, deletion)
        return json_response({})

    async def pause_schedule(self, request: Request) -> Response:
        """`POST /v1/schedules/{schedule}:pause`: the schedule after the call."""
        caller, asked = await self._action(request)
        pause = gateway_pb2.PauseScheduleRequest(name=schedule_of(request), request_id=asked)
        response = await self._verbs.schedules.pause_schedule(caller, pause)
        return json_response(schedule_to_json(response.schedule, msgspec.Raw))

    async def resume_schedule(self, request: Request) -> Response:
        """`POST /v1/schedules/{schedule}:resume`: the schedule after the call."""
        caller, asked = await self._action(request)
        resume = gateway_pb2.ResumeScheduleRequest(name=schedule_of(request), request_id=asked)
        response = await self._verbs.schedules.resume_schedule(caller, resume)
        return json_response(schedule_to_json(response.schedule, msgspec.Raw))

    async def trigger_schedule(self, request: Request) -> Response:
        """`POST /v1/schedules/{schedule}:trigger`: the task that was submitted."""
        caller, asked = await self._action(request)
        trigger = gateway_pb2.TriggerScheduleRequest(name=schedule_of(request), request_id=asked)
        response = await self._verbs.schedules.trigger_schedule(caller, trigger)
        return json_response(task_to_json(response.task, msgspec.Raw))

    async def _action(self, request: Request) -> tuple[Caller, str]:
        check_parameters(request)
        caller = self._caller(request)
        form = await action_of(request, Action, self._settings.max_body_bytes)
        return caller, form.request_id

    def _caller(self, request: Request) -> Caller:
        return caller_of(request, self._settings.call_timeout_seconds)
