"""The HTTP routes that steer tasks and steps."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from waybill.api.v1 import gateway_pb2
from waybill.rpc.resources import effect_to_json, step_to_json, task_to_json
from waybill_gateway.caller import Caller
from waybill_gateway.http_bodies import Action, Answer, Decision, Retrying
from waybill_gateway.http_errors import json_response
from waybill_gateway.http_requests import action_of, caller_of, check_parameters, step_of, task_of
from waybill_gateway.settings import GatewaySettings
from waybill_gateway.verbs import Verbs

_MAX_INT32 = 2**31 - 1


def steering_routes(verbs: Verbs, settings: GatewaySettings) -> list[BaseRoute]:
    """The routes over the verbs."""
    handlers = _Handlers(verbs, settings)
    return [
        Route("/v1/tasks:retry", handlers.retry_tasks, methods=["POST"]),
        Route("/v1/tasks/{task}:cancel", handlers.cancel_task, methods=["POST"]),
        Route("/v1/tasks/{task}:pause", handlers.pause_task, methods=["POST"]),
        Route("/v1/tasks/{task}:resume", handlers.resume_task, methods=["POST"]),
        Route("/v1/tasks/{task}:retry", handlers.retry_task, methods=["POST"]),
        Route("/v1/tasks/{task}/steps/{step}:answer", handlers.answer_step, methods=["POST"]),
        Route("/v1/tasks/{task}/steps/{step}/effects:resolve", handlers.resolve_effect, methods=["POST"]),
    ]


class _Handlers:
    """One method a route: reads the request, calls the verb, writes the response."""

    def __init__(self, verbs: Verbs, settings: GatewaySettings) -> None:
        self._verbs = verbs
        self._settings = settings

    async def cancel_task(self, request: Request) -> Response:
        """`POST /v1/tasks/{task}:cancel`: the task after the call."""
        return await self._steer(request, self._verbs.steering.cancel_task, gateway_pb2.CancelTaskRequest)

    async def pause_task(self, request: Request) -> Response:
        """`POST /v1/tasks/{task}:pause`: the task after the call."""
        return await self._steer(request, self._verbs.steering.pause_task, gateway_pb2.PauseTaskRequest)

    async def resume_task(self, request: Request) -> Response:
        """`POST /v1/tasks/{task}:resume`: the task after the call."""
        return await self._steer(request, self._verbs.steering.resume_task, gateway_pb2.ResumeTaskRequest)

    async def retry_task(self, request: Request) -> Response:
        """`POST /v1/tasks/{task}:retry`: the task after the call."""
        return await self._steer(request, self._verbs.steering.retry_task, gateway_pb2.RetryTaskRequest)

    async def _steer(self, request: Request, verb: Callable[[Caller, Any], Awaitable[Any]], message: Any) -> Response:
        check_parameters(request)
        caller = self._caller(request)
        action = await action_of(request, Action, self._settings.max_body_bytes)
        response = await verb(caller, message(name=task_of(request), request_id=action.request_id))
        return json_response(task_to_json(response.task, msgspec.Raw))

    async def retry_tasks(self, request: Request) -> Response:
        """`POST /v1/tasks:retry`: the `names` of the tasks of a page that run again, and `next_page_token`.

        The body names a `filter` with the fields of `TaskFilter`, and may name `page_size`, `page_token`, `request_id`.
        """
        check_parameters(request)
        caller = self._caller(request)
        asked = await action_of(request, Retrying, self._settings.max_body_bytes)
        retrying = gateway_pb2.RetryTasksRequest(
            filter=asked.filter.message(),
            page_size=max(-1, min(asked.page_size, _MAX_INT32)),
            page_token=asked.page_token,
            request_id=asked.request_id,
        )
        response = await self._verbs.steering.retry_tasks(caller, retrying)
        return json_response({"names": list(response.names), "next_page_token": response.next_page_token})

    async def answer_step(self, request: Request) -> Response:
        """`POST /v1/tasks/{task}/steps/{step}:answer`: the step after the call.

        The body's `answer` is any JSON value.
        """
        check_parameters(request)
        caller = self._caller(request)
        asked = await action_of(request, Answer, self._settings.max_body_bytes)
        answering = gateway_pb2.AnswerStepRequest(
            name=step_of(request), answer=asked.payload(), request_id=asked.request_id
        )
        response = await self._verbs.steering.answer_step(caller, answering)
        return json_response(step_to_json(response.step, msgspec.Raw))

    async def resolve_effect(self, request: Request) -> Response:
        """`POST /v1/tasks/{task}/steps/{step}/effects:resolve`: the effect after the call.

        The body names the effect by `key`, and its `state`: `done`, with the `result` it returned, or `failed`.
        """
        check_parameters(request)
        caller = self._caller(request)
        asked = await action_of(request, Decision, self._settings.max_body_bytes)
        resolving = gateway_pb2.ResolveEffectRequest(
            step=step_of(request),
            key=asked.key,
            state=asked.state_number,
            result=asked.payload(),
            request_id=asked.request_id,
        )
        response = await self._verbs.steering.resolve_effect(caller, resolving)
        return json_response(effect_to_json(response.effect, msgspec.Raw))

    def _caller(self, request: Request) -> Caller:
        return caller_of(request, self._settings.call_timeout_seconds)
