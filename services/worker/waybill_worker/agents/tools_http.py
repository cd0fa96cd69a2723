"""The way to an MCP server over streamable HTTP: the operator's headers, timeouts, and a bound on what an answer takes.

Redirects to another origin are never followed: the `mcp` library sees to that.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from typing import Any

import httpx2
from mcp.client.streamable_http import streamable_http_client

from waybill_worker.agents.tools_config import ToolServer

MAX_ANSWER_BYTES = 8 * 1024 * 1024
"""Largest answer, and largest event of a stream."""
CONNECT_SECONDS = 10.0
_IDLE_SECONDS = 30.0
"""How much longer than a call may take a connection may be silent: the call's own limit comes first."""


class AnswerTooLarge(httpx2.StreamError):
    """The server sends more than `MAX_ANSWER_BYTES`."""

    def __init__(self) -> None:
        super().__init__(f"the answer is larger than {MAX_ANSWER_BYTES} bytes")


@contextlib.asynccontextmanager
async def http_transport(server: ToolServer, on_status: Callable[[int], None]) -> AsyncGenerator[Any, None]:
    """Speak with the server; `on_status` is called with the HTTP status of each answer to a message."""

    async def look_at(response: httpx2.Response) -> None:
        if response.request.method == "POST":
            on_status(response.status_code)
        if "text/event-stream" not in response.headers.get("content-type", ""):
            response.stream = _Bounded(response.stream)

    timeout = httpx2.Timeout(
        server.timeout_seconds + _IDLE_SECONDS, connect=min(CONNECT_SECONDS, server.timeout_seconds)
    )
    async with (
        httpx2.AsyncClient(headers=server.headers, timeout=timeout, event_hooks={"response": [look_at]}) as client,
        streamable_http_client(server.url, http_client=client, max_sse_event_size=MAX_ANSWER_BYTES) as streams,
    ):
        yield streams


class _Bounded(httpx2.AsyncByteStream):
    """The body of an answer, up to a size."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    async def __aiter__(self) -> AsyncIterator[bytes]:
        received = 0
        async for chunk in self._stream:
            received += len(chunk)
            if received > MAX_ANSWER_BYTES:
                raise AnswerTooLarge
            yield chunk

    async def aclose(self) -> None:
        """Close the body."""
        await self._stream.aclose()
