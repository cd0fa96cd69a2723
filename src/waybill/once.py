"""The protocol of `Context.once`: an effect is announced, done and recorded, and never done twice.

One generator per call says what happens in which order, whoever keeps the records. Two drivers run it: one on an event
loop, which the agent awaits, and one that blocks the agent's thread. What an effect returns is stored as JSON, and
every attempt gets it in that form, the first one included.
"""

from __future__ import annotations

import asyncio
import inspect
import json
import secrets
from collections.abc import Awaitable, Callable, Generator
from concurrent.futures import CancelledError, Future
from contextlib import suppress
from contextvars import ContextVar
from dataclasses import dataclass
from enum import Enum
from functools import partial
from typing import Any, Final, Protocol

from pydantic_core import to_json

from waybill.core.limits import MAX_EFFECT_KEY_CHARS, MAX_EFFECT_RESULT_BYTES
from waybill.core.task import EffectState
from waybill.errors import AgentError, EffectUnknown, Permanent
from waybill.ledger.records import Effect
from waybill.turns import Turns

SEE_THROUGH_SECONDS = 1.0
"""How long a call to the records may go on after its agent was cancelled."""

_inside: ContextVar[frozenset[str]] = ContextVar("inside", default=frozenset())
"""Keys of the effects that are under way here: one that asks for itself would wait for ever."""


class NotDone(Enum):
    """The type of `NOT_DONE`."""

    NOT_DONE = "not done"


NOT_DONE: Final = NotDone.NOT_DONE
"""What a reconcile hook returns when the effect has not happened, so that it may be tried again."""

Reconcile = Callable[[str], Any]
"""Given the key: what the effect returned, or `NOT_DONE`. Raises EffectUnknown if it cannot tell. Async or plain."""


class EffectRecords(Protocol):
    """Where one attempt's effects are recorded. Both methods may be called from any thread."""

    def begin(self, key: str, nonce: str) -> Future[Effect]:
        """Announce an effect. INTENDED: do it; else what became of it. Fails with AgentError if it cannot be."""

    def end(self, key: str, nonce: str, state: EffectState, result: bytes) -> Future[bool]:
        """Record what became of it, DONE with JSON text; False if the attempt is over or it was decided otherwise."""


def attempt_over() -> AgentError:
    """The error of an attempt that was stopped or replaced: it begins nothing more, and its result does not count."""
    return AgentError("the attempt is over: it was stopped, or another one has taken its place", reason="ATTEMPT_OVER")


@dataclass(frozen=True, slots=True)
class _Call:
    """Call this, and await what it returns if it can be awaited."""

    function: Callable[[], Any]


@dataclass(frozen=True, slots=True)
class _Reply:
    """Wait for this. With `through`, for a while even when the agent is cancelled meanwhile."""

    future: Future[Any]
    through: bool = True


_Steps = Generator[_Call | _Reply, Any, Any]


class Once:
    """Guards the effects of one attempt: of concurrent calls with one key, the later ones get the first one's result.

    Called where an event loop runs it returns an awaitable; elsewhere it blocks and returns the value.
    """

    def __init__(self, records: EffectRecords) -> None:
        self._records = records
        self._turns = Turns()

    def __call__(self, key: str, function: Callable[[], Any], reconcile: Reconcile | None = None) -> Any:
        """Do it, unless it is done. Raises Permanent for a key that will not do, EffectUnknown, and what it raises."""
        _check(key)
        steps = self._in_turn(key, function, reconcile)
        return _on_loop(steps) if _loop_runs() else _blocking(steps)

    def _in_turn(self, key: str, function: Callable[[], Any], reconcile: Reconcile | None) -> _Steps:
        if key in _inside.get():
            raise Permanent(f"once: what does {key!r} asks for {key!r} itself", reason="EFFECT_KEY_INVALID")
        turn = self._turns.take(key)
        try:
            yield _Reply(turn, through=False)
        except BaseException:
            self._turns.give_up(key, turn)
            raise
        outside = _inside.get()
        _inside.set(outside | {key})
        try:
            return (yield from self._effect(key, function, reconcile))
        finally:
            _inside.set(outside)
            self._turns.leave(key)

    def _effect(self, key: str, function: Callable[[], Any], reconcile: Reconcile | None) -> _Steps:
        while True:
            nonce = secrets.token_hex(8)
            effect = yield from self._begin(key, nonce)
            if effect.state is EffectState.DONE:
                return json.loads(effect.result)
            if effect.state is EffectState.INTENDED:
                return (yield from self._perform(key, nonce, function, reconcile))
            if reconcile is None:
                raise EffectUnknown(
                    f"attempt {effect.attempt} ended while it did {key!r}; whether it is done, a person has to find out"
                )
            found = yield _Call(partial(reconcile, key))
            if found is NOT_DONE:
                yield self._end(key, nonce, EffectState.FAILED)
                continue
            result = _dumped(key, found)
            if (yield self._end(key, nonce, EffectState.DONE, result)):
                return json.loads(result)

    def _begin(self, key: str, nonce: str) -> Generator[_Call | _Reply, Any, Effect]:
        begun = self._records.begin(key, nonce)
        try:
            effect: Effect = yield _Reply(begun)
        except asyncio.CancelledError:
            # Announced for nothing: without this the next attempt would have to ask whether it was done.
            if _result_of(begun) == EffectState.INTENDED:
                yield self._end(key, nonce, EffectState.FAILED)
            raise
        return effect

    def _perform(self, key: str, nonce: str, function: Callable[[], Any], reconcile: Reconcile | None) -> _Steps:
        try:
            value = yield _Call(function)
        except GeneratorExit:
            raise
        except BaseException as error:
            state = EffectState.UNKNOWN if _leaves_doubt(error) else EffectState.FAILED
            with suppress(AgentError):  # what it raised tells more
                yield self._end(key, nonce, state)
            if isinstance(error, EffectUnknown) and reconcile is not None:
                return (yield from self._ask(key, nonce, reconcile, error))
            raise
        return (yield from self._record(key, nonce, value))

    def _record(self, key: str, nonce: str, value: Any) -> _Steps:
        try:
            result = _dumped(key, value)
        except Permanent:
            # It has happened, but what it returned is lost: a hook or a person may know it.
            yield self._end(key, nonce, EffectState.UNKNOWN)
            raise
        if not (yield self._end(key, nonce, EffectState.DONE, result)):
            raise attempt_over()
        return json.loads(result)

    def _ask(self, key: str, nonce: str, reconcile: Reconcile, error: EffectUnknown) -> _Steps:
        found = yield _Call(partial(reconcile, key))
        if found is NOT_DONE:
            yield self._end(key, nonce, EffectState.FAILED)
            raise AgentError(f"{key!r} was not done: {error.message}", reason="EFFECT_NOT_DONE") from error
        return (yield from self._record(key, nonce, found))

    def _end(self, key: str, nonce: str, state: EffectState, result: bytes = b"") -> _Reply:
        return _Reply(self._records.end(key, nonce, state, result))


