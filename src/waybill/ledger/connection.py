"""Connections to the store: plain clients that never retry by themselves, and the store's errors in our words.

A reply can be lost after its call was applied, so repeating a call is the caller's decision, never the client's.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import redis.asyncio
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ClusterDownError, OutOfMemoryError, ReadOnlyError, RedisError, ResponseError, TryAgainError
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from waybill.errors import FailedPrecondition, ResourceExhausted, Unavailable, WaybillError

Part = bytes | str | int | float
CONNECT_TIMEOUT_SECONDS = 1.0
REPLY_TIMEOUT_SECONDS = 5.0
# The client gives some of the server's errors a class and cuts their code off; the others are known by their code.
_AWAY = (RedisConnectionError, RedisTimeoutError, ReadOnlyError, ClusterDownError, TryAgainError, OSError)
_AWAY_CODES = ("NOREPLICAS", "MISCONF", "UNBLOCKED", "BUSY ")


class Store:
    """A client of one store: commands in, raw replies out. It connects on first use.

    Every method raises `Unavailable`, `ResourceExhausted` or `WaybillError`, with the client's error as its cause.
    """

    def __init__(self, url: str, *, reply_timeout_seconds: float = REPLY_TIMEOUT_SECONDS) -> None:
        self._client = redis.asyncio.Redis.from_url(
            url,
            protocol=2,
            decode_responses=False,
            retry=Retry(NoBackoff(), 0),
            socket_timeout=reply_timeout_seconds,
            socket_connect_timeout=CONNECT_TIMEOUT_SECONDS,
        )

    async def command(self, *parts: Part) -> Any:
        """The reply to one command."""
        with store_errors():
            return await self._client.execute_command(*parts)  # type: ignore[no-untyped-call]

    async def commands(self, commands: Sequence[Sequence[Part]], *, keep_errors: bool = False) -> list[Any]:
        """The replies to several commands, sent together; they are not one transaction.

        With `keep_errors` a command's own error stands in its place instead of being raised.
        """
        pipeline = self._client.pipeline(transaction=False)
        for parts in commands:
            pipeline.execute_command(*parts)
        with store_errors():
            replies: list[Any] = await pipeline.execute(raise_on_error=not keep_errors)
        return replies

    def listener(self) -> Any:
        """A publish/subscribe connection of the client library; its errors are for `store_errors` to translate."""
        return self._client.pubsub(ignore_subscribe_messages=True)

    async def close(self) -> None:
        """Close every connection."""
        await self._client.aclose()


def is_missing_function(error: object) -> bool:
    """Whether a call failed only because the library is not loaded: nothing was done."""
    cause = error.__cause__ if isinstance(error, WaybillError) else error
    return isinstance(cause, ResponseError) and "Function not found" in str(cause)


def translate(error: Exception) -> WaybillError:
    """One of our errors for one of the client's. Details stay in the cause."""
    if isinstance(error, _AWAY) or str(error).startswith(_AWAY_CODES):
        return Unavailable("the store cannot be reached; try again")
    if isinstance(error, OutOfMemoryError):
        return ResourceExhausted("the store is full; try again when tasks have ended or expired")
    return WaybillError("the store refused a call")


@contextmanager
def store_errors() -> Iterator[None]:
    """Raises `Unavailable`, `ResourceExhausted` or `WaybillError` for whatever the client raises inside."""
    try:
        yield
    except (RedisError, OSError) as error:
        raise translate(error) from error


def check_version(info: dict[str, Any]) -> None:
    """Raises FailedPrecondition unless the server is Redis >= 7.0 or Valkey >= 8."""
    if info.get("server_name") == "valkey":
        name, version, oldest = "Valkey", str(info.get("valkey_version", "0")), 8
    else:
        name, version, oldest = "Redis", str(info.get("redis_version", "0")), 7
    found = re.match(r"\d+", version)
    if not found or int(found.group()) < oldest:
        raise FailedPrecondition(
            f"Waybill needs Redis 7.0 or Valkey 8 or newer; this server is {name} {version}", reason="STORE_TOO_OLD"
        )
