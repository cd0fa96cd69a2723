"""One session with one MCP server, and the judgement over what became of a call.

A call was answered, or it is known not to have been made (`NotCalled`), or nobody knows (`Doubtful`). They are told
apart with care: what is in doubt is for a person, and what is not must not trouble one.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from importlib import metadata
from typing import Any

import httpx2
from mcp.client import Client
from mcp.shared.exceptions import MCPError
from mcp_types import CONNECTION_CLOSED, PARSE_ERROR, REQUEST_TIMEOUT, CallToolResult, Implementation, Tool
from pydantic import ValidationError

from waybill.errors import AgentError
from waybill.telemetry import tracing
from waybill_worker.agents.tools_config import ToolServer
from waybill_worker.agents.tools_http import http_transport
from waybill_worker.agents.tools_stdio import stdio_transport

MAX_PAGES = 100
MAX_LISTED = 2_000
"""Most tools that a server may list."""
START_SECONDS = 30.0
"""How long a server may at least take to start and to list its tools: some are first fetched by their command."""
CLOSE_SECONDS = 3.0
"""How long closing a session may take, before it is cut short; less than an agent that was stopped gets."""
_BROKEN = ("Connection closed", "SSE stream")
"""How the library's own errors begin that stand for a broken connection. Servers use their code too, for anything."""
_TOO_LARGE = "byte limit"
"""What the library says of an event that is larger than it was told to take."""
_LATE_SECONDS = 1.0
"""How much later than the session's own limit a call is given up: it may not even get through to the server."""

for _name in ("mcp", "httpx2", "httpcore2"):
    # They log what servers send, and URLs, either of which may hold a secret. What matters is told in errors.
    logging.getLogger(_name).setLevel(logging.CRITICAL + 1)


class ServerUnavailable(AgentError):
    """A server cannot be started or reached, or does not list its tools."""

    reason = "TOOL_SERVER_UNAVAILABLE"


class NotCalled(Exception):
    """The call was certainly not made; the text says why."""


class Doubtful(Exception):
    """Nobody knows whether the call was made; the text says why."""


class Answered(Exception):
    """The server answered with an error of the protocol, or with something that cannot be used; the text tells it."""


def fingerprint(tool: Tool) -> str:
    """What a tool says of itself, in short."""
    said = tool.model_dump(mode="json", include={"name", "description", "input_schema", "annotations"})
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()[:32]


