"""What the store's replies mean in our words: its errors as ours, and whether the server can run the ledger."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from redis.exceptions import (
    AskError,
    AuthenticationError,
    ClusterDownError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    ResponseError,
    TryAgainError,
)
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from waybill.errors import FailedPrecondition, ResourceExhausted, Unavailable, WaybillError

# The client gives some of the server's errors a class and cuts their code off; the others are known by their code.
_LOST = (RedisConnectionError, RedisTimeoutError, ReadOnlyError, ClusterDownError, OSError)
_LOST_CODES = ("UNBLOCKED",)
_CLOSED = "the handler is closed"
"""How uvloop ends what it says of a write to a connection that was closed a moment ago."""
_BUSY = (TryAgainError, AskError)
_BUSY_CODES = ("NOREPLICAS", "MISCONF", "BUSY ")


def is_missing_function(error: object) -> bool:
    """Whether a call failed only because the library is not loaded: nothing was done."""
    cause = error.__cause__ if isinstance(error, WaybillError) else error
    return isinstance(cause, ResponseError) and "Function not found" in str(cause)


def is_lost(error: BaseException) -> bool:
    """Whether an error means that this server is gone, or is not the one to ask any more."""
    closed = isinstance(error, RuntimeError) and str(error).endswith(_CLOSED)
    return closed or isinstance(error, _LOST) or str(error).startswith(_LOST_CODES)


def translate(error: Exception) -> WaybillError:
    """One of our errors for one of the client's, or for one of ours itself. Details stay in the cause."""
    if isinstance(error, WaybillError):
        return error
    if isinstance(error, AuthenticationError):
        return Unavailable("the store refuses this service's user or password", reason="STORE_LOGIN_REFUSED")
    if is_lost(error) or isinstance(error, _BUSY) or str(error).startswith(_BUSY_CODES):
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
    except RuntimeError as error:
        if not is_lost(error):
            raise
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
