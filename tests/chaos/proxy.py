"""A TCP proxy that harms what passes through it, on demand: one link stands between two processes.

It speaks no protocol. What it can do to a connection is what a network does: cut it, slow it down, refuse it, go
silent without closing it, or deliver a request and lose the reply.
"""

from __future__ import annotations

import asyncio
import contextlib
from enum import StrEnum, auto

CHUNK_BYTES = 65_536


class _Passing(StrEnum):
    """What becomes of the bytes of a connection."""

    ALL = auto()
    LAST_REQUEST = auto()
    """All, until a request passes: its reply does not."""
    REQUESTS = auto()
    NOTHING = auto()
    """Both sides believe that the other one is there."""


class _Connection:
    """The two sockets of one connection."""

    def __init__(self, client: asyncio.StreamWriter, server: asyncio.StreamWriter) -> None:
        self.client = client
        self.server = server
        self.passing = _Passing.ALL
        self.linger_seconds = 0.0
        self.ended = asyncio.Event()

    def abort(self) -> None:
        """Cut both sides at once, unsent bytes included."""
        self.ended.set()
        self.client.transport.abort()
        self.server.transport.abort()

    def admits(self, to_server: bool) -> bool:
        """Whether bytes pass in this direction now. A request that is to lose its reply starts the clock."""
        if self.passing is _Passing.LAST_REQUEST and to_server:
            self.passing = _Passing.REQUESTS
            # Time for the request to take effect: it must be the reply that is lost, not the request.
            asyncio.get_running_loop().call_later(self.linger_seconds, self.abort)
        if self.passing is _Passing.REQUESTS:
            return to_server
        return self.passing is not _Passing.NOTHING


class Link:
    """A listening port whose connections lead to `target_port`, both on `host`. `delay_seconds` holds for each chunk
    in each direction; `refusing` closes new connections as soon as they are made."""

    def __init__(self, name: str, host: str, target_port: int) -> None:
        self.name = name
        self.port = 0
        self.delay_seconds = 0.0
        self.refusing = False
        self._host = host
        self._target_port = target_port
        self._connections: set[_Connection] = set()
        self._silenced: set[_Connection] = set()
        self._server: asyncio.Server | None = None
        self._serving: set[asyncio.Task[None]] = set()

    async def open(self, port: int = 0) -> None:
        """Listen; `port` tells where."""
        self._server = await asyncio.start_server(self._serve, self._host, port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        """Listen no more and cut everything."""
        if self._server is not None:
            self._server.close()
        self.cut()
        for serving in self._serving:
            serving.cancel()
        await asyncio.gather(*self._serving, return_exceptions=True)

    @property
    def connections(self) -> int:
        """Connections that are open now."""
        return len(self._connections)

    def cut(self) -> int:
        """Cut all connections; how many there were."""
        cut = list(self._connections)
        for connection in cut:
            connection.abort()
        return len(cut)

    def silence(self) -> int:
        """From now on nothing passes on the connections that there are, yet they stay open, until `heal`.

        New connections pass everything, so that whoever notices and connects again gets on. Returns how many.
        """
        self._silenced |= self._connections
        for connection in self._connections:
            connection.passing = _Passing.NOTHING
        return len(self._connections)

    def lose_replies(self, linger_seconds: float) -> int:
        """Every connection delivers one more request, never its reply, and is cut a moment later. Returns how many."""
        for connection in self._connections:
            connection.passing, connection.linger_seconds = _Passing.LAST_REQUEST, linger_seconds
        return len(self._connections)

    def heal(self) -> None:
        """Be a good link again. Connections that were silent are cut, as their bytes are gone."""
        self.delay_seconds, self.refusing = 0.0, False
        for connection in self._silenced & self._connections:
            connection.abort()
        self._silenced.clear()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._serving.add(task)
        try:
            await self._carry(reader, writer)
        except asyncio.CancelledError:
            return  # by `close`; the stream's protocol would make it an error
        finally:
            self._serving.discard(task)
            writer.transport.abort()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.refusing:
            return
        try:
            target_reader, target_writer = await asyncio.open_connection(self._host, self._target_port)
        except OSError:
            return
        connection = _Connection(writer, target_writer)
        self._connections.add(connection)
        pumps = [
            asyncio.create_task(self._pump(connection, reader, target_writer, True)),
            asyncio.create_task(self._pump(connection, target_reader, writer, False)),
        ]
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)
            self._connections.discard(connection)
            target_writer.close()
            writer.close()

    async def _pump(
        self, connection: _Connection, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, to_server: bool
    ) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(CHUNK_BYTES):
                if self.delay_seconds:
                    await asyncio.sleep(self.delay_seconds)
                if connection.admits(to_server):
                    writer.write(data)
                    await writer.drain()
        if connection.passing is _Passing.NOTHING:
            # The other side must not learn that this one has gone.
            await connection.ended.wait()
