"""One connection that many callers share: commands leave together, and replies find their callers by their order.

A reply belongs to the oldest call that has none. So a call is never taken out of the line: of one whose caller is gone,
or has waited too long, the reply is read and dropped.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Sequence
from typing import Any

import hiredis
from redis._parsers.base import BaseParser
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import DataError, InvalidResponse, RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError

from waybill.errors import Unavailable

Part = bytes | str | int | float
MAX_UNANSWERED_CALLS = 20_000
MAX_UNANSWERED_BYTES = 64 * 1024 * 1024
"""Most that one connection has sent and got no reply to yet; a call that is larger than that waits for nobody."""
_BUSY_BYTES = 1024 * 1024
"""Who has others to choose from sends nothing behind so many bytes that are under way in either direction."""
_NOTHING = object()

_Call = tuple[asyncio.Future[Any], int, float, int]
"""Where the replies go, how many they are, when the caller has waited long enough, and how many bytes were sent."""


def packed(parts: Sequence[Part]) -> bytes:
    """One command as it is sent. Raises redis' DataError for what is no part of a command."""
    try:
        sent: bytes = hiredis.pack_command(tuple(parts))  # type: ignore[arg-type]  # its stub knows but one part
    except TypeError as error:
        raise DataError(str(error)) from error
    return sent


class Pipe(asyncio.Protocol):
    """Sends calls without waiting for the replies to earlier ones. It belongs to one event loop."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self._writer = writer  # it would close the transport if it were dropped
        self._transport = writer.transport
        self._loop = asyncio.get_running_loop()
        self._reader = hiredis.Reader(
            protocolError=InvalidResponse, replyError=BaseParser.parse_error, notEnoughData=_NOTHING
        )
        self._calls: deque[_Call] = deque()
        self._replies: list[Any] = []
        """Those to the oldest call, if it waits for several."""
        self._outgoing: list[bytes] = []
        self._unanswered_bytes = 0
        self._incoming_bytes = 0
        """What there is of a reply that is not complete."""
        self._looking: asyncio.TimerHandle | None = None
        self._look_at = math.inf
        self._closed = False
        self._late = False

    @property
    def is_open(self) -> bool:
        """Whether calls may be sent here: neither is it broken, nor has one waited here in vain."""
        return not self._closed and not self._late

    @property
    def is_idle(self) -> bool:
        """Whether every call has its reply."""
        return not self._calls

    @property
    def is_busy(self) -> bool:
        """Whether what is sent now may have to wait for much else to be sent or received first."""
        return self._unanswered_bytes > _BUSY_BYTES or self._incoming_bytes > _BUSY_BYTES

    @property
    def unanswered_bytes(self) -> int:
        """How much was sent that has no reply yet."""
        return self._unanswered_bytes

    def send(self, data: bytes, count: int, timeout_seconds: float) -> asyncio.Future[Any]:
        """The reply to a packed command, or a list of the replies to `count` of them packed together; the server's
        refusal of one stands in its place.

        The future fails with redis' ConnectionError or TimeoutError; whoever cancels it disturbs nobody. Raises
        Unavailable, with nothing sent, while too much is unanswered, and ConnectionError once this is closed.
        """
        if self._closed:
            raise RedisConnectionError("closed")
        size = len(data)
        if self._calls and (
            len(self._calls) >= MAX_UNANSWERED_CALLS or self._unanswered_bytes + size > MAX_UNANSWERED_BYTES
        ):
            raise Unavailable("the store is behind with its answers; try again")
        future: asyncio.Future[Any] = self._loop.create_future()
        deadline = self._loop.time() + timeout_seconds
        self._calls.append((future, count, deadline, size))
        self._unanswered_bytes += size
        self._outgoing.append(data)
        if len(self._calls) == 1:
            self._flush()  # nobody else is at it: the next turn of the loop would bring nothing more to send
        elif len(self._outgoing) == 1:
            self._loop.call_soon(self._flush)
        if deadline < self._look_at:
            self._look_again_at(deadline)
        return future

    def _flush(self) -> None:
        outgoing, self._outgoing = self._outgoing, []
        if self._closed or not outgoing:
            return
        try:
            self._transport.write(outgoing[0] if len(outgoing) == 1 else b"".join(outgoing))
        except (OSError, RuntimeError) as error:  # the latter is what uvloop says of a connection that it has closed
            self._fail(RedisConnectionError(f"cannot write to the server: {error!r}"))

    def data_received(self, data: bytes) -> None:
        """Hand out the replies that are complete."""
        calls, gets = self._calls, self._reader.gets
        self._incoming_bytes += len(data)
        try:
            self._reader.feed(data)
            while (reply := gets()) is not _NOTHING:
                self._incoming_bytes = 0
                future, count, _, size = calls[0]
                if count != 1:
                    self._replies.append(reply)
                    if len(self._replies) < count:
                        continue
                    reply, self._replies = self._replies, []
                calls.popleft()
                self._unanswered_bytes -= size
                if not future.done():
                    future.set_result(reply)
        except IndexError:
            self._fail(InvalidResponse("the server said something that nobody had asked for"))
        except RedisError as error:
            self._fail(error)
        if self._late and not calls:
            self.close()

    def connection_lost(self, error: Exception | None) -> None:
        """Fail every call: each may or may not have been executed."""
        self._fail(RedisConnectionError(f"the server closed the connection: {error!r}" if error else "closed"))

    def close(self, because: Exception | None = None) -> None:
        """Close the connection; calls under way fail as this did, or as a connection that was closed."""
        self._fail(because if isinstance(because, RedisTimeoutError) else RedisConnectionError("closed"))

    def _fail(self, error: RedisError) -> None:
        self._closed = True
        if self._looking is not None:
            self._looking.cancel()
            self._looking = None
        self._transport.abort()
        for future, *_ in self._calls:
            if not future.done():
                future.set_exception(type(error)(*error.args))  # its own: each caller's traceback is added to it
        self._calls.clear()
        self._replies.clear()
        self._outgoing.clear()

    def _look_again_at(self, moment: float) -> None:
        if self._looking is not None:
            self._looking.cancel()
        self._look_at = moment
        self._looking = self._loop.call_at(moment, self._look)

    def _look(self) -> None:
        """End the calls that have waited long enough. Nothing more is sent where one has."""
        now = self._loop.time()
        self._looking, self._look_at = None, math.inf
        for future, _, deadline, _ in self._calls:
            if deadline > now:
                self._look_at = min(self._look_at, deadline)
                continue
            self._late = True
            if not future.done():
                future.set_exception(RedisTimeoutError("the server did not answer in time"))
        if self._look_at < math.inf:
            self._look_again_at(self._look_at)
        elif self._late:
            self.close()


async def open_pipe(connection: AbstractConnection) -> Pipe:
    """Open a connection of the client library, log in, and take it over. Raises redis' errors."""
    try:
        await connection.connect()  # type: ignore[no-untyped-call]
        # What the server has said or done since then would go unheard.
        if connection._writer is None or await connection.can_read():
            raise RedisConnectionError("the server closed the connection")
    except BaseException:
        await connection.disconnect(nowait=True)
        raise
    writer, connection._writer, connection._reader = connection._writer, None, None
    pipe = Pipe(writer)
    writer.transport.set_protocol(pipe)
    return pipe
