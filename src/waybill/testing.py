"""Running an agent in memory: no worker, no store, the same checks of its input, its output and its effects."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal

from waybill.adding import AddedSteps, added_step
from waybill.agent import AgentDefinition, Context
from waybill.chat import ChatRequest, Message, Reply, Tool
from waybill.chatting import Chat
from waybill.core.budget import TaskPolicy
from waybill.core.plan import PlanStep
from waybill.core.task import Document, EffectState, Usage
from waybill.ledger.records import Effect
from waybill.models.config import model_missing
from waybill.models.scripted import ScriptedModel
from waybill.once import Once, Reconcile


@dataclass(frozen=True, slots=True)
class Progress:
    """One call of `Context.progress`."""

    message: str
    fraction: float | None = None


class Crashed(BaseException):
    """The attempt ended as if its process had been killed: no `except Exception` of an agent stops it."""


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

    def _begin(self, context: MemoryContext, key: str, nonce: str) -> Effect:
        place = context.task, context.step, key
        with self._lock:
            effect, intended_by = self._effects.get(place, (None, ""))
            if effect is None or effect.state is EffectState.FAILED:
                effect, intended_by = Effect(EffectState.INTENDED, context.attempt), nonce
            elif effect.state is EffectState.INTENDED and intended_by != nonce:
                effect = Effect(EffectState.UNKNOWN, effect.attempt)
            self._effects[place] = effect, intended_by
            if effect.state is EffectState.INTENDED and self._crashes.get(key) == "before":
                raise self._crash(key)
            return effect

    def _end(self, context: MemoryContext, key: str, nonce: str, state: EffectState, result: bytes) -> bool:
        with self._lock:
            if self._crashes.get(key) == "after":
                raise self._crash(key)
            effect, intended_by = self._effects[context.task, context.step, key]
            mine = effect.state is EffectState.INTENDED and intended_by == nonce
            if not mine and (effect.state is not EffectState.UNKNOWN or state is EffectState.UNKNOWN):
                return False
            self._effects[context.task, context.step, key] = Effect(state, context.attempt, result), nonce
            return True

    def _crash(self, key: str) -> Crashed:
        del self._crashes[key]
        return Crashed(f"crashed while it did {key!r}")


class _Records:
    """One attempt's side of the effects: after a crash nothing more is recorded."""

    def __init__(self, context: MemoryContext) -> None:
        self._context = context
        self._crashed: Crashed | None = None

    def begin(self, key: str, nonce: str) -> Future[Effect]:
        """Announce an effect."""
        return self._done(lambda: self._context.effects._begin(self._context, key, nonce))

    def end(self, key: str, nonce: str, state: EffectState, result: bytes) -> Future[bool]:
        """Record what became of it."""
        return self._done(lambda: self._context.effects._end(self._context, key, nonce, state, result))

    def _done(self, call: Callable[[], Any]) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            if self._crashed is not None:
                raise self._crashed
            future.set_result(call())
        except Crashed as crashed:
            self._crashed = crashed
            raise
        return future


@dataclass(frozen=True, slots=True)
class AgentRun:
    """What one attempt returned and reported."""

    value: Any
    """What the function returned, as it is."""
    output: Any
    """The same as the next step gets it: JSON, decoded."""
    progress: list[Progress]
    text: str
    """All streamed text."""
    usage: Usage
    """What it said it spent, and what its model counted."""
    added: tuple[PlanStep, ...] = ()
    """The steps that it adds to its plan."""


