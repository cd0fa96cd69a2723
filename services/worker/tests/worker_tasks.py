"""Tasks for workers on a real ledger, and a clock that ticks as the dispatcher does."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

import msgspec

from waybill.agent import AgentDefinition
from waybill.cancellation import cancel_all
from waybill.core.budget import Budget, TaskPolicy
from waybill.core.plan import AgentSchema, Plan, PlanStep, RetryPolicy
from waybill.core.validation import link
from waybill.errors import Unavailable
from waybill.ledger.ledger import Ledger, new_task_id
from waybill.ledger.records import NewTask, StepRecord, TaskRecord

_numbers = itertools.count(1)


def step(name: str, agent: str, input: Any = None, *, after: Sequence[str] = (), **options: Any) -> PlanStep:
    """A step that is tried again at once, twice."""
    options.setdefault("retry", RetryPolicy(max_attempts=3, initial_backoff_ms=1, max_backoff_ms=1))
    return PlanStep(name, agent, msgspec.json.encode(input or {}), tuple(after), **options)


async def submit(
    ledger: Ledger,
    agents: Mapping[str, AgentDefinition],
    *steps: PlanStep,
    input: Any = None,
    tenant: str = "default",
    budget: Budget | None = None,
    policy: TaskPolicy | None = None,
) -> str:
    """Submit a plan, checked against these agents; the id of its task."""
    schemas = {
        agent.name: AgentSchema(agent.name, agent.description, agent.input_schema, agent.output_schema)
        for agent in agents.values()
    }
    task = NewTask(
        id=new_task_id(),
        tenant=tenant,
        request_id=f"worker-{next(_numbers)}",
        fingerprint="same",
        graph=link(Plan(steps), schemas),
        input=msgspec.json.encode(input),
        budget=budget,
        policy=policy,
    )
    (accepted,) = await ledger.submit([task])
    assert not isinstance(accepted, Exception), accepted
    return task.id


async def ended(ledger: Ledger, task_id: str, seconds: float = 60) -> TaskRecord:
    """The task, once it has ended."""
    async with asyncio.timeout(seconds):
        while not (task := await ledger.task(task_id)).state.ended:
            await asyncio.sleep(0.02)
    return task


async def running(ledger: Ledger, task_id: str, message: str) -> None:
    """Return once a step of the task has reported this message."""
    async with asyncio.timeout(60):
        while not any(event.message == message for event in await ledger.events(task_id, 1, 1_000)):
            await asyncio.sleep(0.02)


async def steps_of(ledger: Ledger, task_id: str) -> dict[str, StepRecord]:
    """The steps of a task by name."""
    count = (await ledger.task(task_id)).step_count
    return {record.name: record for record in await ledger.steps(task_id, 1, count)}


@contextlib.asynccontextmanager
async def ticking(ledger: Ledger) -> AsyncIterator[None]:
    """Timers and reclaiming go on meanwhile."""

    async def tick() -> None:
        while True:
            with contextlib.suppress(Unavailable):  # then no time goes by
                await ledger.tick()
            await asyncio.sleep(0.05)

    ticker = asyncio.create_task(tick())
    try:
        yield
    finally:
        await cancel_all([ticker])
