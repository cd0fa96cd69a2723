"""The sessions of one attempt with MCP servers: opened when they are first needed, closed whatever happens."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from types import TracebackType
from typing import Any

from mcp_types import CallToolResult, Tool

from waybill_worker.agents.tools_config import ToolServers
from waybill_worker.agents.tools_connection import Connection, NotCalled, ServerUnavailable, fingerprint


class Sessions:
    """The sessions of one attempt. An async context manager: at its end no process and no connection is left."""

    def __init__(self, servers: ToolServers) -> None:
        self._servers = servers
        self._connections: dict[str, Connection] = {}

    async def __aenter__(self) -> Sessions:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for connection in self._connections.values():
            connection.hang_up()
        await asyncio.gather(*(connection.closed() for connection in self._connections.values()))

    async def tools(self, name: str) -> Mapping[str, Tool]:
        """The tools of a server, by name. Raises ServerUnavailable."""
        return (await self._connection(name)).tools

    async def call(self, name: str, tool: str, arguments: Mapping[str, Any], known: str) -> CallToolResult:
        """Call a tool. A server that has died is connected again, once, before the call.

        `known` is the fingerprint of the tool when it was chosen: one that has changed since is not called.
        Raises NotCalled; Doubtful; Answered.
        """
        connection = await self._ready(name)
        try:
            return await _call(connection, tool, arguments, known)
        except NotCalled:
            if connection.alive:
                raise
        return await _call(await self._ready(name), tool, arguments, known)

    async def _ready(self, name: str) -> Connection:
        try:
            return await self._connection(name)
        except ServerUnavailable as error:
            raise NotCalled(error.message) from error

    async def _connection(self, name: str) -> Connection:
        connection = self._connections.get(name)
        if connection is not None and connection.alive:
            return connection
        server = self._servers.get(name)
        if server is None:
            raise ServerUnavailable(f"no server {name} is configured")
        if connection is not None:
            connection.hang_up()
            await connection.closed()
        opened = self._connections[name] = Connection(name, server)
        await opened.open()
        return opened


async def _call(connection: Connection, tool: str, arguments: Mapping[str, Any], known: str) -> CallToolResult:
    listed = connection.tools.get(tool)
    if listed is None or fingerprint(listed) != known:
        raise NotCalled(
            "the server has changed or dropped this tool since the step began, so it is not called any more"
        )
    return await connection.call(tool, arguments)
