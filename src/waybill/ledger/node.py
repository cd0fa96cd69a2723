"""A plain client of one server: it never repeats a command by itself, and connects on first use."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import redis.asyncio
from redis.asyncio.connection import AbstractConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError, ResponseError

Part = bytes | str | int | float
CONNECT_TIMEOUT_SECONDS = 1.0
ANSWER_TIMEOUT_SECONDS = 3.0
"""How long who is asked for the owner, or whether it is the owner, has to say so, connecting included."""
MAX_CONNECTIONS = 1_000
"""Most calls that one client has under way at once."""


class Node:
    """A client of one server. Every method raises the client library's own errors.

    It knows no timeout but the one for connecting: callers bound each call, a blocking read by its own time.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.run_id = ""
        """Which process answers there, once somebody has asked."""
        self._client = redis.asyncio.Redis.from_url(
            url,
            protocol=2,
            decode_responses=False,
            retry=Retry(NoBackoff(), 0),
            socket_timeout=None,
            socket_connect_timeout=CONNECT_TIMEOUT_SECONDS,
            max_connections=MAX_CONNECTIONS,
            driver_info=None,
        )

    @property
    def host(self) -> str:
        """The host that this client connects to; empty for a Unix socket."""
        return str(self._client.connection_pool.connection_kwargs.get("host", ""))

    @property
    def name(self) -> str:
        """Host and port, for people."""
        return f"{self.host}:{self._client.connection_pool.connection_kwargs.get('port', '')}"

    async def execute(self, *parts: Part) -> Any:
        """The reply to one command."""
        return await self._client.execute_command(*parts)  # type: ignore[no-untyped-call]

    async def replies(self, commands: Sequence[Sequence[Part]]) -> list[Any]:
        """The replies to commands sent together on one connection; the server's refusal of one stands in its place."""
        if len(commands) == 1:
            try:
                return [await self.execute(*commands[0])]
            except ResponseError as refusal:
                return [refusal]
        pipeline = self._client.pipeline(transaction=False)
        for parts in commands:
            pipeline.execute_command(*parts)
        found: list[Any] = await pipeline.execute(raise_on_error=False)
        return found

    async def connection(self) -> AbstractConnection:
        """A connection of its own, open, for publish/subscribe. Whoever takes it disconnects it."""
        connection: AbstractConnection = self._client.connection_pool.make_connection()  # type: ignore[no-untyped-call]
        await connection.connect()  # type: ignore[no-untyped-call]
        return connection

    async def close(self) -> None:
        """Close every connection; calls under way fail."""
        with suppress(RedisError, OSError):
            await self._client.aclose()