def _check(key: str) -> None:
    visible = isinstance(key, str) and key.isprintable() and not any(letter.isspace() for letter in key)
    if not visible or not 1 <= len(key) <= MAX_EFFECT_KEY_CHARS:
        shown = repr(key) if len(repr(key)) <= 60 else f"{repr(key)[:60]}..."
        raise Permanent(
            f"once: the key is {shown}; use 1 to {MAX_EFFECT_KEY_CHARS} visible characters, without spaces",
            reason="EFFECT_KEY_INVALID",
        )


def _leaves_doubt(error: BaseException) -> bool:
    """Whether an effect that ended so may have happened all the same."""
    return not isinstance(error, Exception) or isinstance(error, EffectUnknown | TimeoutError | CancelledError)


def _result_of(future: Future[Effect]) -> EffectState | None:
    known = future.done() and not future.cancelled() and future.exception() is None
    return future.result().state if known else None


def _dumped(key: str, value: Any) -> bytes:
    try:
        data = to_json(value, inf_nan_mode="constants")
        json.loads(data, parse_constant=_refuse)
    except Exception as error:  # several types come from there, none of them worth a retry
        raise Permanent(
            f"{key!r} was done, but what its function returned has no JSON form ({type(error).__name__}), so it cannot "
            "be kept: return JSON values, or nothing",
            reason="EFFECT_RESULT_INVALID",
        ) from error
    if len(data) > MAX_EFFECT_RESULT_BYTES:
        raise Permanent(
            f"{key!r} was done, but what its function returned takes {len(data)} bytes, more than "
            f"{MAX_EFFECT_RESULT_BYTES}, so it cannot be kept: return where it is found",
            reason="EFFECT_RESULT_TOO_LARGE",
        )
    return data


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")


def _loop_runs() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


async def _on_loop(steps: _Steps) -> Any:
    advance: Callable[[], _Call | _Reply] = partial(next, steps)
    while True:
        try:
            step = advance()
        except StopIteration as end:
            return end.value
        try:
            value = await _reply(step) if isinstance(step, _Reply) else step.function()
            advance = partial(steps.send, await value if inspect.isawaitable(value) else value)
        except GeneratorExit:
            raise
        except BaseException as error:
            advance = partial(steps.throw, error)


async def _reply(step: _Reply) -> Any:
    reply = asyncio.wrap_future(step.future)
    if not step.through:
        return await reply
    try:
        return await asyncio.shield(reply)
    except asyncio.CancelledError:
        await asyncio.wait([reply], timeout=SEE_THROUGH_SECONDS)
        raise


def _blocking(steps: _Steps) -> Any:
    advance: Callable[[], _Call | _Reply] = partial(next, steps)
    while True:
        try:
            step = advance()
        except StopIteration as end:
            return end.value
        try:
            value = step.future.result() if isinstance(step, _Reply) else step.function()
            advance = partial(steps.send, asyncio.run(_awaited(value)) if inspect.isawaitable(value) else value)
        except BaseException as error:
            advance = partial(steps.throw, error)


async def _awaited(value: Awaitable[Any]) -> Any:
    return await value
