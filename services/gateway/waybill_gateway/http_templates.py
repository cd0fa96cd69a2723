"""The HTTP routes of plan templates."""

from __future__ import annotations

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from waybill.api.v1 import gateway_pb2
from waybill.rpc.templates import template_to_json
from waybill_gateway.caller import Caller
from waybill_gateway.http_errors import json_response
from waybill_gateway.http_requests import caller_of, check_parameters
from waybill_gateway.settings import GatewaySettings
from waybill_gateway.verbs import Verbs


def template_routes(verbs: Verbs, settings: GatewaySettings) -> list[BaseRoute]:
    """The routes over the verbs."""
    handlers = _Handlers(verbs, settings)
    return [
        Route("/v1/templates", handlers.list_templates, methods=["GET"]),
        Route("/v1/templates/{template}", handlers.get_template, methods=["GET"]),
    ]


class _Handlers:
    """One method a route: reads the request, calls the verb, writes the response."""

    def __init__(self, verbs: Verbs, settings: GatewaySettings) -> None:
        self._verbs = verbs
        self._settings = settings

    async def list_templates(self, request: Request) -> Response:
        """`GET /v1/templates`: `templates`, by name and without their plans."""
        check_parameters(request)
        listing = gateway_pb2.ListTemplatesRequest()
        response = await self._verbs.templates.list_templates(self._caller(request), listing)
        templates = [template_to_json(template, msgspec.Raw) for template in response.templates]
        return json_response({"templates": templates})

    async def get_template(self, request: Request) -> Response:
        """`GET /v1/templates/{template}`: the template with its plan."""
        check_parameters(request)
        reading = gateway_pb2.GetTemplateRequest(name=f"templates/{request.path_params['template']}")
        response = await self._verbs.templates.get_template(self._caller(request), reading)
        return json_response(template_to_json(response.template, msgspec.Raw))

    def _caller(self, request: Request) -> Caller:
        return caller_of(request, self._settings.call_timeout_seconds)
