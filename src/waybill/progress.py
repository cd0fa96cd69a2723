"""Owns what a watcher knows of a task: its events folded into the states, texts and times of its steps."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from waybill.core.task import Event, EventType, Failure, StepState, TaskState, Usage

_LINE_CHARS = 1_000
"""How much of the end of a streamed text is looked at for its last line."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a task is, at one moment. `sequence` is the number of the last event that it is made of.

    `fraction` is the part of the plan's steps that has ended, running ones counted by what they tell of themselves;
    1.0 once the task has ended; it falls when the plan grows. `steps` says how many steps are in each state that any is
    in. `messages` has what steps that run or wait have told last, `text` all that the last attempt of each step has
    streamed so far.
    """

    task: str
    sequence: int
    state: TaskState
    fraction: float
    steps: Mapping[StepState, int]
    messages: Mapping[str, str]
    text: Mapping[str, str]
    usage: Usage
    note: str
    failure: Failure | None

    @property
    def step_count(self) -> int:
        """How many steps the plan has; 0 before there is one."""
        return sum(self.steps.values())

    @property
    def ended_step_count(self) -> int:
        """How many steps have ended."""
        return sum(count for state, count in self.steps.items() if state.ended)


@dataclass
class StepProgress:
    """One step as its events tell it. Times are epoch milliseconds by the store's clock. `text` is what its attempt has
    streamed, from character `text_offset` on: from 0 for whoever saw the attempt begin. It stays when the step ends.
    """

    name: str
    agent: str = ""
    state: StepState = StepState.PENDING
    attempt: int = 0
    started_ms: int = 0
    run_ms: int = 0
    note: str = ""
    fraction: float | None = None
    failure: Failure | None = None
    text: str = ""
    text_offset: int = 0
    usage: Usage = Usage()

    def begin(self, state: StepState) -> None:
        """Come into a state in which nothing is told of yet; what an earlier attempt streamed is void."""
        self.state = state
        self.note, self.fraction = "", None
        if not state.ended:
            self.text, self.text_offset = "", 0

    def stream(self, offset: int, text: str) -> None:
        """Take streamed text in, which follows the first `offset` characters: what came after them before is void."""
        known = offset - self.text_offset
        if 0 <= known <= len(self.text):
            self.text = self.text[:known] + text
        else:
            self.text, self.text_offset = text, offset
        self.note = self.text[-_LINE_CHARS:].strip().rpartition("\n")[2]


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
    sequence: int = 0
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

    @property
    def fraction(self) -> float:
        """How much of the plan is done, from 0.0 to 1.0; running steps count by what they tell."""
        if self.state.ended:
            return 1.0
        partly = sum(step.fraction or 0.0 for step in self.steps.values() if not step.state.ended)
        return min(1.0, (self.ended_steps + partly) / max(1, self.step_count, len(self.steps)))

    def snapshot(self) -> Progress:
        """How far the task is."""
        counted = Counter(step.state for step in self.steps.values())
        counted[StepState.PENDING] += max(0, self.step_count - len(self.steps))
        return Progress(
            task=self.name,
            sequence=self.sequence,
            state=self.state,
            fraction=self.fraction,
            steps={state: count for state, count in counted.items() if count},
            messages={step.name: step.note for step in self.steps.values() if step.note},
            text={step.name: step.text for step in self.steps.values() if step.text},
            usage=self.usage,
            note=self.note,
            failure=self.failure,
        )

    def apply(self, event: Event) -> None:
        """Take one event in."""
        self.sequence = event.sequence
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
