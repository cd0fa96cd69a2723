"""Effects of `Context.once` in memory: what is known of them, and crashes between an effect and its record."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, Literal, Protocol

from waybill.core.task import EffectState
from waybill.ledger.records import Effect


class Crashed(BaseException):
    """The attempt ended as if its process had been killed: no `except Exception` of an agent stops it."""


class RunningAttempt(Protocol):
    """The attempt that an effect belongs to."""

    task: str
    step: str
    attempt: int
    effects: MemoryEffects


class MemoryEffects:
    """What is known of the effects that agents guard with `Context.once`, kept from one attempt to the next."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._effects: dict[tuple[str, str, str], tuple[Effect, str]] = {}
        self._crashes: dict[str, Literal["before", "after"]] = {}

    def crash(self, key: str, when: Literal["before", "after"] = "after") -> None:
        """Let the next attempt that does this effect crash: before its function runs, or after, before its record."""
        self._crashes[key] = when

    def state(self, key: str, *, task: str = "task-1", step: str = "step") -> EffectState | None:
        """What is known of an effect; None if it was never begun."""
        effect, _ = self._effects.get((task, step, key), (None, ""))
        return effect.state if effect else None

    def begin(self, attempt: RunningAttempt, key: str, nonce: str) -> Effect:
        """Announce an effect of an attempt; what is known of it. Raises `Crashed` if that was asked for."""
        place = attempt.task, attempt.step, key
        with self._lock:
            effect, intended_by = self._effects.get(place, (None, ""))
            if effect is None or effect.state is EffectState.FAILED:
                effect, intended_by = Effect(EffectState.INTENDED, attempt.attempt), nonce
            elif effect.state is EffectState.INTENDED and intended_by != nonce:
                effect = Effect(EffectState.UNKNOWN, effect.attempt)
            self._effects[place] = effect, intended_by
            if effect.state is EffectState.INTENDED and self._crashes.get(key) == "before":
                raise self._crash(key)
            return effect

    def end(self, attempt: RunningAttempt, key: str, nonce: str, state: EffectState, result: bytes) -> bool:
        """Record what became of an effect; False if it is no longer the attempt's. Raises `Crashed` likewise."""
        with self._lock:
            if self._crashes.get(key) == "after":
                raise self._crash(key)
            effect, intended_by = self._effects[attempt.task, attempt.step, key]
            mine = effect.state is EffectState.INTENDED and intended_by == nonce
            if not mine and (effect.state is not EffectState.UNKNOWN or state is EffectState.UNKNOWN):
                return False
            self._effects[attempt.task, attempt.step, key] = Effect(state, attempt.attempt, result), nonce
            return True

    def _crash(self, key: str) -> Crashed:
        del self._crashes[key]
        return Crashed(f"crashed while it did {key!r}")


class Records:
    """One attempt's side of the effects: after a crash nothing more is recorded."""

    def __init__(self, attempt: RunningAttempt) -> None:
        self._attempt = attempt
        self.crashed: Crashed | None = None

    def begin(self, key: str, nonce: str) -> Future[Effect]:
        """Announce an effect."""
        return self._done(lambda: self._attempt.effects.begin(self._attempt, key, nonce))

    def end(self, key: str, nonce: str, state: EffectState, result: bytes) -> Future[bool]:
        """Record what became of it."""
        return self._done(lambda: self._attempt.effects.end(self._attempt, key, nonce, state, result))

    def _done(self, call: Callable[[], Any]) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            if self.crashed is not None:
                raise self.crashed
            future.set_result(call())
        except Crashed as crashed:
            self.crashed = crashed
            raise
        return future
