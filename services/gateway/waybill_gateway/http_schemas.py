"""The HTTP routes that serve the JSON Schemas of files, for editors and programs."""

from __future__ import annotations

from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from waybill.rpc.plan_schema import plan_schema
from waybill.rpc.template_forms import template_schema

MEDIA_TYPE = "application/schema+json"


def schema_routes() -> list[BaseRoute]:
    """One route for each kind of file."""
    return [
        Route("/schemas/plan.json", _endpoint(plan_schema()), methods=["GET"]),
        Route("/schemas/template.json", _endpoint(template_schema()), methods=["GET"]),
    ]


def _endpoint(schema: dict[str, Any]) -> Any:
    written = msgspec.json.encode(schema)

    async def endpoint(_request: Request) -> Response:
        return Response(written, media_type=MEDIA_TYPE)

    return endpoint
