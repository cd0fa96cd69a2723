"""One call of an agent: input parsed, function run, output dumped, and every way to fail turned into a `Result`.

The same for workers and for tests that run agents in memory.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import math
import threading
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from waybill.agent import AgentDefinition, Context
from waybill.core.limits import MAX_FAILURE_MESSAGE_CHARS, MAX_OUTPUT_BYTES, MAX_REASON_CHARS, MAX_RETRY_AFTER_MS
from waybill.core.patch import LinkedPatch
from waybill.core.task import Failure
from waybill.errors import AgentError, BudgetExhausted, EffectUnknown, Permanent, Replan
from waybill.ledger.records import Outcome

in_agent: contextvars.ContextVar[bool] = contextvars.ContextVar("in_agent", default=False)
"""Set while an async agent runs; the tasks that it makes inherit it."""


@dataclass(frozen=True, slots=True)
class Result:
    """What an attempt came to. `output` is JSON text for SUCCEEDED, `failure` is set for the rest; `retry_after_ms` is
    how long the agent asked to wait before the next attempt, `patch` what it adds to its plan.
    """

    outcome: Outcome
    output: bytes = b""
    failure: Failure | None = None
    retry_after_ms: int = 0
    patch: LinkedPatch | None = None


class Undecodable(Permanent):
    """What the ledger handed out as a step's input cannot be read, whatever agent gets it."""

    reason = "UNDECODABLE"


def call(definition: AgentDefinition, context: Context, data: bytes) -> Result:
    """Run a plain agent in the calling thread. Raises nothing but SystemExit, if the agent asked for that."""
    try:
        value = definition.function(*_positional(definition, context), **_arguments(definition, data))
        return _success(definition, value)
    except SystemExit:
        raise
    except BaseException as error:  # whatever the agent raised is the result of its attempt
        return result_of(error)


async def call_async(definition: AgentDefinition, context: Context | None, data: bytes) -> Result:
    """Run an async agent; one that takes no context needs none. Never raises but asyncio.CancelledError, which the
    caller tells apart.
    """
    token = in_agent.set(True)
    try:
        value = await definition.function(*_positional(definition, context), **_arguments(definition, data))
        return _success(definition, value)
    except asyncio.CancelledError:
        raise
    except BaseException as error:  # an agent's sys.exit() must not end the worker
        return result_of(error)
    finally:
        in_agent.reset(token)


async def run_in_thread(definition: AgentDefinition, context: Context, data: bytes) -> Result:
    """Run a plain agent in a thread of its own.

    A thread cannot be killed: one that ignores its cancellation is left behind. So it is a daemon, and of no pool,
    where it would keep a place.
    """
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[Result] = loop.create_future()

    def deliver(result: Result) -> None:
        if not ended.done():
            ended.set_result(result)

    def body() -> None:
        try:
            result = call(definition, context, data)
        except SystemExit as error:
            result = result_of(error)
        with contextlib.suppress(RuntimeError):  # the worker has ended meanwhile
            loop.call_soon_threadsafe(deliver, result)

    name = f"{definition.name}-{context.task}-{context.step}"
    threading.Thread(target=contextvars.copy_context().run, args=(body,), name=name, daemon=True).start()
    return await ended


def result_of(error: BaseException) -> Result:
    """The failed result that an error stands for."""
    try:
        if isinstance(error, AgentError):
            return _result_of_agent_error(error)
        return Result(Outcome.FAILED, failure=Failure(AgentError.reason, _trim(_describe(error))))
    except Exception:  # an error of the agent's own class may do anything when it is looked at
        return Result(Outcome.FAILED, failure=Failure(AgentError.reason, "the agent raised what cannot be described"))


def _result_of_agent_error(error: AgentError) -> Result:
    reason = clean(str(error.reason))[:MAX_REASON_CHARS] or AgentError.reason
    failure = Failure(reason, _trim(str(error.message) or _describe(error)))
    if isinstance(error, Undecodable):
        return Result(Outcome.UNDECODABLE, failure=failure)
    if isinstance(error, BudgetExhausted):
        return Result(Outcome.OVER_BUDGET, failure=failure)
    if isinstance(error, Permanent | EffectUnknown | Replan):
        return Result(Outcome.FAILED_FINALLY, failure=failure)
    return Result(Outcome.FAILED, failure=failure, retry_after_ms=_retry_after_ms(error.retry_after_seconds))


def _retry_after_ms(asked: object) -> int:
    """At most a day; nothing for what is no time at all."""
    seconds = float(asked) if isinstance(asked, int | float) else 0.0
    if math.isnan(seconds) or seconds <= 0:
        return 0
    return min(MAX_RETRY_AFTER_MS, math.ceil(min(seconds, MAX_RETRY_AFTER_MS) * 1000))


def clean(text: str) -> str:
    """The text with lone surrogates replaced, so that it can be written as UTF-8."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")


def _positional(definition: AgentDefinition, context: Context | None) -> tuple[Context, ...]:
    return (context,) if definition.takes_context and context is not None else ()


def _arguments(definition: AgentDefinition, data: bytes) -> dict[str, Any]:
    try:
        return definition.parse_input(data)
    except Permanent as error:
        cause = error.__cause__
        if isinstance(cause, ValidationError) and any(item["type"] == "json_invalid" for item in cause.errors()):
            raise Undecodable(f"the step's input is not valid JSON: {error.message}") from error
        raise


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
