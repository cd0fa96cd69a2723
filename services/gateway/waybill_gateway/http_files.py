"""What browsers load from the gateway: pages, scripts, styles and pictures, held in memory, under a strict policy."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from importlib.resources import files

from starlette.requests import Request
from starlette.responses import Response

MEDIA_TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
"""What such files are; nothing else is served."""

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
"""No script and no style but the gateway's own files, no address but its own, and no text that becomes markup."""

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
class WebFile:
    """One file as it is sent. `etag` names its content."""

    content: bytes
    media_type: str
    etag: str

    @classmethod
    def of(cls, content: bytes, suffix: str) -> WebFile:
        """The file of this content, of the kind that the suffix names."""
        return cls(content, MEDIA_TYPES[suffix], f'"{hashlib.sha256(content).hexdigest()[:32]}"')


def web_files(folder: str) -> dict[str, WebFile]:
    """The files of a folder beside this module by name, as this release ships them."""
    found: dict[str, WebFile] = {}
    for entry in files("waybill_gateway").joinpath(folder).iterdir():
        suffix = entry.name[entry.name.rfind(".") :]
        if entry.is_file() and suffix in MEDIA_TYPES:
            found[entry.name] = WebFile.of(entry.read_bytes(), suffix)
    return found


def web_response(request: Request, file: WebFile) -> Response:
    """The file, or the news that the browser's copy is still good."""
    headers = {**HEADERS, "ETag": file.etag}
    if _is_fresh(request.headers.get("if-none-match", ""), file.etag):
        return Response(status_code=304, headers=headers)
    return Response(file.content, headers=headers, media_type=file.media_type)


def _is_fresh(asked: str, etag: str) -> bool:
    """Whether the browser's copy is this file. A compressing proxy may have marked its tag as weak."""
    tags = {tag.strip().removeprefix("W/") for tag in asked.split(",")}
    return etag in tags or "*" in tags
