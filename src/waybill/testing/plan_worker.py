"""Runs the steps of a task in memory, as workers, dispatcher and people would together."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Callable, Mapping

from pydantic_core import to_json

from waybill.agent import AgentDefinition
from waybill.cancellation import cancel_all
from waybill.core.answers import check_answer
from waybill.core.limits import MAX_FAILURE_MESSAGE_CHARS
from waybill.core.plan import AgentSchema, Question
from waybill.core.references import resolve
from waybill.core.task import Event, Failure, StepState, TaskState
from waybill.errors import InvalidPlan, Permanent, WaybillError
from waybill.invocation import Result
from waybill.testing.context import MemoryContext
from waybill.testing.plan_attempt import MemoryAttempt
from waybill.testing.plan_patches import MemoryPatches, unmended
from waybill.testing.plan_people import Asked, People, Revision
from waybill.testing.plan_result import PlanStuck, StepRun, StepRuns
from waybill.testing.plan_steps import MemoryStep, inputs_of
from waybill.testing.plan_task import MemoryTask

MAX_PATCHES = 3
"""How often a patch is asked for in one round, if it does not fit."""
MakeContext = Callable[[MemoryStep, Callable[[Event], None], float], MemoryContext]


class MemoryWorker:
    """Runs one task to its end."""

    def __init__(
        self,
        task: MemoryTask,
        schemas: Mapping[str, AgentSchema],
        agents: Mapping[str, AgentDefinition],
        people: People,
        make_context: MakeContext,
        slots: int,
        longest_run_seconds: float,
    ) -> None:
        self._task = task
        self._patches = MemoryPatches(task, schemas)
        self._agents = agents
        self._people = people
        self._make_context = make_context
        self._slots = slots
        self._longest_run_seconds = longest_run_seconds
        self._running: dict[asyncio.Task[Result], MemoryAttempt] = {}
        self._revising: asyncio.Task[None] | None = None
        self._loop = asyncio.get_running_loop()

    async def run(self) -> None:
        """Run it. Raises `PlanStuck` and `InvalidArgument` as `run_plan` says."""
        task = self._task
        task.begin()
        try:
            while not task.state.ended:
                await self._answer()
                self._start()
                await self._until_something_happens()
                task.tick()
                if task.state is TaskState.CANCELLING:
                    for attempt in self._running.values():
                        attempt.stop()
        finally:
            await cancel_all([*self._running, *([self._revising] if self._revising else [])])

    async def _answer(self) -> None:
        """Give all answers that there are; one may lead to the next question."""
        while waiting := [
            step for step in self._task.of_state(StepState.WAITING) if self._people.has_answer(step.name)
        ]:
            for step in waiting:
                if step.state is StepState.WAITING and step.step.question is not None:
                    await self._answer_step(step, step.step.question)

    async def _answer_step(self, step: MemoryStep, question: Question) -> None:
        asked = Asked(step.name, question.prompt, self._question_input(step))
        answer = to_json(await self._people.answer(asked))
        if question.answer_schema:
            check_answer(question.answer_schema, answer)
        self._task.answer(step, answer)

    def _question_input(self, step: MemoryStep) -> object:
        try:
            return json.loads(resolve(step.step.input, inputs_of(step, self._task.steps, self._task.root)))
        except Permanent:
            return None

    def _start(self) -> None:
        task = self._task
        while task.ready and len(self._running) < self._slots:
            step = task.ready[0]
            task.start(step)
            limit_seconds = min(step.step.run_timeout_ms / 1000, self._longest_run_seconds)
            context = self._make_context(step, self._teller(step), limit_seconds)
            inputs = inputs_of(step, task.steps, task.root)
            attempt = MemoryAttempt(self._agents[step.step.agent], step, context, inputs)
            self._running[asyncio.ensure_future(attempt.run(limit_seconds))] = attempt
        if task.revising and self._revising is None:
            self._revising = asyncio.ensure_future(self._revise())

    def _teller(self, step: MemoryStep) -> Callable[[Event], None]:
        """Takes what an attempt reports, from any thread, until it is settled."""
        attempt = step.attempt

        def tell(event: Event) -> None:
            if step.state is StepState.RUNNING and step.attempt == attempt:
                self._task.report(step, event)

        def carry(event: Event) -> None:
            try:
                here = asyncio.get_running_loop() is self._loop
            except RuntimeError:
                here = False
            if here:
                tell(event)
                return
            with contextlib.suppress(RuntimeError):  # the test has ended meanwhile
                self._loop.call_soon_threadsafe(tell, event)

        return carry

    async def _until_something_happens(self) -> None:
        task, due_ms = self._task, self._task.due_ms
        under_way: list[asyncio.Task[Result] | asyncio.Task[None]] = [*self._running]
        if self._revising is not None:
            under_way.append(self._revising)
        if not under_way:
            if task.state.ended or task.ready or task.revising:
                return
            if due_ms is None:
                raise PlanStuck(self._stuck())
            task.clock.skip_to(due_ms)
            return
        wait_seconds = None if due_ms is None else max(0.0, (due_ms - task.clock.now_ms) / 1000)
        await asyncio.wait(under_way, timeout=wait_seconds, return_when=asyncio.FIRST_COMPLETED)
        for ended in [running for running in self._running if running.done()]:
            attempt = self._running.pop(ended)
            context = attempt.context
            spent = context.usage - context.called
            self._patches.settle(attempt.step, ended.result(), context.added, spent, attempt.run_ms)
        if self._revising is not None and self._revising.done():
            ended_revision, self._revising = self._revising, None
            ended_revision.result()

    def _stuck(self) -> str:
        told = [
            f"step {step.name} waits for an answer to {step.step.question.prompt!r}"
            for step in self._task.of_state(StepState.WAITING)
            if step.step.question is not None
        ]
        names = ", ".join(f"{step.name!r}: ..." for step in self._task.of_state(StepState.WAITING))
        return f"nothing can happen any more: {'; '.join(told)}. Give answers={{{names}}}"

    async def _revise(self) -> None:
        """Ask for patches until one is applied, or there is none: then the task stops for its failure."""
        task, round_ = self._task, self._task.round
        why = "" if self._people.can_replan else "the planner has no model to revise it with"
        try:
            for _ in range(MAX_PATCHES if self._people.can_replan else 0):
                patch = await self._people.revise(self._revision())
                if not task.revising or task.round != round_:
                    return
                if patch is None:
                    why = "no other way was found"
                    break
                try:
                    self._patches.revise(patch, _failed(task))
                    return
                except InvalidPlan as error:
                    why = f"no patch fitted: {error.message}"
        except WaybillError as error:
            why = error.message
        if task.revising and task.round == round_:
            first = unmended(task)[0].failure or Failure("REPLAN", "a step asked for another plan")
            message = f"{first.message}; the plan was not revised: {why}"[:MAX_FAILURE_MESSAGE_CHARS]
            task.stop(TaskState.FAILED, Failure(first.reason, message))

    def _revision(self) -> Revision:
        task = self._task
        first = unmended(task)[0]
        failure = first.failure or Failure("REPLAN", "a step asked for another plan")
        steps = StepRuns({step.name: StepRun.of(step) for step in task.steps.values()})
        return Revision(task.goal, first.name, failure, steps)


def _failed(task: MemoryTask) -> list[MemoryStep]:
    return [step for step in task.of_state(StepState.FAILED) if not step.dropped]
