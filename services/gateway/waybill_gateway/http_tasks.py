"""The HTTP routes that submit and read tasks."""

from __future__ import annotations

from typing import Any

import grpc
import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from waybill.api.v1 import gateway_pb2
from waybill.errors import InvalidArgument, Violation
from waybill.rpc.resources import attempt_to_json, effect_to_json, metrics_to_json, step_to_json, task_to_json
from waybill.rpc.specs import batch_from_json
from waybill_gateway.caller import Caller
from waybill_gateway.filters import PARAMETERS
from waybill_gateway.http_bodies import IDEMPOTENCY_KEY
from waybill_gateway.http_errors import CODES, json_response, problem
from waybill_gateway.http_requests import (
    body_of,
    caller_of,
    check_parameters,
    filter_of,
    page_size_of,
    step_of,
    submission_of,
    task_of,
)
from waybill_gateway.settings import GatewaySettings
from waybill_gateway.verbs import Verbs


def submission_routes(verbs: Verbs, settings: GatewaySettings) -> list[BaseRoute]:
    """The routes of all tasks together, which are called most: they stand first, as routes are tried in order."""
    handlers = _Handlers(verbs, settings)
    return [
        Route("/v1/tasks", handlers.submit_task, methods=["POST"]),
        Route("/v1/tasks", handlers.list_tasks, methods=["GET"]),
        Route("/v1/tasks:batch", handlers.batch_submit_tasks, methods=["POST"]),
    ]


def task_routes(verbs: Verbs, settings: GatewaySettings) -> list[BaseRoute]:
    """The routes of one task."""
    handlers = _Handlers(verbs, settings)
    return [
        Route("/v1/tasks/{task}", handlers.get_task, methods=["GET"]),
        Route("/v1/tasks/{task}/steps", handlers.list_steps, methods=["GET"]),
        Route("/v1/tasks/{task}/steps/{step}/attempts", handlers.list_attempts, methods=["GET"]),
        Route("/v1/tasks/{task}/effects", handlers.list_effects, methods=["GET"]),
        Route("/v1/tasks/{task}/metrics", handlers.get_task_metrics, methods=["GET"]),
    ]


class _Handlers:
    """One method a route: reads the request, calls the verb, writes the response."""

    def __init__(self, verbs: Verbs, settings: GatewaySettings) -> None:
        self._verbs = verbs
        self._settings = settings

    async def submit_task(self, request: Request) -> Response:
        """`POST /v1/tasks`: the task. The header `Idempotency-Key` sets `request_id`."""
        check_parameters(request)
        caller = self._caller(request)
        submission = await submission_of(request, self._settings.max_body_bytes)
        response = await self._verbs.submit_task(caller, submission)
        return json_response(task_to_json(response.task, msgspec.Raw))

    async def batch_submit_tasks(self, request: Request) -> Response:
        """`POST /v1/tasks:batch`: `results`, each with a `task` or an `error`."""
        check_parameters(request)
        caller = self._caller(request)
        if request.headers.getlist(IDEMPOTENCY_KEY):
            raise InvalidArgument.of_field("Idempotency-Key", "names one request; give each of the batch a request_id")
        batch = batch_from_json(await body_of(request, self._settings.max_body_bytes))
        response = await self._verbs.batch_submit_tasks(caller, batch)
        return json_response({"results": [_result_to_json(result) for result in response.results]})

    async def list_tasks(self, request: Request) -> Response:
        """`GET /v1/tasks`: `tasks` and `next_page_token`."""
        check_parameters(request, ("page_size", "page_token", *PARAMETERS.values()))
        listing = gateway_pb2.ListTasksRequest(
            page_size=page_size_of(request),
            page_token=request.query_params.get("page_token", ""),
            filter=filter_of(request),
        )
        response = await self._verbs.list_tasks(self._caller(request), listing)
        tasks = [task_to_json(task, msgspec.Raw) for task in response.tasks]
        return json_response({"tasks": tasks, "next_page_token": response.next_page_token})

    async def get_task(self, request: Request) -> Response:
        """`GET /v1/tasks/{task}`: the task."""
        check_parameters(request)
        reading = gateway_pb2.GetTaskRequest(name=task_of(request))
        response = await self._verbs.get_task(self._caller(request), reading)
        return json_response(task_to_json(response.task, msgspec.Raw))

    async def list_steps(self, request: Request) -> Response:
        """`GET /v1/tasks/{task}/steps`: `steps` and `next_page_token`."""
        check_parameters(request, ("page_size", "page_token"))
        listing = gateway_pb2.ListStepsRequest(
            parent=task_of(request),
            page_size=page_size_of(request),
            page_token=request.query_params.get("page_token", ""),
        )
        response = await self._verbs.list_steps(self._caller(request), listing)
        steps = [step_to_json(step, msgspec.Raw) for step in response.steps]
        return json_response({"steps": steps, "next_page_token": response.next_page_token})

    async def list_attempts(self, request: Request) -> Response:
        """`GET /v1/tasks/{task}/steps/{step}/attempts`: `attempts`, oldest first."""
        check_parameters(request)
        listing = gateway_pb2.ListAttemptsRequest(parent=step_of(request))
        response = await self._verbs.list_attempts(self._caller(request), listing)
        return json_response({"attempts": [attempt_to_json(attempt) for attempt in response.attempts]})

    async def list_effects(self, request: Request) -> Response:
        """`GET /v1/tasks/{task}/effects`: `effects`, by step and key."""
        check_parameters(request)
        listing = gateway_pb2.ListEffectsRequest(parent=task_of(request))
        response = await self._verbs.list_effects(self._caller(request), listing)
        return json_response({"effects": [effect_to_json(effect, msgspec.Raw) for effect in response.effects]})

    async def get_task_metrics(self, request: Request) -> Response:
        """`GET /v1/tasks/{task}/metrics`: latency and cost."""
        check_parameters(request)
        reading = gateway_pb2.GetTaskMetricsRequest(name=task_of(request))
        response = await self._verbs.get_task_metrics(self._caller(request), reading)
        return json_response(metrics_to_json(response.metrics))

    def _caller(self, request: Request) -> Caller:
        return caller_of(request, self._settings.call_timeout_seconds)


def _result_to_json(result: gateway_pb2.SubmitResult) -> dict[str, Any]:
    if not result.HasField("refusal"):
        return {"task": task_to_json(result.task, msgspec.Raw)}
    refusal = result.refusal
    violations = [Violation(item.field, item.description) for item in refusal.violations]
    code = CODES.get(refusal.code, grpc.StatusCode.UNKNOWN)
    return {"error": problem(code, refusal.reason, refusal.message, violations)}
