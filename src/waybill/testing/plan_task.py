"""The transitions of a task in memory: those of the ledger's functions, with the events that they append.

`tests/testing` holds them against the ledger itself. Which of the steps that are READY is started when is left to
whoever runs the agents.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from waybill.core.budget import TaskPolicy
from waybill.core.outputs import joined_outputs
from waybill.core.plan import FailurePolicy, Graph
from waybill.core.references import first_unmet
from waybill.core.retry import backoff_ms, may_retry
from waybill.core.task import Event, EventType, Failure, StepState, TaskState, Usage
from waybill.invocation import Result
from waybill.ledger.records import Outcome
from waybill.ledger.unpacking import task_root
from waybill.testing.plan_steps import Clock, MemoryStep

MAX_DEATHS = 3
_LET_GO = (StepState.SUCCEEDED, StepState.SKIPPED)
_NO_ANSWER = Failure("ANSWER_TIMEOUT", "nobody answered within the timeout of the question")
_LATE = Failure("DEADLINE_EXCEEDED", "the task did not end within its deadline_ms")


class MemoryTask:
    """One task whose plan is known. `ready` are the steps that may start, in order."""

    def __init__(
        self, graph: Graph, clock: Clock, *, goal: str, input: bytes, policy: TaskPolicy, deadline_ms: int
    ) -> None:
        self.clock = clock
        self.goal = goal
        self.root = task_root(goal.encode(), input)
        self.policy = policy
        self.state = TaskState.PLANNING if goal else TaskState.RUNNING
        self.on_failure = graph.failure_policy
        self.steps = {number: MemoryStep.of(number, linked) for number, linked in enumerate(graph.steps, 1)}
        self.sinks = {number for number, linked in enumerate(graph.steps, 1) if not linked.dependents}
        self.events: list[Event] = []
        self.ready: list[MemoryStep] = []
        self.outcome: TaskState | None = None
        self.failure: Failure | None = None
        self.usage = Usage()
        self.revision = 1
        self.revisions = 0
        self.revising = False
        self.round = 0
        self.added = 0
        self.created_ms = clock.now_ms
        self.ended_ms = 0
        self._dependents: dict[int, list[int]] = {}
        self._unblocking: set[int] = set()
        self.relink()
        self._deadline_ms = self.created_ms + deadline_ms if deadline_ms else None

    def begin(self) -> None:
        """Accept the task with its plan, and let go what waits for nothing."""
        self.tell(EventType.TASK_ACCEPTED, state=self.state)
        self.state = TaskState.RUNNING
        self.tell(EventType.TASK_PLANNED, revision=1, step_count=len(self.steps))
        self.let_go()

    @property
    def output(self) -> bytes:
        """What it returns, JSON text; empty unless it succeeded."""
        if self.state is not TaskState.SUCCEEDED:
            return b""
        sinks = [self.steps[number] for number in sorted(self.sinks)]
        return joined_outputs([(step.name, step.output) for step in sinks])

    def of_state(self, state: StepState) -> list[MemoryStep]:
        """The steps in this state."""
        return [step for step in self.steps.values() if step.state is state]

    @property
    def due_ms(self) -> int | None:
        """When something happens by itself next; None if nothing does."""
        waits = (self._deadline_ms, *(step.due_ms for step in self.steps.values()))
        return min((due for due in waits if due is not None), default=None)

    # What happens to it.

    def start(self, step: MemoryStep) -> None:
        """READY -> RUNNING."""
        self.ready.remove(step)
        now = self.clock.now_ms
        step.state, step.attempt, step.text = StepState.RUNNING, step.attempt + 1, ""
        step.wait_ms = now - step.ready_ms
        self.tell(EventType.STEP_STARTED, step, agent=step.step.agent, worker="memory")

    def report(self, step: MemoryStep, event: Event) -> None:
        """A running attempt has reported something."""
        if event.type is EventType.CALL_ENDED:
            self._count(step, event.usage or Usage())
        if event.type is EventType.STEP_TEXT:
            step.text = step.text[: event.text_offset] + event.text
        event.step, event.attempt = step.name, step.attempt
        self._append(event)

    def settle(
        self,
        step: MemoryStep,
        result: Result,
        spent: Usage,
        run_ms: int,
        patch: Callable[[], None] | None = None,
    ) -> None:
        """RUNNING ends, as an attempt came to it. `patch` is applied together with its success."""
        step.run_ms = run_ms
        self._count(step, spent)
        told: dict[str, Any] = {"usage": spent, "wait_ms": step.wait_ms, "run_ms": run_ms}
        if result.outcome is Outcome.SUCCEEDED:
            self.finish(step, StepState.SUCCEEDED, **told)
            step.output = result.output
            if patch is not None:
                patch()
            self.let_go()
        elif self.state is TaskState.CANCELLING:
            self.finish(step, StepState.CANCELLED, result.failure, **told)
            self.settle_task()
        elif result.outcome is Outcome.DIED:
            self._die(step, result.failure, told)
        else:
            self._fail(step, result, told)

    def answer(self, step: MemoryStep, answer: bytes) -> None:
        """WAITING -> SUCCEEDED with the answer, JSON text."""
        self.finish(step, StepState.SUCCEEDED)
        step.output = answer
        self.let_go()

    def tick(self) -> None:
        """What is due by now happens, the oldest first."""
        while not self.state.ended:
            now = self.clock.now_ms
            if self._deadline_ms is not None and self._deadline_ms <= now:
                self._deadline_ms = None
                if self.state is TaskState.RUNNING:
                    self.stop(TaskState.FAILED, _LATE)
            due = [(step.due_ms, step.number) for step in self.steps.values() if (step.due_ms or now + 1) <= now]
            if not due:
                return
            self._fire(self.steps[min(due)[1]])

    def _fire(self, step: MemoryStep) -> None:
        step.due_ms = None
        question = step.step.question
        if step.state is StepState.BACKOFF:
            self._ready(step)
        elif question is not None and question.default_answer:
            self.answer(step, question.default_answer)
        else:
            self._give_up(step, _NO_ANSWER, {})

    # What follows.

    def tell(self, kind: EventType, step: MemoryStep | None = None, **fields: Any) -> None:
        """Append an event, about an attempt of a step if one is given."""
        about: dict[str, Any] = {"step": step.name, "attempt": step.attempt} if step is not None else {}
        self._append(Event(type=kind, **about, **fields))

    def _append(self, event: Event) -> None:
        event.time_ms, event.sequence = self.clock.now_ms, len(self.events) + 1
        self.events.append(event)

    def _count(self, step: MemoryStep, used: Usage) -> None:
        step.usage, self.usage = step.usage + used, self.usage + used

    def advance(self) -> None:
        """Let go on whatever waits for nothing more, and skip what follows on skipped steps."""
        while self.state is TaskState.RUNNING and self._unblocking:
            candidates = sorted(self._unblocking)
            self._unblocking.clear()
            for step in (self.steps[number] for number in candidates):
                if step.state is StepState.PENDING and self._is_free(step):
                    self._arrive(step)

    def relink(self) -> None:
        """Know the edges of the plan anew; any step may wait for nothing now."""
        self._dependents = {number: [] for number in self.steps}
        for step in self.steps.values():
            for number in step.dependencies:
                self._dependents[number].append(step.number)
        self._unblocking.update(self.steps)

    def _is_free(self, step: MemoryStep) -> bool:
        return all(self.steps[number].state in _LET_GO for number in step.dependencies)

    def _arrive(self, step: MemoryStep) -> None:
        skipped = any(self.steps[number].state is StepState.SKIPPED for number in step.dependencies)
        if skipped and not step.step.allow_skipped:
            self.finish(step, StepState.SKIPPED)
            return
        numbers = {condition.number for condition in step.conditions}
        roots = {number: self.steps[number].output if number else self.root for number in numbers}
        step.note = first_unmet(step.conditions, roots)
        if step.note:
            self.finish(step, StepState.SKIPPED, message=step.note)
        else:
            self._ready(step)

    def _ready(self, step: MemoryStep) -> None:
        step.ready_ms = self.clock.now_ms
        question = step.step.question
        if question is None:
            step.state = StepState.READY
            self._append(Event(type=EventType.STEP_READY, step=step.name))
            self.ready.append(step)
            return
        step.state, step.attempt = StepState.WAITING, step.attempt + 1
        step.due_ms = step.ready_ms + question.timeout_ms if question.timeout_ms else None
        self.tell(EventType.STEP_WAITING, step, message=question.prompt)

    def finish(self, step: MemoryStep, state: StepState, failure: Failure | None = None, **told: Any) -> None:
        """The step ends. Without a failure of its own it keeps the one of its last attempt, unless it succeeded."""
        if step in self.ready:
            self.ready.remove(step)
        step.state, step.due_ms = state, None
        step.failure = None if state is StepState.SUCCEEDED else failure or step.failure
        self._unblocking.update(self._dependents[step.number])
        self.tell(EventType.STEP_FINISHED, step, step_state=state, failure=failure, **told)

    def let_go(self) -> None:
        """What waited for what has ended goes on; so does the task."""
        self.advance()
        self.settle_task()

    def _fail(self, step: MemoryStep, result: Result, told: dict[str, Any]) -> None:
        failure = result.failure or Failure("AGENT_ERROR", "")
        retry = step.step.retry
        step.tries += 1
        final = result.outcome is not Outcome.FAILED
        if final or not may_retry(retry, step.tries, failure.reason):
            self._give_up(step, failure, told)
            return
        delay_ms = backoff_ms(retry, step.tries, 0.0, result.retry_after_ms)
        step.state, step.failure, step.due_ms = StepState.BACKOFF, failure, self.clock.now_ms + delay_ms
        self.tell(EventType.STEP_RETRIED, step, failure=failure, delay_ms=delay_ms, **told)

    def _die(self, step: MemoryStep, failure: Failure | None, told: dict[str, Any]) -> None:
        step.deaths += 1
        if step.deaths >= MAX_DEATHS and failure is not None:
            self._give_up(step, failure, told)
            return
        step.failure = failure
        self.tell(EventType.STEP_RETRIED, step, failure=failure, delay_ms=0, **told)
        self._ready(step)

    def _give_up(self, step: MemoryStep, failure: Failure, told: dict[str, Any]) -> None:
        """The step fails for good: its plan is revised, or its task stops, or goes on without what depends on it."""
        self.finish(step, StepState.FAILED, failure, **told)
        asks = self.on_failure is FailurePolicy.REPLAN or failure.reason == "REPLAN"
        if asks and self.state is TaskState.RUNNING and self.may_be_revised:
            step.wants_revision = True
            self.tell(EventType.REVISION_REQUESTED, step, failure=failure)
            if not self.revising:
                self.begin_round()
        elif self.on_failure is not FailurePolicy.CONTINUE:
            self.stop(TaskState.FAILED, failure)
        else:
            self.failure, self.outcome = self.failure or failure, TaskState.FAILED
            for other in self.waiting_for(step):
                self.finish(other, StepState.SKIPPED)
            self.settle_task()

    @property
    def may_be_revised(self) -> bool:
        """Whether the task's policy leaves a revision."""
        return self.revisions < self.policy.max_revisions

    def begin_round(self) -> None:
        """A revision of the plan is wanted from now on."""
        self.revising, self.round = True, self.round + 1

    def waiting_for(self, failed: MemoryStep) -> Iterator[MemoryStep]:
        """The PENDING steps that depend on a step, directly or not, each once; to be ended as they come."""
        reached = [failed]
        while reached:
            for other in (self.steps[number] for number in self._dependents[reached.pop().number]):
                if other.state is StepState.PENDING:
                    yield other
                    reached.append(other)

    def stop(self, outcome: TaskState, failure: Failure | None) -> None:
        """RUNNING -> CANCELLING: what does not run ends at once; what runs is for the caller to stop."""
        self.revising = False
        self.state, self.outcome, self.failure = TaskState.CANCELLING, outcome, failure
        if any(not step.state.ended for step in self.steps.values()):
            self.tell(EventType.TASK_CANCELLING, failure=failure)
            for step in self.steps.values():
                if step.state is not StepState.RUNNING and not step.state.ended:
                    self.finish(step, StepState.CANCELLED)
        self.settle_task()

    def settle_task(self) -> None:
        """End the task once nothing is left that could change."""
        if self.revising or self.state.ended or any(not step.state.ended for step in self.steps.values()):
            return
        self.state, self.ended_ms = self.outcome or TaskState.SUCCEEDED, self.clock.now_ms
        self.failure = self.failure if self.state is TaskState.FAILED else None
        self.tell(
            EventType.TASK_FINISHED,
            state=self.state,
            failure=self.failure,
            usage=self.usage,
            elapsed_ms=self.ended_ms - self.created_ms,
        )
