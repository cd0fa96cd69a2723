"""The verbs that pause and resume more than a task: an agent for all tenants, or the caller's tenant."""

from __future__ import annotations

from typing import TYPE_CHECKING

from waybill.api.v1 import dispatcher_pb2, gateway_pb2
from waybill_gateway import fields
from waybill_gateway.asking import ask
from waybill_gateway.caller import Caller

if TYPE_CHECKING:
    from waybill.api.v1.dispatcher_pb2_grpc import DispatcherServiceAsyncStub

_CALLERS_TENANT = ""


class Pauses:
    """One method a verb. Each takes a caller and a request of the public API, and raises `WaybillError` alone."""

    def __init__(self, dispatcher: DispatcherServiceAsyncStub) -> None:
        self._dispatcher = dispatcher

    async def pause_agent(
        self, caller: Caller, request: gateway_pb2.PauseAgentRequest
    ) -> gateway_pb2.PauseAgentResponse:
        """Start nothing more of an agent."""
        name = fields.agent_name("name", request.name)
        response = await self._set(caller, name, True, request.request_id)
        return gateway_pb2.PauseAgentResponse(agent=response.agent)

    async def resume_agent(
        self, caller: Caller, request: gateway_pb2.ResumeAgentRequest
    ) -> gateway_pb2.ResumeAgentResponse:
        """Let an agent go on."""
        name = fields.agent_name("name", request.name)
        response = await self._set(caller, name, False, request.request_id)
        return gateway_pb2.ResumeAgentResponse(agent=response.agent)

    async def pause_tenant(
        self, caller: Caller, request: gateway_pb2.PauseTenantRequest
    ) -> gateway_pb2.PauseTenantResponse:
        """Start nothing more of the caller's tenant."""
        response = await self._set(caller, _CALLERS_TENANT, True, request.request_id)
        return gateway_pb2.PauseTenantResponse(tenant=response.tenant)

    async def resume_tenant(
        self, caller: Caller, request: gateway_pb2.ResumeTenantRequest
    ) -> gateway_pb2.ResumeTenantResponse:
        """Let the caller's tenant go on."""
        response = await self._set(caller, _CALLERS_TENANT, False, request.request_id)
        return gateway_pb2.ResumeTenantResponse(tenant=response.tenant)

    async def _set(self, caller: Caller, name: str, paused: bool, request_id: str) -> dispatcher_pb2.SetPauseResponse:
        setting = dispatcher_pb2.SetPauseRequest(name=name, paused=paused, request_id=fields.request_id(request_id))
        response: dispatcher_pb2.SetPauseResponse = await ask(self._dispatcher.SetPause, setting, caller)
        return response
