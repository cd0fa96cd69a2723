"""Owns what a watcher knows of a task: the events folded into the states and times of its steps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from waybill.core.task import Event, EventType, Failure, StepState, TaskState, Usage


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


@dataclass
class TaskProgress:
    """One task as its events tell it. `apply` each event once, in order."""

    name: str
    goal: str = ""
    state: TaskState = TaskState.PLANNING
    accepted_ms: int = 0
    elapsed_ms: int = 0
    step_count: int = 0
    steps: dict[str, StepProgress] = field(default_factory=dict)
    failure: Failure | None = None
    usage: Usage = Usage()

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
                self.accepted_ms = event.time_ms
                self.state = event.state or self.state
            case EventType.TASK_PLANNED:
                self.state, self.step_count = TaskState.RUNNING, event.step_count
            case EventType.TASK_CANCELLING:
                self.state, self.failure = TaskState.CANCELLING, event.failure
            case EventType.TASK_FINISHED:
                self.state = event.state or self.state
                self.failure, self.elapsed_ms = event.failure, event.elapsed_ms
                self.usage = event.usage or self.usage
            case _:
                self._apply_to_step(self.steps.setdefault(event.step, StepProgress(event.step)), event)

    def _apply_to_step(self, step: StepProgress, event: Event) -> None:
        match event.type:
            case EventType.STEP_READY:
                step.state = StepState.READY
            case EventType.STEP_STARTED:
                step.state, step.attempt, step.started_ms = StepState.RUNNING, event.attempt, event.time_ms
                step.agent = event.agent or step.agent
                step.note, step.fraction = "", None
            case EventType.STEP_PROGRESS:
                step.note, step.fraction = event.message, event.fraction
            case EventType.STEP_TEXT:
                step.note = event.text.strip().rpartition("\n")[2] or step.note
            case EventType.STEP_RETRIED:
                step.state, step.failure, step.fraction = StepState.BACKOFF, event.failure, None
            case EventType.STEP_FINISHED:
                step.state = event.step_state or step.state
                step.run_ms, step.failure, step.note, step.fraction = event.run_ms, event.failure, "", None
