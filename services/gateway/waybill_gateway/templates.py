"""The verbs of plan templates."""

from __future__ import annotations

from typing import TYPE_CHECKING

from waybill.api.v1 import dispatcher_pb2, gateway_pb2
from waybill_gateway import fields
from waybill_gateway.asking import ask
from waybill_gateway.caller import Caller

if TYPE_CHECKING:
    from waybill.api.v1.dispatcher_pb2_grpc import DispatcherServiceAsyncStub


class Templates:
    """One method a verb. Each takes a caller and a request of the public API, and raises `WaybillError` alone."""

    def __init__(self, dispatcher: DispatcherServiceAsyncStub) -> None:
        self._dispatcher = dispatcher

    async def list_templates(
        self, caller: Caller, _request: gateway_pb2.ListTemplatesRequest
    ) -> gateway_pb2.ListTemplatesResponse:
        """List the planner's templates."""
        response = await ask(self._dispatcher.ReadTemplates, dispatcher_pb2.ReadTemplatesRequest(), caller)
        return gateway_pb2.ListTemplatesResponse(templates=response.templates)

    async def get_template(
        self, caller: Caller, request: gateway_pb2.GetTemplateRequest
    ) -> gateway_pb2.GetTemplateResponse:
        """Read a template with its plan."""
        reading = dispatcher_pb2.ReadTemplatesRequest(name=fields.template_name("name", request.name))
        response = await ask(self._dispatcher.ReadTemplates, reading, caller)
        return gateway_pb2.GetTemplateResponse(template=response.templates[0])
