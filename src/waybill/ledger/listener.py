"""A publish/subscribe connection that notices when there is nothing to hear any more.

It never reconnects by itself: whoever listens has to know that something may have happened unheard.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any, NamedTuple

from redis.asyncio.connection import AbstractConnection

from waybill.errors import Unavailable
from waybill.ledger.replies import store_errors

LOOK_SECONDS = 1.0
"""How often a listener that hears nothing looks whether its server still owns the partition."""
PING_SECONDS = 4.0
"""A listener that has heard nothing for so long asks whether the server is there, and goes on asking."""
LONGEST_SILENCE_SECONDS = 7.0
"""A server that has not answered for so long is gone, whatever its connection looks like."""


class Message(NamedTuple):
    """What was published, and where."""

    channel: str
    data: bytes


class Listener:
    """One open connection. Every method raises Unavailable once it is broken or its server owns nothing any more."""

    def __init__(
        self, connection: AbstractConnection, still_owner: Callable[[], bool], look_seconds: float = LOOK_SECONDS
    ) -> None:
        self._connection = connection
        self._still_owner = still_owner
        self._look_seconds = look_seconds
        self._heard_at = time.monotonic()

    async def subscribe(self, *channels: str) -> None:
        """Listen to these channels too."""
        await self._send("SUBSCRIBE", *channels)

    async def unsubscribe(self, *channels: str) -> None:
        """Listen to these channels no more."""
        await self._send("UNSUBSCRIBE", *channels)

    async def message(self) -> Message:
        """The next message, whenever it comes. Whoever cancels it ends the connection."""
        while True:
            reply = await self._reply()
            if isinstance(reply, list) and reply[0] == b"message":
                return Message(reply[1].decode(), reply[2])

    async def close(self) -> None:
        """Close the connection."""
        with store_errors():
            await self._connection.disconnect(nowait=True)

    async def _send(self, *parts: str) -> None:
        self._check()
        with store_errors():
            async with asyncio.timeout(LONGEST_SILENCE_SECONDS):
                await self._connection.send_command(*parts, check_health=False)

    async def _reply(self) -> Any:
        """What the server says next, None if that is nothing for a while."""
        self._check()
        with store_errors():
            reply = await self._connection.read_response(timeout=self._look_seconds)
        now = time.monotonic()
        if reply is not None:
            self._heard_at = now
        elif now - self._heard_at > LONGEST_SILENCE_SECONDS:
            raise Unavailable("the store does not answer; try again")
        elif now - self._heard_at >= PING_SECONDS:
            await self._send("PING")
        return reply

    def _check(self) -> None:
        # A connection of the client library that was closed would silently open itself again.
        if not self._connection.is_connected or not self._still_owner():
            raise Unavailable("the store cannot be reached; try again")