class Connection:
    """One session with one server, kept open by a task of its own: the library ties a session to the task that opens
    it, and cancels that task when the transport breaks.
    """

    def __init__(self, name: str, server: ToolServer) -> None:
        self.tools: Mapping[str, Tool] = {}
        self._name = name
        self._server = server
        self._status = 0
        self._ended = asyncio.Event()
        self._cause: BaseException | None = None
        self._opened: asyncio.Future[Client] = asyncio.get_running_loop().create_future()
        self._owner = asyncio.get_running_loop().create_task(self._own())

    @property
    def alive(self) -> bool:
        """Whether it can be called."""
        return self._opened.done() and not self._ended.is_set() and not self._owner.done()

    async def open(self) -> None:
        """Connect and list the tools. Raises ServerUnavailable."""
        limit = max(START_SECONDS, self._server.timeout_seconds)
        try:
            async with asyncio.timeout(limit):
                await self._connect()
        except TimeoutError:
            self.hang_up()
            raise self._unavailable(f"it was not ready within {limit:g} s") from None
        except BaseException:
            self.hang_up()
            raise

    async def _connect(self) -> None:
        both: list[asyncio.Future[Any]] = [self._opened, self._owner]
        await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        if not self._opened.done():
            raise self._unavailable("it cannot be started or reached" + self._seen())
        try:
            self.tools = await self._listed(self._opened.result())
        except (MCPError, ValidationError, RuntimeError, OSError):
            raise self._unavailable("it does not list its tools" + self._seen()) from None

    async def call(self, tool: str, arguments: Mapping[str, Any]) -> CallToolResult:
        """Call a tool. Raises NotCalled, Doubtful, Answered."""
        if not self.alive:
            raise NotCalled("the server is gone")
        limit = self._server.timeout_seconds
        self._status = 0
        traceparent = tracing.current_traceparent()
        meta: Any = {tracing.TRACEPARENT: traceparent} if traceparent else None
        try:
            async with asyncio.timeout(limit + _LATE_SECONDS):
                return await self._opened.result().call_tool(tool, dict(arguments), limit, meta=meta)
        except MCPError as error:
            raise await self._judged(error) from None
        except TimeoutError:
            raise Doubtful(f"the server did not answer within {limit:g} s") from None
        except ValidationError:
            raise Answered("the tool has run, but what it returned is no result of a tool") from None
        except RuntimeError:
            if not self.alive:
                raise Doubtful("the connection to the server broke") from None
            raise Answered("the tool has run, but what it returned does not fit its own output schema") from None
        except Exception as error:
            raise Doubtful(f"the connection to the server broke ({type(error).__name__})") from None

    def hang_up(self) -> None:
        """Begin to close it."""
        self._ended.set()
        if not self._opened.done():
            self._owner.cancel()  # it waits for a server that may never say a word

    async def closed(self) -> None:
        """Return once nothing of it is left, or it has had its time."""
        _, late = await asyncio.wait([self._owner], timeout=CLOSE_SECONDS)
        for task in late:
            task.cancel()
        if late:
            await asyncio.wait(late, timeout=CLOSE_SECONDS)

    async def _own(self) -> None:
        about = Implementation(name="waybill", version=metadata.version("waybill"))
        client = Client(self._transport(), mode="auto", cache=None, client_info=about)
        try:
            async with client:
                self._opened.set_result(client)
                await self._ended.wait()
        except (Exception, asyncio.CancelledError) as error:
            self._cause = error
        finally:
            self._ended.set()

    def _transport(self) -> AbstractAsyncContextManager[Any]:
        if self._server.command:
            return stdio_transport(self._server, self._ended.set)
        return http_transport(self._server, self._note_status)

    def _note_status(self, status: int) -> None:
        self._status = status

    async def _listed(self, client: Client) -> Mapping[str, Tool]:
        found: dict[str, Tool] = {}
        cursor: str | None = None
        for _ in range(MAX_PAGES):
            page = await client.list_tools(cursor=cursor)
            for tool in page.tools:
                found.setdefault(tool.name, tool)
            cursor = page.next_cursor
            if cursor is None:
                return found
            if len(found) > MAX_LISTED:
                break
        raise self._unavailable(f"it lists more than {MAX_LISTED:,} tools, or more than {MAX_PAGES} pages of them")

    async def _judged(self, error: MCPError) -> Exception:
        """What an error of the protocol means. The library makes some of its own, which look like a server's."""
        if error.code == REQUEST_TIMEOUT:
            return Doubtful("the server did not answer in time")
        if error.code == PARSE_ERROR or (error.code == CONNECTION_CLOSED and _TOO_LARGE in error.message):
            return Answered("the tool was called, but its answer cannot be read or is too large")
        if error.code == CONNECTION_CLOSED and (not self.alive or error.message.startswith(_BROKEN)):
            self.hang_up()
            await asyncio.wait([self._owner], timeout=_LATE_SECONDS)
            if _never_connected(self._cause):
                return NotCalled("the server cannot be reached")
            return Doubtful("the connection broke before the server answered")
        if self._status >= 500 or self._status == 408:
            return Doubtful(f"the server answered with HTTP {self._status}")
        if self._status == 404:
            self.hang_up()  # the server was started anew and does not know the session
            return NotCalled("the server knows nothing of the session")
        return Answered(error.message)

    def _seen(self) -> str:
        return f" (HTTP {self._status})" if self._status >= 400 else ""

    def _unavailable(self, why: str) -> ServerUnavailable:
        return ServerUnavailable(f"the MCP server {self._name} cannot be used: {why}")


def _never_connected(error: BaseException | None) -> bool:
    """Whether a failure of the transport is one to connect at all."""
    if isinstance(error, BaseExceptionGroup):
        return any(_never_connected(one) for one in error.exceptions)
    return isinstance(error, httpx2.ConnectError | httpx2.ConnectTimeout | httpx2.PoolTimeout)
