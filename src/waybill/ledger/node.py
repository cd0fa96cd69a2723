"""A plain client of one server: it never repeats a command by itself, and connects on first use."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from enum import Enum
from typing import Any

import redis.asyncio
from redis.asyncio.connection import AbstractConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import MaxConnectionsError, RedisError

from waybill.cancellation import retrieve
from waybill.ledger.pipe import Part, Pipe, open_pipe, packed

__all__ = ["ANSWER_TIMEOUT_SECONDS", "CONNECT_TIMEOUT_SECONDS", "MAX_CONNECTIONS", "Node", "Part", "Way"]

CONNECT_TIMEOUT_SECONDS = 1.0
ANSWER_TIMEOUT_SECONDS = 3.0
"""How long who is asked for the owner, or whether it is the owner, has to say so, connecting included."""
MAX_CONNECTIONS = 1_000
"""Most calls that one client has under way at once on connections of their own."""
_SHARED_PIPES = 4
_KEPT_ALONE = 16


class Way(Enum):
    """On which connection a call travels."""

    SHARED = "shared"
    """With all others."""
    URGENT = "urgent"
    """With few others, all small: nothing that is large is in its way."""
    ALONE = "alone"
    """With none: for a call that blocks, or has the server wait."""


class Node:
    """A client of one server. Every method raises the client library's own errors, or Unavailable for what was not
    sent because too much is unanswered.

    Every call has its timeout, which connecting is part of. A call that had none ends the use of its connection.
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
            driver_info=None,
        )
        # What the client library makes of the replies to some commands, such as a dict of INFO.
        self._readings: dict[Part, Callable[[Any], Any]] = {
            name.upper(): reading for name, reading in self._client.response_callbacks.items()
        }
        self._shared: list[Pipe] = []
        self._urgent: list[Pipe] = []
        self._resting: list[Pipe] = []
        """Pipes for calls that travel alone, while none does."""
        self._alone: set[Pipe] = set()
        self._opening: dict[Way, asyncio.Task[Pipe]] = {}
        self._closed = False

    @property
    def host(self) -> str:
        """The host that this client connects to; empty for a Unix socket."""
        return str(self._client.connection_pool.connection_kwargs.get("host", ""))

    @property
    def name(self) -> str:
        """Host and port, for people."""
        return f"{self.host}:{self._client.connection_pool.connection_kwargs.get('port', '')}"

    async def execute(self, *parts: Part, timeout_seconds: float = ANSWER_TIMEOUT_SECONDS) -> Any:
        """The reply to one command. Raises what the server refuses it with."""
        reply = await self.reply(parts, timeout_seconds=timeout_seconds)
        if isinstance(reply, Exception):
            raise reply
        return reply

    def reply(
        self, parts: Sequence[Part], *, timeout_seconds: float = ANSWER_TIMEOUT_SECONDS, way: Way = Way.SHARED
    ) -> Awaitable[Any]:
        """The reply to one command; the server's refusal of it stands in its place."""
        if parts[0] not in self._readings and (pipe := self._ready(way)) is not None:
            return pipe.send(packed(parts), 1, timeout_seconds)
        return self._only_reply(parts, timeout_seconds, way)

    async def _only_reply(self, parts: Sequence[Part], timeout_seconds: float, way: Way) -> Any:
        (reply,) = await self.replies([parts], timeout_seconds=timeout_seconds, way=way)
        return reply

    async def replies(
        self,
        commands: Sequence[Sequence[Part]],
        *,
        timeout_seconds: float = ANSWER_TIMEOUT_SECONDS,
        way: Way = Way.SHARED,
    ) -> list[Any]:
        """The replies to commands sent together on one connection; the server's refusal of one stands in its place."""
        if not commands:
            return []
        data = packed(commands[0]) if len(commands) == 1 else b"".join([packed(parts) for parts in commands])
        if way is Way.ALONE:
            found = await self._replies_alone(data, len(commands), timeout_seconds)
        elif (pipe := self._ready(way)) is not None:
            found = await pipe.send(data, len(commands), timeout_seconds)
        else:
            deadline = asyncio.get_running_loop().time() + timeout_seconds
            async with asyncio.timeout_at(deadline):
                pipe = await self._opened(way)
            found = await pipe.send(data, len(commands), deadline - asyncio.get_running_loop().time())
        replies = [found] if len(commands) == 1 else found
        for at, parts in enumerate(commands):
            reading = self._readings.get(parts[0])
            if reading is not None and not isinstance(replies[at], Exception):
                replies[at] = reading(replies[at])
        return replies

    def _ready(self, way: Way) -> Pipe | None:
        """An open pipe with little in the way; None if one is to be opened first."""
        if way is Way.ALONE:
            return None
        pipes = self._urgent if way is Way.URGENT else self._shared
        for pipe in pipes:
            if pipe.is_open and not pipe.is_busy:
                return pipe
        pipes[:] = [pipe for pipe in pipes if pipe.is_open]
        if len(pipes) < (_SHARED_PIPES if way is Way.SHARED else 1):
            return None
        return min(pipes, key=lambda pipe: pipe.unanswered_bytes)

    async def _opened(self, way: Way) -> Pipe:
        """A new pipe, which whoever asks meanwhile shares, and its failure too."""
        opening = self._opening.get(way)
        if opening is None or opening.done():
            opening = self._opening[way] = asyncio.create_task(self._open(way))
            opening.add_done_callback(retrieve)
        try:
            return await asyncio.shield(opening)
        except asyncio.CancelledError:
            asking = asyncio.current_task()
            if opening.cancelled() and asking is not None and not asking.cancelling():
                raise RedisConnectionError("closed") from None
            raise

    async def _open(self, way: Way) -> Pipe:
        async with asyncio.timeout(ANSWER_TIMEOUT_SECONDS):
            pipe = await open_pipe(self._new_connection())
        if self._closed:
            pipe.close()
        elif way is not Way.ALONE:
            (self._urgent if way is Way.URGENT else self._shared).append(pipe)
        return pipe

    async def _replies_alone(self, data: bytes, count: int, timeout_seconds: float) -> Any:
        if len(self._alone) >= MAX_CONNECTIONS:
            raise MaxConnectionsError("too many calls are under way")
        deadline = asyncio.get_running_loop().time() + timeout_seconds
        pipe = self._resting.pop() if self._resting else None
        if pipe is None or not pipe.is_open:
            async with asyncio.timeout_at(deadline):
                pipe = await self._open(Way.ALONE)
        self._alone.add(pipe)
        try:
            return await pipe.send(data, count, deadline - asyncio.get_running_loop().time())
        finally:
            self._alone.discard(pipe)
            if pipe.is_open and pipe.is_idle and len(self._resting) < _KEPT_ALONE and not self._closed:
                self._resting.append(pipe)
            else:
                pipe.close()  # one that still blocks must not take what nobody would hear of

    def _new_connection(self) -> AbstractConnection:
        connection: AbstractConnection = self._client.connection_pool.make_connection()  # type: ignore[no-untyped-call]
        return connection

    async def connection(self) -> AbstractConnection:
        """A connection of its own, open, for publish/subscribe. Whoever takes it disconnects it."""
        connection = self._new_connection()
        await connection.connect()  # type: ignore[no-untyped-call]
        return connection

    async def close(self, because: Exception | None = None) -> None:
        """Close every connection; calls under way fail, by a timeout if that is why."""
        self._closed = True
        for opening in self._opening.values():
            opening.cancel()
        for pipe in [*self._shared, *self._urgent, *self._resting, *self._alone]:
            pipe.close(because)
        with suppress(RedisError, OSError):
            await self._client.aclose()
