"""Owns how a command ends: its exit codes, and the line on stderr that says what went wrong and what to do."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Coroutine
from typing import Any

from waybill.cli.advice import advice, typed
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
USAGE = 2
UNAVAILABLE = 3
INTERRUPTED = 130
TERMINATED = 143

MEANINGS = {
    OK: "It is done. Of `watch`, `results`, `submit --watch`, `run`: all succeeded. Of `up`: it was stopped in order.",
    FAILED: "The task failed or was cancelled; or something went wrong inside Waybill, or nobody reads the output.",
    USAGE: "The command, or what it asks for, has to be changed: an unknown option, a value that does not fit, a task "
    "that does not exist or is in the wrong state, a request id that was used for something else, a data directory "
    "that another suite uses. Repeating it changes nothing.",
    UNAVAILABLE: "Nothing is wrong with the command: no gateway answers, the store is away or full, a service of the "
    "suite does not start. Repeat it later.",
    INTERRUPTED: "Ctrl-C (SIGINT). A task that was watched goes on; the one of `run` is cancelled.",
    TERMINATED: "SIGTERM, of `run`; SIGHUP gives 129 in the same way.",
}
"""What each exit code says, for the reference."""

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
    message, next_step = typed(error.message), advice(error)
    say(f"{message}; {next_step}" if next_step else message)
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
