"""The HTTP face of the gateway: the verbs as JSON, and the event streams as Server-Sent Events."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.routing import BaseRoute

from waybill_gateway.http_console import console_routes
from waybill_gateway.http_errors import EXCEPTION_HANDLERS
from waybill_gateway.http_health import health_routes
from waybill_gateway.http_instruments import Instruments
from waybill_gateway.http_operating import operating_routes
from waybill_gateway.http_origins import origins_middleware
from waybill_gateway.http_reference import reference_routes
from waybill_gateway.http_results import results_routes
from waybill_gateway.http_schedules import schedule_routes
from waybill_gateway.http_schemas import schema_routes
from waybill_gateway.http_spending import spending_routes
from waybill_gateway.http_steering import steering_routes
from waybill_gateway.http_tasks import submission_routes, task_routes
from waybill_gateway.http_templates import template_routes
from waybill_gateway.http_watching import watching_routes
from waybill_gateway.openapi_document import openapi_routes
from waybill_gateway.settings import GatewaySettings
from waybill_gateway.verbs import Verbs

MIN_COMPRESSED_BYTES = 2_048
"""Smaller answers fit into two packets anyway. Event streams are never compressed: events would wait in a buffer."""
COMPRESSION_LEVEL = 5
EVENT_STREAM = "text/event-stream"


def build_app(verbs: Verbs, settings: GatewaySettings, ready: Callable[[], Awaitable[bool]]) -> Starlette:
    """The ASGI app over the verbs. `ready` answers `/readyz`.

    Routes with a verb after a colon stand before those that would take the colon for part of a name.
    """
    routes: list[BaseRoute] = [
        *submission_routes(verbs, settings),
        *steering_routes(verbs, settings),
        *watching_routes(verbs, settings),
        *results_routes(verbs, settings),
        *task_routes(verbs, settings),
        *spending_routes(verbs, settings),
        *schedule_routes(verbs, settings),
        *operating_routes(verbs, settings),
        *template_routes(verbs, settings),
        *schema_routes(),
        *console_routes(),
        *openapi_routes(),
        *reference_routes(),
        *health_routes(ready),
    ]
    middleware = [
        Middleware(Instruments),
        *origins_middleware(settings.cors_origins),
        Middleware(
            GZipMiddleware,
            minimum_size=MIN_COMPRESSED_BYTES,
            compresslevel=COMPRESSION_LEVEL,
            # Nothing else stays as it is; the list is gone through for each request, so it is short.
            exclude_content_types=(EVENT_STREAM,),
        ),
    ]
    app = Starlette(routes=routes, exception_handlers=EXCEPTION_HANDLERS, middleware=middleware)
    app.router.redirect_slashes = False
    return app
