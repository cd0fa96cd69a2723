"""The HTTP routes of the pages about the API, for people."""

from __future__ import annotations

from functools import cache

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from waybill_gateway.http_files import WebFile, web_files, web_response
from waybill_gateway.openapi_document import document
from waybill_gateway.problems import PAGE
from waybill_gateway.reference_page import problems_page, reference_page


def reference_routes() -> list[BaseRoute]:
    """The routes of the pages, which are made when they are first asked for, and of their files."""
    served = web_files("reference")

    async def reference(request: Request) -> Response:
        """`GET /docs`: a page that shows this API, with a form to try each call."""
        return web_response(request, _reference())

    async def problems(request: Request) -> Response:
        """`GET /docs/problems`: a page that says of each reason what it means and what helps."""
        return web_response(request, _problems())

    async def reference_file(request: Request) -> Response:
        """`GET /docs/{file}`: a script or style sheet of these pages."""
        file = served.get(request.path_params["file"])
        if file is None:
            raise HTTPException(404)
        return web_response(request, file)

    return [
        Route("/docs", reference, methods=["GET"]),
        Route(PAGE, problems, methods=["GET"]),
        Route("/docs/{file}", reference_file, methods=["GET"]),
    ]


@cache
def _reference() -> WebFile:
    return WebFile.of(reference_page(document()).encode(), ".html")


@cache
def _problems() -> WebFile:
    return WebFile.of(problems_page().encode(), ".html")
