"""Calls to the store: to the server that owns the partition, each sent once unless it certainly was not executed.

A reply can be lost after its call was applied, so repeating a call is the caller's decision, never the client's.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

from redis.crc import key_slot
from redis.exceptions import MovedError, RedisError

from waybill.errors import Unavailable, WaybillError
from waybill.ledger import keys
from waybill.ledger.address import parse
from waybill.ledger.discovery import discovery_of
from waybill.ledger.listener import LOOK_SECONDS, PING_SECONDS, Listener
from waybill.ledger.node import Node, Part, Way
from waybill.ledger.owner import Owner
from waybill.ledger.replies import is_lost, translate

__all__ = ["NO_REPLICAS", "REPLY_TIMEOUT_SECONDS", "Part", "Replicas", "Store"]

REPLY_TIMEOUT_SECONDS = 5.0
_MORE_SECONDS_A_COMMAND = 0.05


@dataclass(frozen=True, slots=True)
class Replicas:
    """How many replicas must have a write before it counts, and how long to wait for them."""

    count: int = 0
    timeout_ms: int = 1_000


NO_REPLICAS = Replicas()


@dataclass(frozen=True, slots=True)
class _Manner:
    """How commands are sent."""

    timeout_seconds: float
    way: Way
    replicas: Replicas = NO_REPLICAS


class Store:
    """A client of one partition of a store, whatever kind of store it is: commands in, raw replies out.

    It connects on first use and follows the partition's owner. Every method raises `Unavailable`, `ResourceExhausted`
    or `WaybillError`, with the client's error as its cause. Raises InvalidArgument for a malformed URL.
    """

    def __init__(self, url: str, *, partition: str = "0", reply_timeout_seconds: float = REPLY_TIMEOUT_SECONDS) -> None:
        slot = key_slot(keys.prefix(partition).encode())
        self._owner = Owner(discovery_of(parse(url), slot))
        self._reply_timeout_seconds = reply_timeout_seconds

    async def command(self, *parts: Part, block_seconds: float = 0.0, urgent: bool = False) -> Any:
        """The reply to one command, which may block for so long before it answers.

        What is `urgent` travels apart from what may be large.
        """
        way = Way.ALONE if block_seconds else Way.URGENT if urgent else Way.SHARED
        timeout_seconds = self._reply_timeout_seconds + block_seconds
        node = self._owner.known() or await self._owner.node()
        try:
            reply = await node.reply(parts, timeout_seconds=timeout_seconds, way=way)
        except (RedisError, OSError, RuntimeError) as error:
            raise await self._failed(node, error) from error
        if isinstance(reply, Exception):
            (reply,) = await self._heeded(node, [parts], [reply], _Manner(timeout_seconds, way))
            return _value(reply)
        return reply

    async def commands(
        self, commands: Sequence[Sequence[Part]], *, keep_errors: bool = False, replicas: Replicas = NO_REPLICAS
    ) -> list[Any]:
        """The replies to several commands, sent together on one connection; they are not one transaction.

        With `keep_errors` a command's own error stands in its place instead of being raised. With `replicas`, what
        too few of them have got in time is `Unavailable` of reason NOT_REPLICATED; it is executed all the same.
        """
        timeout_seconds = self._reply_timeout_seconds + _MORE_SECONDS_A_COMMAND * len(commands)
        manner = _Manner(timeout_seconds, Way.SHARED, replicas)
        if replicas.count:  # whoever waits for replicas holds up all behind it on its connection
            manner = _Manner(timeout_seconds + replicas.timeout_ms / 1000, Way.ALONE, replicas)
        node = self._owner.known() or await self._owner.node()
        replies = await self._send(node, commands, manner)
        if any(isinstance(reply, Exception) for reply in replies):
            replies = await self._heeded(node, commands, replies, manner)
        return replies if keep_errors else [_value(reply) for reply in replies]

    async def _heeded(
        self, node: Node, commands: Sequence[Sequence[Part]], replies: list[Any], manner: _Manner
    ) -> list[Any]:
        """The replies once a server's word that it is not the one to ask, or not any more, has been heeded."""
        await self._forget_lost(node, replies)
        moved = {at: reply for at, reply in enumerate(replies) if isinstance(reply, MovedError)}
        if moved:  # what was refused so was not executed
            owner = await self._owner.moved(node, next(iter(moved.values())))
            again = await self._send(owner, [commands[at] for at in moved], manner)
            await self._forget_lost(owner, again)
            for at, reply in zip(moved, again, strict=True):
                replies[at] = reply
            for reply in again:
                if isinstance(reply, MovedError):
                    await self._owner.lost(owner, reply)
        return replies

    async def _forget_lost(self, node: Node, replies: Sequence[Any]) -> None:
        for reply in replies:
            if isinstance(reply, Exception) and is_lost(reply):
                await self._owner.lost(node, reply)

    async def _send(self, node: Node, commands: Sequence[Sequence[Part]], manner: _Manner) -> list[Any]:
        """Send commands to a node, once; the reply or the error of each."""
        replicas = manner.replicas
        # WAIT covers what its own connection has written, so it travels with the writes.
        wait: tuple[Part, ...] = ("WAIT", replicas.count, replicas.timeout_ms)
        sent = [*commands, wait] if replicas.count else commands
        try:
            replies = await node.replies(sent, timeout_seconds=manner.timeout_seconds, way=manner.way)
        except (RedisError, OSError, RuntimeError) as error:
            raise await self._failed(node, error) from error
        if replicas.count:
            have_it = replies.pop()
            if isinstance(have_it, Exception) or have_it < replicas.count:
                replies = [reply if isinstance(reply, Exception) else _not_replicated() for reply in replies]
        return replies

    async def _failed(self, node: Node, error: Exception) -> WaybillError:
        """What a call failed with, in our words. Raises what is none of the client's errors."""
        if isinstance(error, RuntimeError) and not is_lost(error):
            raise error
        await self._owner.lost(node, error)
        return translate(error)

    @asynccontextmanager
    async def listener(self) -> AsyncIterator[Listener]:
        """A publish/subscribe connection to the owner, which ends by Unavailable when that is another one."""
        node = await self._owner.node()

        def still_owner() -> bool:
            self._owner.look()
            return self._owner.is_owner(node)

        try:
            async with asyncio.timeout(self._reply_timeout_seconds):
                connection = await node.connection()
        except (RedisError, OSError, RuntimeError) as error:
            raise await self._failed(node, error) from error
        listener = Listener(connection, still_owner, PING_SECONDS if self._owner.is_fixed else LOOK_SECONDS)
        try:
            yield listener
        finally:
            with suppress(WaybillError):
                await listener.close()

    async def close(self) -> None:
        """Close every connection."""
        await self._owner.close()


def _value(reply: Any) -> Any:
    """A reply that is no error. Raises the error that it is, in our words."""
    if isinstance(reply, WaybillError):
        raise reply
    if isinstance(reply, Exception):
        raise translate(reply) from reply
    return reply


def _not_replicated() -> Unavailable:
    return Unavailable(
        "too few replicas of the store have it yet; try again with the same request_id", reason="NOT_REPLICATED"
    )
