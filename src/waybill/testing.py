"""Running an agent in memory: no worker, no store, the same checks of its input and output."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from waybill.agent import AgentDefinition, Context
from waybill.core.task import Document, Usage


@dataclass(frozen=True, slots=True)
class Progress:
    """One call of `Context.progress`."""

    message: str
    fraction: float | None = None


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


@dataclass(slots=True)
class MemoryContext(Context):
    """A context that keeps what the agent reports. `deadline` is in epoch seconds."""

    task: str = "task-1"
    step: str = "step"
    attempt: int = 1
    tenant: str = "default"
    deadline: float = 0.0
    sent: Sequence[Document] = ()
    reported: list[Progress] = field(default_factory=list)
    streamed: list[str] = field(default_factory=list)
    usage: Usage = Usage()
    _cancelled: threading.Event = field(default_factory=threading.Event)
    _lock: threading.Lock = field(default_factory=threading.Lock)

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
    context: MemoryContext | None = None,
) -> AgentRun:
    """Run one attempt of an agent and return what it gave and reported.

    Plain functions run in a thread. Pass a `context` of your own to cancel it or to see what a failing agent
    reported; the other arguments about the attempt are then not used.
    Raises `Permanent` for an input or output that does not fit, TimeoutError after `timeout_seconds`, and whatever
    the agent raises.
    """
    context = context or MemoryContext(
        task=task,
        step=step,
        attempt=attempt,
        tenant=tenant,
        deadline=time.time() + timeout_seconds,
        sent=tuple(documents),
    )
    arguments = definition.parse_input(json.dumps(input).encode())
    positional = (context,) if definition.takes_context else ()
    async with asyncio.timeout(timeout_seconds):
        if definition.is_async:
            value = await definition.function(*positional, **arguments)
        else:
            value = await asyncio.to_thread(definition.function, *positional, **arguments)
    output = json.loads(definition.dump_output(value))
    return AgentRun(value, output, list(context.reported), "".join(context.streamed), context.usage)


__all__ = ["AgentRun", "MemoryContext", "Progress", "run_agent"]
