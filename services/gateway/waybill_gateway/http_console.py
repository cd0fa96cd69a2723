"""The web console: static files that speak to the HTTP API, served from memory under a strict policy for browsers."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from importlib.resources import files

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

INDEX = "index.html"
MEDIA_TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
"""What the console consists of; nothing else is served."""

POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "connect-src 'self'",
        "img-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
    )
)
"""No script and no style but the console's own files, no address but the gateway's, and no text that becomes markup."""

HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Cache-Control": "no-cache",
}
"""`no-cache` has the browser ask each time whether its copy is still good, so that no release mixes with another."""


@dataclass(frozen=True, slots=True)
class ConsoleFile:
    """One file of the console, as it is sent. `etag` names its content."""

    content: bytes
    media_type: str
    etag: str


def console_files() -> dict[str, ConsoleFile]:
    """The files of the console by name, as this release ships them."""
    found: dict[str, ConsoleFile] = {}
    for entry in files("waybill_gateway").joinpath("console").iterdir():
        suffix = entry.name[entry.name.rfind(".") :]
        if entry.is_file() and suffix in MEDIA_TYPES:
            content = entry.read_bytes()
            etag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
            found[entry.name] = ConsoleFile(content, MEDIA_TYPES[suffix], etag)
    return found


def console_routes() -> list[BaseRoute]:
    """The routes of the console's page and of its files."""
    served = console_files()

    async def console_page(request: Request) -> Response:
        """`GET /`: the web console, a page that works by this API."""
        return _response(request, served[INDEX])

    async def console_file(request: Request) -> Response:
        """`GET /console/{file}`: a script, style sheet or picture of the web console."""
        file = served.get(request.path_params["file"])
        if file is None:
            raise HTTPException(404)
        return _response(request, file)

    return [
        Route("/", console_page, methods=["GET"]),
        Route("/console/{file}", console_file, methods=["GET"]),
    ]


def _response(request: Request, file: ConsoleFile) -> Response:
    headers = {**HEADERS, "ETag": file.etag}
    if _is_fresh(request.headers.get("if-none-match", ""), file.etag):
        return Response(status_code=304, headers=headers)
    return Response(file.content, headers=headers, media_type=file.media_type)


def _is_fresh(asked: str, etag: str) -> bool:
    """Whether the browser's copy is this file. A compressing proxy may have marked its tag as weak."""
    tags = {tag.strip().removeprefix("W/") for tag in asked.split(",")}
    return etag in tags or "*" in tags
