"""One call of an agent: input parsed, function run, output dumped, and every way to fail turned into a `Result`."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

from waybill.agent import AgentDefinition, Context
from waybill.core.limits import MAX_FAILURE_MESSAGE_CHARS, MAX_OUTPUT_BYTES
from waybill.core.task import Failure
from waybill.errors import AgentError, Permanent
from waybill.ledger.records import Outcome
from waybill_worker.guard import in_agent


@dataclass(frozen=True, slots=True)
class Result:
    """What an attempt came to. `output` is JSON text for SUCCEEDED, `failure` is set for the rest."""

    outcome: Outcome
    output: bytes = b""
    failure: Failure | None = None


def call(definition: AgentDefinition, context: Context, data: bytes) -> Result:
    """Run a plain agent in the calling thread. Raises nothing but SystemExit, if the agent asked for that."""
    try:
        value = definition.function(*_positional(definition, context), **definition.parse_input(data))
        return _success(definition, value)
    except SystemExit:
        raise
    except BaseException as error:  # whatever the agent raised is the result of its attempt
        return result_of(error)


async def call_async(definition: AgentDefinition, context: Context, data: bytes) -> Result:
    """Run an async agent. Never raises but asyncio.CancelledError, which the caller tells apart."""
    token = in_agent.set(True)
    try:
        value = await definition.function(*_positional(definition, context), **definition.parse_input(data))
        return _success(definition, value)
    except asyncio.CancelledError:
        raise
    except BaseException as error:  # an agent's sys.exit() must not end the worker
        return result_of(error)
    finally:
        in_agent.reset(token)


def result_of(error: BaseException) -> Result:
    """The failed result that an error stands for."""
    if isinstance(error, AgentError):
        outcome = Outcome.FAILED_FINALLY if isinstance(error, Permanent) else Outcome.FAILED
        return Result(outcome, failure=Failure(clean(error.reason), _trim(error.message or _describe(error))))
    return Result(Outcome.FAILED, failure=Failure(AgentError.reason, _trim(_describe(error))))


def clean(text: str) -> str:
    """The text with lone surrogates replaced, so that it can be written as UTF-8."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")


def _positional(definition: AgentDefinition, context: Context) -> tuple[Context, ...]:
    return (context,) if definition.takes_context else ()


def _success(definition: AgentDefinition, value: Any) -> Result:
    output = definition.dump_output(value)
    if len(output) > MAX_OUTPUT_BYTES:
        raise Permanent(
            f"the output of agent {definition.name} is {len(output)} bytes; the limit is {MAX_OUTPUT_BYTES}: "
            "return less, or store it elsewhere and return where",
            reason="OUTPUT_TOO_LARGE",
        )
    return Result(Outcome.SUCCEEDED, output)


def _describe(error: BaseException) -> str:
    try:
        message = str(error)
    except Exception:  # an exception class of the agent's own may not even print
        message = ""
    return f"{type(error).__name__}: {message}" if message else type(error).__name__


def _trim(message: str) -> str:
    message = clean(message)
    if len(message) <= MAX_FAILURE_MESSAGE_CHARS:
        return message
    return message[: MAX_FAILURE_MESSAGE_CHARS - 1] + "…"
