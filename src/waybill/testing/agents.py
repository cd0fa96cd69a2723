"""Running one attempt of an agent in memory, with the checks of input, output and effects that a worker makes."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from waybill.agent import AgentDefinition
from waybill.core.budget import TaskPolicy
from waybill.core.plan import PlanStep
from waybill.core.task import Document, Usage
from waybill.models.scripted import ScriptedModel
from waybill.testing.context import MemoryContext, Progress
from waybill.testing.effects import MemoryEffects


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
