"""The HTTP routes of dead letters, agents and tenants."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from waybill.api.v1 import gateway_pb2
from waybill.rpc.resources import agent_to_json, letter_to_json, task_to_json, tenant_to_json
from waybill_gateway.caller import Caller
from waybill_gateway.http_bodies import Action
from waybill_gateway.http_errors import json_response
from waybill_gateway.http_requests import action_of, caller_of, check_parameters, page_size_of
from waybill_gateway.settings import GatewaySettings
from waybill_gateway.verbs import Verbs


def operating_routes(verbs: Verbs, settings: GatewaySettings) -> list[BaseRoute]:
    """The routes over the verbs."""
    handlers = _Handlers(verbs, settings)
    return [
        Route("/v1/deadLetters", handlers.list_dead_letters, methods=["GET"]),
        Route("/v1/deadLetters/{letter}:retry", handlers.retry_dead_letter, methods=["POST"]),
        Route("/v1/deadLetters/{letter}:drop", handlers.drop_dead_letter, methods=["POST"]),
        Route("/v1/deadLetters/{letter}", handlers.get_dead_letter, methods=["GET"]),
        Route("/v1/agents", handlers.list_agents, methods=["GET"]),
        Route("/v1/agents/{agent}:pause", handlers.pause_agent, methods=["POST"]),
        Route("/v1/agents/{agent}:resume", handlers.resume_agent, methods=["POST"]),
        Route("/v1/tenant:pause", handlers.pause_tenant, methods=["POST"]),
        Route("/v1/tenant:resume", handlers.resume_tenant, methods=["POST"]),
    ]


class _Handlers:
    """One method a route: reads the request, calls the verb, writes the response."""

    def __init__(self, verbs: Verbs, settings: GatewaySettings) -> None:
        self._verbs = verbs
        self._settings = settings

    async def list_dead_letters(self, request: Request) -> Response:
        """`GET /v1/deadLetters`: `dead_letters`, newest first, and `next_page_token`."""
        check_parameters(request, ("page_size", "page_token"))
        listing = gateway_pb2.ListDeadLettersRequest(
            page_size=page_size_of(request), page_token=request.query_params.get("page_token", "")
        )
        response = await self._verbs.letters.list_dead_letters(self._caller(request), listing)
        letters = [letter_to_json(letter, msgspec.Raw) for letter in response.dead_letters]
        return json_response({"dead_letters": letters, "next_page_token": response.next_page_token})

    async def get_dead_letter(self, request: Request) -> Response:
        """`GET /v1/deadLetters/{letter}`: the dead letter with its attempts."""
        check_parameters(request)
        reading = gateway_pb2.GetDeadLetterRequest(name=_letter_of(request))
        response = await self._verbs.letters.get_dead_letter(self._caller(request), reading)
        return json_response(letter_to_json(response.dead_letter, msgspec.Raw))

    async def retry_dead_letter(self, request: Request) -> Response:
        """`POST /v1/deadLetters/{letter}:retry`: the task after the call."""
        verb = self._verbs.letters.retry_dead_letter
        response = await self._act(request, verb, gateway_pb2.RetryDeadLetterRequest, name=_letter_of(request))
        return json_response(task_to_json(response.task, msgspec.Raw))

    async def drop_dead_letter(self, request: Request) -> Response:
        """`POST /v1/deadLetters/{letter}:drop`: an empty object."""
        verb = self._verbs.letters.drop_dead_letter
        await self._act(request, verb, gateway_pb2.DropDeadLetterRequest, name=_letter_of(request))
        return json_response({})

    async def list_agents(self, request: Request) -> Response:
        """`GET /v1/agents`: `agents`."""
        check_parameters(request)
        response = await self._verbs.list_agents(self._caller(request), gateway_pb2.ListAgentsRequest())
        return json_response({"agents": [agent_to_json(agent, msgspec.Raw) for agent in response.agents]})

    async def pause_agent(self, request: Request) -> Response:
        """`POST /v1/agents/{agent}:pause`: the agent after the call."""
        verb = self._verbs.pauses.pause_agent
        response = await self._act(request, verb, gateway_pb2.PauseAgentRequest, name=_agent_of(request))
        return json_response(agent_to_json(response.agent, msgspec.Raw))

    async def resume_agent(self, request: Request) -> Response:
        """`POST /v1/agents/{agent}:resume`: the agent after the call."""
        verb = self._verbs.pauses.resume_agent
        response = await self._act(request, verb, gateway_pb2.ResumeAgentRequest, name=_agent_of(request))
        return json_response(agent_to_json(response.agent, msgspec.Raw))

    async def pause_tenant(self, request: Request) -> Response:
        """`POST /v1/tenant:pause`: the caller's tenant after the call."""
        response = await self._act(request, self._verbs.pauses.pause_tenant, gateway_pb2.PauseTenantRequest)
        return json_response(tenant_to_json(response.tenant))

    async def resume_tenant(self, request: Request) -> Response:
        """`POST /v1/tenant:resume`: the caller's tenant after the call."""
        response = await self._act(request, self._verbs.pauses.resume_tenant, gateway_pb2.ResumeTenantRequest)
        return json_response(tenant_to_json(response.tenant))

    async def _act(
        self, request: Request, verb: Callable[[Caller, Any], Awaitable[Any]], message: Any, **named: str
    ) -> Any:
        check_parameters(request)
        caller = self._caller(request)
        action = await action_of(request, Action, self._settings.max_body_bytes)
        return await verb(caller, message(request_id=action.request_id, **named))

    def _caller(self, request: Request) -> Caller:
        return caller_of(request, self._settings.call_timeout_seconds)


def _letter_of(request: Request) -> str:
    return f"deadLetters/{request.path_params['letter']}"


def _agent_of(request: Request) -> str:
    return f"agents/{request.path_params['agent']}"
