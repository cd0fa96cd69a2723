"""The body of a response: read as it comes up to a limit, decompressed with care, and told as what it is."""

from __future__ import annotations

import base64
import json
import math
import zlib
from collections.abc import AsyncIterator
from typing import Any, Literal

import httpx
from pydantic import BaseModel, Field
from pydantic_core import to_json

ENCODINGS = "gzip, deflate"
"""The compressions that are understood: those whose output can be bounded as it comes."""
Form = Literal["json", "text", "base64", "empty"]
_TEXTUAL = ("text/", "+xml", "+json", "/xml", "/json", "/javascript", "/x-www-form-urlencoded", "/yaml", "/x-ndjson")


class BodyTooLarge(Exception):
    """The body has more bytes than were allowed."""


class BodyUnreadable(Exception):
    """The body is compressed in a way that is not understood, or is damaged. The text says which."""


class Body(BaseModel):
    """A body in one form: `form` tells which of the fields has it."""

    form: Form = Field(description="which field has the body: data for json, text, base64, or none if it is empty")
    data: Any = Field(default=None, description="the JSON value")
    text: str = Field(default="", description="the text, decoded")
    base64: str = Field(default="", description="the bytes, where they are no text")


async def read(response: httpx.Response, max_bytes: int) -> bytes:
    """The whole body, decompressed. Raises BodyTooLarge as soon as it is over the limit, and BodyUnreadable."""
    parts = bytearray()
    async for part in _plain(response, max_bytes):
        parts += part
        if len(parts) > max_bytes:
            raise BodyTooLarge
    return bytes(parts)


def body_of(response: httpx.Response, content: bytes) -> Body:
    """The body as JSON if it claims and happens to be, as text if it is, else as base64."""
    if not content:
        return Body(form="empty")
    media_type = media_type_of(response)
    if media_type.endswith(("/json", "+json")):
        value, fits = _json(content)
        if fits:
            return Body(form="json", data=value)
    text = _text(content, response.charset_encoding, any(mark in media_type for mark in _TEXTUAL))
    if text is not None:
        return Body(form="text", text=text)
    return Body(form="base64", base64=base64.b64encode(content).decode())


def media_type_of(response: httpx.Response) -> str:
    """The media type, without parameters, in lower case; empty if the server tells none."""
    return str(response.headers.get("content-type", "")).partition(";")[0].strip().lower()


async def _plain(response: httpx.Response, max_bytes: int) -> AsyncIterator[bytes]:
    encodings = [part.strip().lower() for part in response.headers.get("content-encoding", "").split(",")]
    encodings = [part for part in encodings if part not in ("", "identity")]
    if not encodings:
        async for part in response.aiter_raw():
            yield part
        return
    if len(encodings) > 1 or encodings[0] not in ("gzip", "x-gzip", "deflate"):
        raise BodyUnreadable(f"the body is compressed as {', '.join(encodings)[:100]}, which was not asked for")
    inflate = zlib.decompressobj(zlib.MAX_WBITS | (32 if encodings[0] == "deflate" else 16))
    try:
        async for part in response.aiter_raw():
            # A small part can stand for a thousand times its size, so no more is made of it than is allowed.
            yield inflate.decompress(part, max_bytes + 1)
            if inflate.unconsumed_tail:
                raise BodyTooLarge
    except zlib.error as error:
        raise BodyUnreadable("the body is not compressed as the server says") from error
    if not inflate.eof:
        raise BodyUnreadable("the compressed body ends in the middle")


def _text(content: bytes, charset: str | None, textual: bool) -> str | None:
    try:
        return content.decode(charset or "utf-8", "replace" if textual else "strict")
    except UnicodeDecodeError:
        return None
    except (LookupError, UnicodeError):  # a charset that Python does not know, or that is no charset of text
        return content.decode("utf-8", "replace") if textual else None


def _json(content: bytes) -> tuple[Any, bool]:
    try:
        value = json.loads(content, parse_constant=_refuse, parse_float=_finite)
        to_json(value)  # lone surrogates parse, and cannot be written again
    except (ValueError, RecursionError):
        return None, False
    return value, True


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError("the number is too large")
    return number
