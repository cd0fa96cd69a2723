"""The state that a task's events tell, in the terms of the public API."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from waybill.core.task import Event, Failure, Usage


@dataclass
class FoldedStep:
    """A step by its history."""

    state: str = "pending"
    attempt: int = 0
    worker: str = ""
    failure: Failure | None = None
    usage: Usage = Usage()
    text: str = ""
    attempts: int = 0
    ready_ms: int = 0
    wait_ms: int = 0
    run_ms: int = 0


@dataclass
class FoldedTask:
    """A task by its history."""

    state: str = ""
    failure: Failure | None = None
    revision: int = 0
    step_count: int = 0
    last_sequence: int = 0
    usage: Usage = Usage()
    steps: dict[str, FoldedStep] = field(default_factory=dict)
    calls: dict[tuple[str, int, int], Usage] = field(default_factory=dict)
    """What each model call used, by step, attempt and number; the planner's step has no name."""


ENDED = ("succeeded", "failed", "cancelled", "skipped")


def fold(events: Iterable[Event]) -> FoldedTask:
    """The state after these events, from the first on."""
    task = FoldedTask()
    for event in events:
        task.last_sequence = event.sequence
        if event.type.value == "call_ended":
            _fold_call(task, event)
        elif event.type.value == "plan_revised":
            task.revision, task.step_count = event.revision, event.step_count
        elif event.step:
            _fold_step(task, task.steps.setdefault(event.step, FoldedStep()), event)
        else:
            _fold_task(task, event)
    return task


def _fold_call(task: FoldedTask, event: Event) -> None:
    key, used = (event.step, event.attempt, event.call), event.usage or Usage()
    more = used - task.calls.get(key, Usage())
    task.calls[key], task.usage = used, task.usage + more
    if event.step:
        step = task.steps.setdefault(event.step, FoldedStep())
        step.usage += more


def _fold_task(task: FoldedTask, event: Event) -> None:
    match event.type.value:
        case "task_accepted":
            task.state = str(event.state)
        case "task_planned":
            task.state, task.revision, task.step_count = "running", event.revision, event.step_count
        case "task_cancelling":
            task.state, task.failure = "cancelling", event.failure
        case "task_paused":
            task.state = "paused"
        case "task_resumed":
            task.state = "running"
        case "task_retried":
            task.state, task.failure = str(event.state), None
            for step in task.steps.values():
                if step.state != "succeeded":
                    step.state, step.failure = "pending", None
        case "task_finished":
            task.state, task.failure = str(event.state), event.failure


def _fold_step(task: FoldedTask, step: FoldedStep, event: Event) -> None:
    match event.type.value:
        case "step_ready":
            step.state, step.ready_ms = "ready", event.time_ms
        case "step_started":
            step.state, step.attempt, step.worker, step.text = "running", event.attempt, event.worker, ""
            step.attempts, step.wait_ms = step.attempts + 1, step.wait_ms + event.time_ms - step.ready_ms
        case "step_waiting":
            step.state, step.attempt, step.worker, step.attempts = "waiting", event.attempt, "", step.attempts + 1
        case "step_text":
            step.text = step.text[: event.text_offset] + event.text
        case "step_retried":
            step.state, step.failure = "backoff", event.failure
            _spend(task, step, event)
        case "step_finished":
            step.state = str(event.step_state)
            step.failure = None if step.state == "succeeded" else event.failure or step.failure
            _spend(task, step, event)


def _spend(task: FoldedTask, step: FoldedStep, event: Event) -> None:
    if event.usage is not None:
        step.usage, task.usage = step.usage + event.usage, task.usage + event.usage
        step.run_ms += event.run_ms
