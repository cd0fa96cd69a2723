"""Reading tasks: what a caller may see of a task's record, steps, metrics and events."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Collection

from waybill.api.v1 import task_pb2
from waybill.core.task import Event, EventType, StepState, TaskState
from waybill.errors import InvalidArgument, NotFound
from waybill.ledger.bells import Bells
from waybill.ledger.ledger import Ledger
from waybill.ledger.reads import ListPosition
from waybill.ledger.records import StepRecord, TaskFilter, TaskRecord
from waybill_dispatcher import views
from waybill_dispatcher.directory import AgentDirectory

EVENTS_A_MESSAGE = 500
_LOOK_SECONDS = 1.0
_STEPS_A_READ = 500


class History:
    """Reads of one tenant's tasks. A task of another tenant does not exist."""

    def __init__(self, ledger: Ledger, bells: Bells, directory: AgentDirectory) -> None:
        self._ledger = ledger
        self._bells = bells
        self._directory = directory

    async def record(self, tenant: str, task_id: str) -> TaskRecord:
        """The stored task. Raises NotFound."""
        record = await self._ledger.task(task_id)
        if record.tenant != tenant:
            raise NotFound(f"there is no task {task_id}")
        return record

    async def task(self, tenant: str, task_id: str) -> task_pb2.Task:
        """A task with its output, or with what it waits for. Raises NotFound."""
        record = await self.record(tenant, task_id)
        return views.task_message(
            record, output=await self._output(record), waiting_reason=await self._waiting_reason(record)
        )

    async def _output(self, record: TaskRecord) -> bytes:
        if record.state is not TaskState.SUCCEEDED:
            return b""
        outputs = await self._ledger.outputs(record.id, record.sinks)
        if len(record.sinks) == 1:
            return outputs[0]
        names = await self._names(record, record.sinks)
        return views.joined_outputs(
            [(names[number], output) for number, output in zip(record.sinks, outputs, strict=True)]
        )

    async def _waiting_reason(self, record: TaskRecord) -> str:
        if record.state is TaskState.PLANNING:
            return record.planning_note
        if record.state is not TaskState.RUNNING:
            return ""
        idle = await self._directory.idle_agents()
        if not idle:
            return ""
        waiting = {
            step.agent for step in await self._all_steps(record) if step.state is StepState.READY and step.agent in idle
        }
        return "; ".join(views.no_worker(agent) for agent in sorted(waiting))

    async def _all_steps(self, record: TaskRecord) -> list[StepRecord]:
        found: list[StepRecord] = []
        for first in range(1, record.step_count + 1, _STEPS_A_READ):
            last = min(first + _STEPS_A_READ - 1, record.step_count)
            found += await self._ledger.steps(record.id, first, last, payloads=False)
        return found

    async def _names(self, record: TaskRecord, numbers: Collection[int]) -> dict[int, str]:
        if not numbers:
            return {}
        return {step.number: step.name for step in await self._all_steps(record) if step.number in set(numbers)}

    async def tasks(
        self, tenant: str, limit: int, after: ListPosition | None, wanted: TaskFilter
    ) -> tuple[list[task_pb2.Task], ListPosition | None]:
        """A page of the tenant's tasks, newest first, and where the next one starts."""
        records, position = await self._ledger.list_tasks(tenant, limit, after, wanted)
        return [views.task_message(record) for record in records], position

    async def steps(self, tenant: str, task_id: str, after: int, limit: int) -> tuple[list[task_pb2.Step], int, int]:
        """Steps after number `after`, the number of the last one, and how many the task has. Raises NotFound."""
        record = await self.record(tenant, task_id)
        last = min(after + limit, record.step_count)
        steps = await self._ledger.steps(task_id, after + 1, last)
        names = await self._names(record, {number for step in steps for number in step.dependencies})
        idle = await self._directory.idle_agents()
        messages = [
            views.step_message(task_id, step, [names[number] for number in step.dependencies], idle) for step in steps
        ]
        return messages, last, record.step_count

    async def metrics(self, tenant: str, task_id: str) -> task_pb2.TaskMetrics:
        """Latency and cost of a task. Raises NotFound."""
        record = await self.record(tenant, task_id)
        return views.metrics_message(record, await self._all_steps(record), int(time.time() * 1000))

    async def events(self, tenant: str, task_id: str, first: int, limit: int) -> list[Event]:
        """Events that exist. Raises NotFound."""
        await self.record(tenant, task_id)
        return await self._ledger.events(task_id, first, limit)

    async def follow(self, tenant: str, task_id: str, first: int) -> AsyncIterator[list[Event]]:
        """Events from sequence number `first` on, as they come; ends after the terminal one.

        Raises NotFound, also when the task expires meanwhile, and InvalidArgument if `first` lies beyond the next
        event.
        """
        async with self._bells.listen(task_id) as rung:
            record = await self.record(tenant, task_id)
            if first > record.last_sequence + 1:
                raise InvalidArgument.of_field(
                    "from_sequence", f"is {first}, and the next event has number {record.last_sequence + 1}"
                )
            while True:
                rung.clear()
                events = await self._ledger.events(task_id, first, EVENTS_A_MESSAGE)
                if events:
                    yield events
                    first += len(events)
                    if events[-1].type is EventType.TASK_FINISHED:
                        return
                elif record.state.ended and first > record.last_sequence:
                    return
                elif not await _rings(rung):
                    record = await self.record(tenant, task_id)


async def _rings(rung: asyncio.Event) -> bool:
    """Wait for a ring, but no longer than it takes to look without one."""
    try:
        async with asyncio.timeout(_LOOK_SECONDS):
            return await rung.wait()
    except TimeoutError:
        return False
