"""The real thing for whole plans: a store, a worker and the parts of the dispatcher that plans need, in one loop."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

import msgspec
import plan_agents
from waybill_dispatcher.deciding import Deciding
from waybill_worker import frames
from waybill_worker.pool import ProcessPool
from waybill_worker.worker import Worker, drain_within

from waybill.agent import load_agents
from waybill.cancellation import cancel_all
from waybill.core.budget import TaskPolicy
from waybill.core.outputs import joined_outputs
from waybill.core.patch import Patch
from waybill.core.patching import KnownStep, link_patch
from waybill.core.plan import AgentSchema
from waybill.core.task import Event, StepState, TaskState
from waybill.errors import FailedPrecondition
from waybill.ledger.bells import Bells
from waybill.ledger.ledger import Ledger, new_task_id
from waybill.ledger.records import NewTask, RevisionLease, StepRecord, TaskRecord
from waybill.rpc.linking import link_plan
from waybill.rpc.specs import plan_from_json

Revise = Callable[[list[str], list[str]], Patch]
"""The patch for steps that failed, in a plan with these that are pending."""


@dataclass
class Ran:
    """A task as the ledger has it at its end."""

    task: TaskRecord
    steps: dict[str, StepRecord]
    events: list[Event]
    output: bytes


class RealPlans:
    """Runs plans with the agents of `plan_agents`; `opened` in a thread of its own."""

    def __init__(self, url: str, policy: TaskPolicy, revise: Revise, answers: Mapping[str, Any]) -> None:
        self._ledger = Ledger(url)
        self._bells = Bells(url)
        self._policy = policy
        self._revise = revise
        self._answers = answers
        self._numbers = itertools.count(1)
        self._schemas = {
            agent.name: AgentSchema(agent.name, agent.description, agent.input_schema, agent.output_schema)
            for agent in load_agents(["plan_agents"], entry_points=False).values()
        }

    @contextlib.contextmanager
    def opened(self) -> Iterator[None]:
        """While this is open plans can be run."""
        self._loop = asyncio.new_event_loop()
        thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        thread.start()
        try:
            closing = self._wait(self._open())
            yield
            self._wait(closing())
        finally:
            self._loop.call_soon_threadsafe(self._loop.stop)
            thread.join(10)
            self._loop.close()

    def run(self, plan: Mapping[str, Any]) -> Ran:
        """A plan, run to its end."""
        return self._wait(self._run(plan))

    def _wait(self, coroutine: Any) -> Any:
        future: Future[Any] = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        return future.result(60)

    async def _open(self) -> Callable[[], Any]:
        await self._ledger.connect()
        pool = ProcessPool(frames.Setup(("plan_agents",), tuple(sys.path), "WARNING"))
        worker = Worker(self._ledger, load_agents(["plan_agents"], entry_points=False), pool, name="w", slots=4)
        working = asyncio.create_task(worker.run("127.0.0.1:1"))
        others = [
            asyncio.create_task(part)
            for part in (self._bells.run(), Deciding(self._ledger, self._bells).run(), self._tick())
        ]
        while not await worker.ready():
            await asyncio.sleep(0.01)

        async def close() -> None:
            await drain_within(worker, working, 0.0)
            await cancel_all(others)
            await pool.close()
            await self._ledger.close()

        return close

    async def _tick(self) -> None:
        while True:
            await self._ledger.tick()
            for lease in await self._ledger.lease_revisions(1_000, 10):
                await self._patch(lease)
            await asyncio.sleep(0.02)

    async def _patch(self, lease: RevisionLease) -> None:
        record, steps = await self._task(lease.task)
        failed = [step for step in steps if step.state is StepState.FAILED and not step.dropped]
        known = [KnownStep(step.name, step.state, step.dependencies, step.dropped) for step in steps]
        pending = [step.name for step in steps if step.state is StepState.PENDING]
        patch = self._revise([step.name for step in failed], pending)
        linked = link_patch(patch, known, self._schemas, self._policy)
        with contextlib.suppress(FailedPrecondition):  # the plan has changed meanwhile: it is offered again
            await self._ledger.patch_plan(
                lease.task, record.revision, lease.round, [step.number for step in failed], linked
            )

    async def _task(self, task_id: str) -> tuple[TaskRecord, list[StepRecord]]:
        record = await self._ledger.task(task_id)
        return record, await self._ledger.steps(task_id, 1, record.step_count)

    async def _run(self, plan: Mapping[str, Any]) -> Ran:
        new = NewTask(
            id=new_task_id(),
            tenant="default",
            request_id=f"same-{next(self._numbers)}",
            fingerprint="same",
            graph=link_plan(plan_from_json(plan), self._schemas, self._policy),
            input=b'{"n":1}',
            policy=self._policy,
        )
        await self._ledger.submit([new])
        while True:
            record, steps = await self._task(new.id)
            if record.state.ended:
                break
            for step in steps:
                if step.state is StepState.WAITING:
                    with contextlib.suppress(FailedPrecondition):  # its task has stopped meanwhile
                        await self._ledger.answer(new.id, step.number, msgspec.json.encode(self._answers[step.name]))
            await asyncio.sleep(0.005)
        events = await self._ledger.events(new.id, 1, 10_000)
        return Ran(record, {step.name: step for step in steps}, events, await self._output(record, steps))

    async def _output(self, record: TaskRecord, steps: list[StepRecord]) -> bytes:
        if record.state is not TaskState.SUCCEEDED:
            return b""
        outputs = [steps[number - 1] for number in record.sinks]
        return joined_outputs([(step.name, step.output or b"null") for step in outputs])


assert plan_agents  # its agents are loaded by name
