"""Reading tasks: what a caller may see of a task's record, steps, attempts, metrics and events."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeVar

import msgspec

from waybill.api.v1 import task_pb2
from waybill.core.outputs import NOTHING, joined_outputs
from waybill.core.references import may_hold_references, references_of, resolve
from waybill.core.task import Event, StepState, TaskState
from waybill.errors import FailedPrecondition, NotFound, Permanent
from waybill.ledger.ledger import Ledger
from waybill.ledger.records import StepRecord, TaskRecord
from waybill.ledger.unpacking import named_outputs
from waybill_dispatcher import views
from waybill_dispatcher.attempts import Attempt, folded
from waybill_dispatcher.directory import AgentDirectory
from waybill_dispatcher.waiting import Standstill, standstill, waiting_reason

if TYPE_CHECKING:
    from waybill_dispatcher.archive import Archive

Result = TypeVar("Result")

_STEPS_A_READ = 500
_STEPS_WITH_PAYLOADS_A_READ = 50
_PAGE_BYTES = 8 * 1024 * 1024
"""A page of steps ends once their inputs and outputs are over this, which leaves room in a message."""


class TaskReads(Protocol):
    """Where a task is read from: the store, or the archive."""

    async def steps(self, task_id: str, first: int, last: int, *, payloads: bool = True) -> list[StepRecord]:
        """Steps number `first` to `last`."""

    async def outputs(self, task_id: str, numbers: Sequence[int]) -> list[bytes]:
        """Outputs of steps by number, JSON text; empty for one that has none."""


@dataclass(frozen=True, slots=True)
class Found:
    """A task, and where it is to be read from."""

    record: TaskRecord
    reads: TaskReads
    archived: bool


class History:
    """Reads of one tenant's tasks. A task of another tenant does not exist."""

    def __init__(self, ledger: Ledger, directory: AgentDirectory, archive: Archive | None = None) -> None:
        self._ledger = ledger
        self._directory = directory
        self._archive = archive

    async def stored(self, tenant: str, task_id: str) -> TaskRecord:
        """A task that the store has. Raises NotFound."""
        record = await self._ledger.task(task_id)
        if record.tenant != tenant:
            raise NotFound(f"there is no task {task_id}")
        return record

    async def found(self, tenant: str, task_id: str) -> Found:
        """A task of the store, or else of the archive. Raises NotFound."""
        try:
            return Found(await self.stored(tenant, task_id), self._ledger, archived=False)
        except NotFound:
            if self._archive is None:
                raise
        record = await self._archive.task(task_id)
        if record.tenant != tenant:
            raise NotFound(f"there is no task {task_id}")
        return Found(record, self._archive, archived=True)

    async def changeable(self, tenant: str, task_id: str) -> TaskRecord:
        """A task that something can be done with. Raises NotFound, and FailedPrecondition for one that is archived."""
        found = await self.found(tenant, task_id)
        if found.archived:
            raise FailedPrecondition(
                "the task is in the archive, where nothing can be done with it any more; submit it anew",
                reason="ARCHIVED",
            )
        return found.record

    async def read(self, tenant: str, task_id: str, work: Callable[[Found], Awaitable[Result]]) -> Result:
        """What `work` reads of a task. It reads in several calls, between which the store may drop the task: then it
        reads the archive instead.
        """
        found = await self.found(tenant, task_id)
        try:
            return await work(found)
        except NotFound:
            if found.archived or self._archive is None:
                raise
        now = await self.found(tenant, task_id)
        return await work(now)

    async def task(self, tenant: str, task_id: str) -> task_pb2.Task:
        """A task with its output, or with what it waits for. Raises NotFound."""
        return await self.read(tenant, task_id, self._task)

    async def _task(self, found: Found) -> task_pb2.Task:
        return views.task_message(
            found.record,
            output=await self._output(found),
            waiting_reason=await waiting_reason(self._ledger, self._directory, found.record),
            archived=found.archived,
            policy=found.record.policy,
        )

    async def _output(self, found: Found) -> bytes:
        record = found.record
        if record.state is not TaskState.SUCCEEDED:
            return b""
        outputs = await found.reads.outputs(record.id, record.sinks)
        if not all(outputs) and not found.archived:
            await self._ledger.task(record.id)  # a step that succeeded has an output: was the task dropped meanwhile?
        if len(record.sinks) == 1:
            return outputs[0] or NOTHING
        names = await self.step_names(found, record.sinks)
        return joined_outputs([(names[number], output) for number, output in zip(record.sinks, outputs, strict=True)])

    async def all_steps(self, found: Found) -> list[StepRecord]:
        """Every step of a task, without inputs and outputs."""
        steps: list[StepRecord] = []
        for first in range(1, found.record.step_count + 1, _STEPS_A_READ):
            last = min(first + _STEPS_A_READ - 1, found.record.step_count)
            steps += await found.reads.steps(found.record.id, first, last, payloads=False)
        return steps

    async def step_names(self, found: Found, numbers: Collection[int]) -> dict[int, str]:
        """Names of steps by number."""
        if not numbers:
            return {}
        wanted = set(numbers)
        return {step.number: step.name for step in await self.all_steps(found) if step.number in wanted}

    async def steps(self, tenant: str, task_id: str, after: int, limit: int) -> tuple[list[task_pb2.Step], int, int]:
        """Steps after number `after`, the number of the last one, and how many the task has. Raises NotFound.

        What is large comes in smaller pages.
        """
        return await self.read(tenant, task_id, lambda found: self._steps(found, after, limit))

    async def _steps(self, found: Found, after: int, limit: int) -> tuple[list[task_pb2.Step], int, int]:
        last = min(after + limit, found.record.step_count)
        steps: list[StepRecord] = []
        size_bytes = 0
        for first in range(after + 1, last + 1, _STEPS_WITH_PAYLOADS_A_READ):
            up_to = min(first + _STEPS_WITH_PAYLOADS_A_READ - 1, last)
            chunk = await found.reads.steps(found.record.id, first, up_to)
            for step in chunk:
                size_bytes += len(step.input) + len(step.output)
                if steps and size_bytes > _PAGE_BYTES:
                    break
                steps.append(step)
            if size_bytes > _PAGE_BYTES:
                break
        messages = await self._step_messages(found, steps)
        return messages, steps[-1].number if steps else last, found.record.step_count

    async def _step_messages(self, found: Found, steps: Sequence[StepRecord]) -> list[task_pb2.Step]:
        names = await self.step_names(found, {number for step in steps for number in step.dependencies})
        held_up = Standstill()
        if not found.archived:
            states = {step.number: step.state for step in steps}
            held_up = await standstill(self._ledger, self._directory, found.record, states)
        return [
            views.step_message(
                found.record.id,
                step,
                [names[number] for number in step.dependencies],
                waiting_reason=held_up.reason(step),
                question_input=await self._question_input(found.record, step, names),
            )
            for step in steps
        ]

    async def _question_input(self, task: TaskRecord, step: StepRecord, names: dict[int, str]) -> bytes:
        """What the answer to a question is about: the step's input with its references resolved, if they can be."""
        if step.state is not StepState.WAITING:
            return b""
        if not may_hold_references(step.input):
            return step.input
        try:
            roots = {reference.root for reference in references_of(msgspec.json.decode(step.input))}
            numbers = [number for number in step.dependencies if names[number] in roots]
            outputs = await self._ledger.outputs(task.id, numbers)
            given: list[bytes | None] = list(outputs)
            known = [names[number].encode() for number in numbers]
            if "task" in roots:
                known += [b"task.goal", b"task.input"]
                given += [task.goal.encode(), await self._ledger.task_input(task.id)]
            return await asyncio.to_thread(resolve, step.input, named_outputs(known, given))
        except Permanent:
            return b""

    async def numbered_step(self, record: TaskRecord, name: str, *, payloads: bool = False) -> StepRecord:
        """A step of a stored task by its name. Raises NotFound."""
        return await self.found_step(Found(record, self._ledger, archived=False), name, payloads=payloads)

    async def found_step(self, found: Found, name: str, *, payloads: bool = False) -> StepRecord:
        """A step of a task by its name. Raises NotFound."""
        for first in range(1, found.record.step_count + 1, _STEPS_A_READ):
            last = min(first + _STEPS_A_READ - 1, found.record.step_count)
            for step in await found.reads.steps(found.record.id, first, last, payloads=False):
                if step.name == name:
                    if not payloads:
                        return step
                    return (await found.reads.steps(found.record.id, step.number, step.number))[0]
        raise NotFound(f"task {found.record.id} has no step {name}")

    async def step(self, tenant: str, task_id: str, name: str) -> task_pb2.Step:
        """A step by its name. Raises NotFound."""

        async def read(found: Found) -> task_pb2.Step:
            (message,) = await self._step_messages(found, [await self.found_step(found, name, payloads=True)])
            return message

        return await self.read(tenant, task_id, read)

    async def attempts(self, tenant: str, task_id: str, step_name: str) -> list[Attempt]:
        """The attempts of a step, oldest first. Raises NotFound."""

        async def read(found: Found) -> list[Attempt]:
            step = await self.found_step(found, step_name)
            if found.archived and self._archive is not None:
                return await self._archive.attempts(task_id, step.number)
            return (await folded(self._ledger, found.record)).of(step_name)

        return await self.read(tenant, task_id, read)

    async def metrics(self, tenant: str, task_id: str) -> task_pb2.TaskMetrics:
        """Latency and cost of a task. Raises NotFound."""

        async def read(found: Found) -> task_pb2.TaskMetrics:
            return views.metrics_message(found.record, await self.all_steps(found), int(time.time() * 1000))

        return await self.read(tenant, task_id, read)

    async def events(self, tenant: str, task_id: str, first: int, limit: int) -> list[Event]:
        """Events that exist. Raises NotFound, also for an archived task: events are not kept there."""
        record = await self.stored(tenant, task_id)
        return await self._ledger.events(task_id, first, limit) if first <= record.last_sequence else []