@dataclass(slots=True)
class MemoryContext(Context):
    """A context that keeps what the agent reports. `deadline` is in epoch seconds; `hook` is the agent's own reconcile
    hook, which `run_agent` sets.
    """

    task: str = "task-1"
    step: str = "step"
    attempt: int = 1
    tenant: str = "default"
    deadline: float = 0.0
    sent: Sequence[Document] = ()
    reported: list[Progress] = field(default_factory=list)
    streamed: list[str] = field(default_factory=list)
    usage: Usage = Usage()
    effects: MemoryEffects = field(default_factory=MemoryEffects)
    hook: Callable[[Context, str], Any] | None = None
    model: ScriptedModel | None = None
    allowed: TaskPolicy = TaskPolicy()
    added: AddedSteps = field(default_factory=AddedSteps)
    _once: Once = field(init=False, repr=False)
    _cancelled: threading.Event = field(default_factory=threading.Event)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self._once = Once(_Records(self))

    @property
    def cancelled(self) -> bool:
        """Whether `cancel` was called."""
        return self._cancelled.is_set()

    def cancel(self) -> None:
        """Ask the attempt to stop."""
        self._cancelled.set()

    def progress(self, message: str, fraction: float | None = None) -> None:
        """Keep a report of progress."""
        self.reported.append(Progress(message, fraction))

    def text(self, text: str) -> None:
        """Keep streamed text."""
        self.streamed.append(text)

    def spend(self, *, input_tokens: int = 0, output_tokens: int = 0, cost_microusd: int = 0) -> None:
        """Add to what was used."""
        with self._lock:
            self.usage = self.usage + Usage(input_tokens, output_tokens, cost_microusd)

    async def documents(self) -> list[Document]:
        """The documents that the run was given."""
        return list(self.sent)

    def once(self, key: str, function: Callable[[], Any], *, reconcile: Reconcile | None = None) -> Any:
        """Do something that must not happen twice, as far as `effects` tells."""
        own = partial(self.hook, self) if self.hook else None
        return self._once(key, function, reconcile or own)

    @property
    def has_model(self) -> bool:
        """Whether the run was given a model."""
        return self.model is not None

    def chat(self, messages: str | Sequence[Message], *, tools: Sequence[Tool] = (), **options: Any) -> Any:
        """Ask the scripted model."""
        return Chat(self._ask)(messages, tools=tools, **options)

    async def policy(self) -> TaskPolicy:
        """The policy that the run was given."""
        return self.allowed

    def add_step(self, name: str, agent: str, input: Any, **options: Any) -> None:
        """Keep a step that is added."""
        self.added.add(added_step(name, agent, input, **options))

    def _ask(self, request: ChatRequest) -> Future[Reply]:
        future: Future[Reply] = Future()
        try:
            if self.model is None:
                raise model_missing()
            reply = self.model.answer(request)
        except Exception as error:
            future.set_exception(error)
            return future
        with self._lock:
            self.usage = self.usage + reply.usage
        if request.stream:
            self.text(reply.text)
        future.set_result(reply)
        return future


async def run_agent(
    definition: AgentDefinition,
    input: Mapping[str, Any],
    *,
    documents: Sequence[Document] = (),
    attempt: int = 1,
    task: str = "task-1",
    step: str = "step",
    tenant: str = "default",
    timeout_seconds: float = 60.0,
    effects: MemoryEffects | None = None,
    model: ScriptedModel | None = None,
    policy: TaskPolicy | None = None,
    context: MemoryContext | None = None,
) -> AgentRun:
    """Run one attempt of an agent and return what it gave and reported.

    Plain functions run in a thread. Pass the same `effects` to several attempts to see what the later ones do about
    what an earlier one did, also after a crash (`MemoryEffects.crash`). Without a `model` there is none, as for an
    operator who set none up; `policy` is what the task's author allows. Pass a `context` of your own to cancel it or to
    see what a failing agent reported; the other arguments about the attempt are then not used.
    Raises `Permanent` for an input or output that does not fit, TimeoutError after `timeout_seconds`, `Crashed` for a
    crash that was asked for, and whatever the agent raises.
    """
    context = context or MemoryContext(
        task=task,
        step=step,
        attempt=attempt,
        tenant=tenant,
        deadline=time.time() + timeout_seconds,
        sent=tuple(documents),
        effects=effects or MemoryEffects(),
        model=model,
        allowed=policy or TaskPolicy(),
    )
    context.hook = context.hook or definition.reconcile
    arguments = definition.parse_input(json.dumps(input).encode())
    positional = (context,) if definition.takes_context else ()
    async with asyncio.timeout(timeout_seconds):
        if definition.is_async:
            value = await definition.function(*positional, **arguments)
        else:
            value = await asyncio.to_thread(definition.function, *positional, **arguments)
    output = json.loads(definition.dump_output(value))
    text, added = "".join(context.streamed), context.added.steps
    return AgentRun(value, output, list(context.reported), text, context.usage, added)


__all__ = ["AgentRun", "Crashed", "MemoryContext", "MemoryEffects", "Progress", "ScriptedModel", "run_agent"]
