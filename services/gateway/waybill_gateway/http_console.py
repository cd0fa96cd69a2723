"""The web console: static files that speak to the HTTP API."""

from __future__ import annotations

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from waybill_gateway.http_files import web_files, web_response

INDEX = "index.html"


def console_routes() -> list[BaseRoute]:
    """The routes of the console's page and of its files."""
    served = web_files("console")

    async def console_page(request: Request) -> Response:
        """`GET /`: the web console, a page that works by this API."""
        return web_response(request, served[INDEX])

    async def console_file(request: Request) -> Response:
        """`GET /console/{file}`: a script, style sheet or picture of the web console."""
        file = served.get(request.path_params["file"])
        if file is None:
            raise HTTPException(404)
        return web_response(request, file)

    return [
        Route("/", console_page, methods=["GET"]),
        Route("/console/{file}", console_file, methods=["GET"]),
    ]
