"""Owns what a watcher knows of a task: the events folded into the states and times of its steps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from waybill.core.task import Event, EventType, Failure, StepState, TaskState, Usage

_TAIL_CHARS = 1_000
"""How much of a streamed text is kept: enough for its last line."""


@dataclass
class StepProgress:
    """One step as its events tell it. Times are epoch milliseconds by the store's clock."""

    name: str
    agent: str = ""
    state: StepState = StepState.PENDING
    attempt: int = 0
    started_ms: int = 0
    run_ms: int = 0
    note: str = ""
    fraction: float | None = None
    failure: Failure | None = None
    streamed_chars: int = 0
    tail: str = ""
    usage: Usage = Usage()

    def begin(self, state: StepState) -> None:
        """Come into a state in which nothing is told of yet; what an earlier attempt streamed is void."""
        self.state = state
        self.note, self.fraction, self.streamed_chars, self.tail = "", None, 0, ""

    def stream(self, offset: int, text: str) -> None:
        """Take streamed text in, which follows the first `offset` characters: what came after them before is void."""
        void = max(0, self.streamed_chars - offset)
        kept = self.tail[: max(0, len(self.tail) - void)]
        self.tail, self.streamed_chars = (kept + text)[-_TAIL_CHARS:], offset + len(text)
        self.note = self.tail.strip().rpartition("\n")[2]


@dataclass
class TaskProgress:
    """One task as its events tell it. `apply` each event once, in order.

    `counted_from_ms` is when it was accepted, or has begun if it was to begin later; 0 before.
    """

    name: str
    goal: str = ""
    state: TaskState = TaskState.PLANNING
    counted_from_ms: int = 0
    elapsed_ms: int = 0
    step_count: int = 0
    steps: dict[str, StepProgress] = field(default_factory=dict)
    failure: Failure | None = None
    usage: Usage = Usage()
    revision: int = 0
    note: str = ""
    calls: dict[tuple[str, int, int], Usage] = field(default_factory=dict)
    """What each model call used, by step, attempt and number: a later event replaces what an earlier one told."""

    def expect(self, steps: Sequence[tuple[str, str]]) -> None:
        """Know the plan's steps, as name and agent in the plan's order, before their events come."""
        known = self.steps
        self.steps = {name: known.get(name) or StepProgress(name, agent) for name, agent in steps}
        for name, agent in steps:
            self.steps[name].agent = agent
        self.steps |= {name: step for name, step in known.items() if name not in self.steps}

    @property
    def ended_steps(self) -> int:
        """How many steps have ended."""
        return sum(step.state.ended for step in self.steps.values())

    def apply(self, event: Event) -> None:
        """Take one event in."""
        match event.type:
            case EventType.TASK_ACCEPTED:
                self.state = event.state or self.state
                self.counted_from_ms = 0 if self.state is TaskState.SCHEDULED else event.time_ms
            case EventType.TASK_STARTED:
                self.state, self.counted_from_ms, self.note = event.state or self.state, event.time_ms, ""
            case EventType.TASK_PLANNED:
                self.state, self.step_count, self.revision = TaskState.RUNNING, event.step_count, event.revision
                self.note = ""
            case EventType.PLANNING_PROGRESS:
                self.note = event.message or (event.failure.message if event.failure else "")
            case EventType.REVISION_REQUESTED:
                self.note = f"revising the plan after {event.step}"
            case EventType.PLAN_REVISED:
                self.step_count, self.revision, self.note = event.step_count, event.revision, event.message
            case EventType.CALL_ENDED:
                self._count_call(event)
            case EventType.TASK_CANCELLING:
                self.state, self.failure, self.note = TaskState.CANCELLING, event.failure, ""
            case EventType.TASK_FINISHED:
                self.state = event.state or self.state
                self.failure, self.elapsed_ms = event.failure, event.elapsed_ms
                self.usage, self.note = event.usage or self.usage, ""
            case EventType.TASK_PAUSED:
                self.state = TaskState.PAUSED
            case EventType.TASK_RESUMED:
                self.state = TaskState.RUNNING
            case EventType.TASK_RETRIED:
                self._retry(event.state or TaskState.RUNNING)
            case EventType.STREAM_RESET:
                self._forget()
            case _:
                self._apply_to_step(self.steps.setdefault(event.step, StepProgress(event.step)), event)

    def _count_call(self, event: Event) -> None:
        """Count what a model call used, in place of what was told of it before."""
        key, used = (event.step, event.attempt, event.call), event.usage or Usage()
        self._count(event.step, used - self.calls.get(key, Usage()))
        self.calls[key] = used

    def _count(self, step: str, more: Usage) -> None:
        self.usage += more
        if step:  # the planner's calls are of no step
            counted = self.steps.setdefault(step, StepProgress(step))
            counted.usage += more

    def _retry(self, state: TaskState) -> None:
        """Run again from what did not succeed; failures are void."""
        self.state, self.failure, self.elapsed_ms, self.note = state, None, 0, ""
        for step in self.steps.values():
            if step.state is not StepState.SUCCEEDED:
                step.begin(StepState.PENDING)
                step.failure, step.run_ms = None, 0

    def _forget(self) -> None:
        """Know no more than at the start: the store lost events, and the history begins anew."""
        self.state, self.failure, self.usage = TaskState.PLANNING, None, Usage()
        self.counted_from_ms = self.elapsed_ms = self.step_count = self.revision = 0
        self.steps, self.calls, self.note = {}, {}, ""

    def _apply_to_step(self, step: StepProgress, event: Event) -> None:
        match event.type:
            case EventType.STEP_READY:
                step.state = StepState.READY
            case EventType.STEP_STARTED:
                step.begin(StepState.RUNNING)
                step.attempt, step.started_ms, step.agent = event.attempt, event.time_ms, event.agent or step.agent
            case EventType.STEP_WAITING:
                step.begin(StepState.WAITING)
                step.attempt, step.note = event.attempt, event.message
            case EventType.STEP_PROGRESS:
                step.note, step.fraction = event.message, event.fraction
            case EventType.STEP_TEXT:
                step.stream(event.text_offset, event.text)
            case EventType.STEP_RETRIED:
                step.begin(StepState.BACKOFF)
                step.failure = event.failure
                self._count(step.name, event.usage or Usage())
            case EventType.STEP_FINISHED:
                step.begin(event.step_state or step.state)
                step.run_ms, step.failure = event.run_ms, event.failure
                self._count(step.name, event.usage or Usage())
