"""Owns how a command ends: its exit codes, and the line on stderr that says what went wrong and what to do."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Coroutine
from typing import Any

from waybill.errors import (
    AlreadyExists,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    OutOfRange,
    ResourceExhausted,
    Unavailable,
    WaybillError,
)

OK = 0
FAILED = 1
"""The task failed or was cancelled, or something went wrong that is nobody's usage."""
USAGE = 2
"""The command, or what it asks for, has to be changed."""
UNAVAILABLE = 3
"""Nothing is wrong with the command: try again once the service is there or has room."""
INTERRUPTED = 130

_SHOWN_VIOLATIONS = 20


def code_of(error: WaybillError) -> int:
    """The exit code for an error."""
    match error:
        case Unavailable() | ResourceExhausted():
            return UNAVAILABLE
        case InvalidArgument() | NotFound() | AlreadyExists() | FailedPrecondition() | OutOfRange():
            return USAGE
        case _:
            return FAILED


def say(message: str) -> None:
    """One message for people, on stderr."""
    print(f"waybill: {message}", file=sys.stderr, flush=True)


def say_error(error: WaybillError) -> None:
    """What went wrong and what to do about it."""
    message = error.message
    if error.reason == "GATEWAY_UNREACHABLE":
        message += ": start the suite with `waybill up`, or name a running one with --address"
    say(message)
    if isinstance(error, InvalidArgument) and len(error.violations) > 1:
        for violation in error.violations[:_SHOWN_VIOLATIONS]:
            print(f"  {violation.field}: {violation.description}", file=sys.stderr)
        if len(error.violations) > _SHOWN_VIOLATIONS:
            print(f"  ... and {len(error.violations) - _SHOWN_VIOLATIONS} more", file=sys.stderr)


def finish(command: Callable[[], Coroutine[Any, Any, int]]) -> int:
    """Make and run a command to its exit code, whatever happens in it."""
    try:
        return asyncio.run(command())
    except WaybillError as error:
        say_error(error)
        return code_of(error)
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # The reader of our output has gone: that is its choice. Python must not try to flush again at exit.
        sys.stdout = open("/dev/null", "w")  # noqa: SIM115
        return FAILED
