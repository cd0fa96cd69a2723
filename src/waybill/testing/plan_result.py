"""What a plan that ran in memory came to, made for assertions: whatever is shown tells the whole story."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from waybill.core.task import Event, Failure, StepState, TaskState, Usage
from waybill.core.violations import closest, listing
from waybill.testing.plan_steps import MemoryStep
from waybill.testing.plan_task import MemoryTask

_SHOWN_CHARS = 100


class PlanFailed(AssertionError):
    """The plan did not succeed, and its test asked for its output. The message shows every step."""


class PlanStuck(AssertionError):
    """Nothing can happen any more: steps wait for answers that the test does not give."""


@dataclass(frozen=True, slots=True)
class StepRun:
    """A step as it ended. `output` is decoded JSON, None unless it succeeded; `attempts` is how often it ran or asked;
    `note` says which condition did not hold, for a step that was skipped for that; `text` is what its last attempt
    streamed. `dropped` steps were taken out by a revision.
    """

    name: str
    agent: str
    state: StepState
    output: Any
    attempts: int
    failure: Failure | None
    text: str
    usage: Usage
    note: str = ""
    dropped: bool = False

    @classmethod
    def of(cls, step: MemoryStep) -> StepRun:
        """The step as it stands."""
        return cls(
            name=step.name,
            agent=step.step.agent,
            state=step.state,
            output=json.loads(step.output) if step.output else None,
            attempts=step.attempt,
            failure=step.failure,
            text=step.text,
            usage=step.usage,
            note=step.note,
            dropped=step.dropped,
        )

    def __str__(self) -> str:
        told = f"{self.name}: {self.state}"
        if self.attempts > 1:
            told += f" after {self.attempts} attempts"
        if self.failure is not None:
            told += f", {self.failure.reason}: {self.failure.message}"
        elif self.note:
            told += f", {self.note}"
        elif self.state is StepState.SUCCEEDED:
            told += f", {_shown(self.output)}"
        return told


class StepRuns(dict[str, StepRun]):
    """Steps by name, in the order of the plan; what was added comes last."""

    def __missing__(self, name: str) -> StepRun:
        raise KeyError(f"the plan has no step {name!r}{closest(name, self)}; its steps: {listing(self)}")


@dataclass(frozen=True)
class PlanRun:
    """A plan that has ended. `elapsed_ms` includes waits for backoffs and people, which took no time."""

    state: TaskState
    steps: Mapping[str, StepRun]
    events: Sequence[Event]
    failure: Failure | None
    usage: Usage
    elapsed_ms: int
    revision: int
    output_json: bytes = field(repr=False)

    @classmethod
    def of(cls, task: MemoryTask) -> PlanRun:
        """The task as it ended."""
        return cls(
            state=task.state,
            steps=StepRuns({step.name: StepRun.of(step) for step in task.steps.values()}),
            events=tuple(task.events),
            failure=task.failure,
            usage=task.usage,
            elapsed_ms=task.ended_ms - task.created_ms,
            revision=task.revision,
            output_json=task.output,
        )

    @property
    def output(self) -> Any:
        """What the task returned, decoded. Raises `PlanFailed`, with every step, unless it succeeded."""
        if self.state is not TaskState.SUCCEEDED:
            raise PlanFailed(f"the plan did not succeed: {self}")
        return json.loads(self.output_json)

    @property
    def text(self) -> Mapping[str, str]:
        """What was streamed, by step, for the steps that streamed something."""
        return {name: step.text for name, step in self.steps.items() if step.text}

    def __str__(self) -> str:
        told = f"{self.failure.reason}: {self.failure.message}" if self.failure is not None else ""
        lines = [f"{self.state}{f', {told}' if told else ''}", *(f"  {step}" for step in self.steps.values())]
        return "\n".join(lines)

    def __repr__(self) -> str:
        return f"<PlanRun {self}>"


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _SHOWN_CHARS else f"{text[:_SHOWN_CHARS]}..."
