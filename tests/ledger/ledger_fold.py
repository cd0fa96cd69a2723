"""What a task's history says about its state: the fold of its events, and the comparison with what is stored."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, fields
from functools import reduce

from waybill.core.task import CallState, Event, EventType, Failure, StepState, TaskState, Usage
from waybill.ledger.call_records import CallRecord
from waybill.ledger.ledger import Ledger
from waybill.ledger.records import StepRecord, TaskRecord
from waybill.ledger.unpacking import BUDGET_QUESTION


@dataclass
class FoldedStep:
    """A step by its history; fields as in `StepRecord`."""

    name: str
    state: StepState = StepState.PENDING
    attempt: int = 0
    worker: str = ""
    failure: Failure | None = None
    usage: Usage = Usage()
    wait_ms: int = 0
    run_ms: int = 0
    ready_ms: int = 0
    started_ms: int = 0
    ended_ms: int = 0


@dataclass
class FoldedTask:
    """A task by its history; fields as in `TaskRecord`."""

    state: TaskState | None = None
    failure: Failure | None = None
    revision: int = 0
    step_count: int = 0
    ended_step_count: int = 0
    last_sequence: int = 0
    usage: Usage = Usage()
    wait_ms: int = 0
    run_ms: int = 0
    created_ms: int = 0
    planned_ms: int = 0
    ended_ms: int = 0
    start_ms: int = 0
    steps: dict[str, FoldedStep] = field(default_factory=dict)
    calls: dict[tuple[str, int, int], Usage] = field(default_factory=dict)
    """What each model call used, as far as it is told, by step, attempt and number; the planner's step has no name."""
    has_begun: bool = True
    """Whether it is not, and was not cancelled, before its start: only then the history tells when that is."""
    failure_before: Failure | None = None
    """The task's failure before the last step ended: one after which the plan is revised is none of the task's."""


NOT_STORED = ("steps", "calls", "has_begun", "failure_before")
"""Fields of `FoldedTask` that `TaskRecord` has not."""


def fold(events: Iterable[Event], start: FoldedTask | None = None) -> FoldedTask:
    """The state that a task's events tell, from the beginning or from what was stored at some moment."""
    return reduce(_with, events, start or FoldedTask())


def stored(task: TaskRecord, steps: Sequence[StepRecord], calls: Iterable[CallRecord] = ()) -> FoldedTask:
    """What is stored, as a fold to go on from."""
    kept = {
        step.name: FoldedStep(**{entry.name: getattr(step, entry.name) for entry in fields(FoldedStep)})
        for step in steps
    }
    names = {0: "", **{step.number: step.name for step in steps}}
    told = {
        (names[call.step_number], call.attempt, call.number): call.usage
        for call in calls
        if call.state is not CallState.OPEN
    }
    plain = [entry.name for entry in fields(FoldedTask) if entry.name not in NOT_STORED]
    # What begins later has two events if it was called off: that it was accepted, and that it has ended.
    has_begun = not task.start_ms or task.last_sequence > 2
    return FoldedTask(steps=kept, calls=told, has_begun=has_begun, **{name: getattr(task, name) for name in plain})


def _with(task: FoldedTask, event: Event) -> FoldedTask:
    task.last_sequence += 1
    match event.type:
        case EventType.TASK_ACCEPTED:
            task.state, task.created_ms = event.state, event.time_ms
            task.has_begun = event.state is not TaskState.SCHEDULED
        case EventType.TASK_STARTED:
            task.state, task.start_ms, task.has_begun = event.state, event.time_ms, True
        case EventType.TASK_PLANNED:
            task.state, task.planned_ms = TaskState.RUNNING, event.time_ms
            task.revision, task.step_count = event.revision, event.step_count
        case EventType.TASK_PAUSED:
            task.state = TaskState.PAUSED
        case EventType.TASK_RESUMED:
            task.state = TaskState.RUNNING
        case EventType.TASK_RETRIED:
            task.state, task.failure, task.ended_ms = event.state, None, 0
            if not task.has_begun:
                task.start_ms, task.has_begun = event.time_ms, True
            again = [step for step in task.steps.values() if step.state is not StepState.SUCCEEDED]
            for step in again:
                step.state, step.failure, step.ended_ms = StepState.PENDING, None, 0
            task.ended_step_count = len(task.steps) - len(again)
        case EventType.TASK_CANCELLING:
            task.state, task.failure = TaskState.CANCELLING, event.failure
        case EventType.TASK_FINISHED:
            task.state, task.failure, task.ended_ms = event.state, event.failure, event.time_ms
            assert event.usage == task.usage
            since_ms = task.start_ms or task.created_ms
            assert event.elapsed_ms == event.time_ms - since_ms if task.has_begun else event.elapsed_ms >= 0
        case EventType.CALL_ENDED:
            _with_call(task, event)
        case EventType.PLAN_REVISED:
            task.revision, task.step_count = event.revision, event.step_count
        case EventType.REVISION_REQUESTED:
            task.failure = task.failure_before
        case EventType.PLANNING_PROGRESS:
            pass
        case _:
            _with_step(task, task.steps.setdefault(event.step, FoldedStep(event.step)), event)
    return task


def _with_call(task: FoldedTask, event: Event) -> None:
    assert event.usage is not None
    key = (event.step, event.attempt, event.call)
    more = event.usage - task.calls.get(key, Usage())
    task.calls[key], task.usage = event.usage, task.usage + more
    if event.step:
        step = task.steps.setdefault(event.step, FoldedStep(event.step))
        step.usage += more


def _with_step(task: FoldedTask, step: FoldedStep, event: Event) -> None:
    match event.type:
        case EventType.STEP_READY:
            step.state, step.ready_ms = StepState.READY, event.time_ms
        case EventType.STEP_WAITING:
            step.state, step.attempt, step.worker = StepState.WAITING, event.attempt, ""
            step.ready_ms = step.started_ms = event.time_ms
        case EventType.STEP_STARTED:
            wait_ms = event.time_ms - step.ready_ms
            step.state, step.attempt, step.worker = StepState.RUNNING, event.attempt, event.worker
            step.started_ms, step.wait_ms, task.wait_ms = event.time_ms, step.wait_ms + wait_ms, task.wait_ms + wait_ms
        case EventType.STEP_RETRIED:
            step.state, step.failure = StepState.BACKOFF, event.failure
            _spend(task, step, event)
        case EventType.STEP_FINISHED:
            assert event.step_state is not None
            step.state, step.ended_ms = event.step_state, event.time_ms
            step.failure = None if event.step_state is StepState.SUCCEEDED else event.failure or step.failure
            task.ended_step_count += 1
            task.failure_before = task.failure
            if event.step_state is StepState.FAILED and task.failure is None:
                task.failure = event.failure
            _spend(task, step, event)


def _spend(task: FoldedTask, step: FoldedStep, event: Event) -> None:
    if event.usage is not None:
        step.usage, task.usage = step.usage + event.usage, task.usage + event.usage
        step.run_ms, task.run_ms = step.run_ms + event.run_ms, task.run_ms + event.run_ms
        assert event.wait_ms == step.started_ms - step.ready_ms


def check_order(events: Sequence[Event], steps: Sequence[StepRecord]) -> None:
    """Every step ends at most once, attempts grow one by one, nothing starts before what it waits for or in a paused
    task, and nothing follows the end but a retry, which voids all ends but the good ones.
    """
    names = {step.number: step.name for step in steps}
    needs = {step.name: {names[number] for number in step.dependencies} for step in steps}
    added_by = {step.name: step.plan_revision for step in steps}
    assert [event.sequence for event in events] == list(range(1, len(events) + 1))
    lenient = {step.name for step in steps if step.allow_skipped}
    succeeded: set[str] = set()
    skipped: set[str] = set()
    finished: set[str] = set()
    attempts: Counter[str] = Counter()
    paused, ended, revision = False, False, 1
    for event in events:
        if event.type is EventType.PLAN_REVISED:
            revision = event.revision
        if event.type in (EventType.CALL_ENDED, EventType.PLAN_REVISED, EventType.REVISION_REQUESTED):
            continue  # the end of a call may be told late, and the others follow the end of the step that they name
        assert event.step not in finished, f"{event} comes after its step has finished"
        assert ended == (event.type is EventType.TASK_RETRIED), f"{event} comes after the end, or before it"
        if event.type in (EventType.STEP_STARTED, EventType.STEP_WAITING):
            attempts[event.step] += 1
            assert event.attempt == attempts[event.step]
            asks_for_money = (
                event.message == BUDGET_QUESTION.prompt
            )  # at the end of an attempt, so in a paused task too
            assert not paused or asks_for_money, f"{event.step} starts in a paused task"
        if event.type in (EventType.STEP_READY, EventType.STEP_STARTED, EventType.STEP_WAITING):
            # What was put in the place of another step later is told by none of the names of that time.
            needed = {name for name in needs[event.step] if added_by[name] <= revision}
            assert needed <= succeeded | skipped, f"{event.step} starts before all it depends on has ended"
            assert needed <= succeeded or event.step in lenient, f"{event.step} starts after a skipped step"
        match event.type:
            case EventType.STEP_FINISHED:
                finished.add(event.step)
                if event.step_state is StepState.SUCCEEDED:
                    succeeded.add(event.step)
                if event.step_state is StepState.SKIPPED:
                    skipped.add(event.step)
            case EventType.TASK_PAUSED:
                paused = True
            case EventType.TASK_FINISHED:
                paused, ended = False, True
            case EventType.TASK_RETRIED:
                finished, ended, skipped = set(succeeded), False, set()
            case EventType.TASK_RESUMED | EventType.TASK_CANCELLING:
                paused = False


async def check_history(ledger: Ledger, task_id: str) -> tuple[TaskRecord, dict[str, StepRecord]]:
    """The task and its steps by name, after their history was checked and its fold compared with what is stored."""
    task = await ledger.task(task_id)
    events = await ledger.events(task_id, 1, 1_000_000)
    steps = await ledger.steps(task_id, 1, task.step_count)
    check_order(events, steps)
    check_fold(fold(events), task, steps)
    return task, {step.name: step for step in steps}


def check_fold(folded: FoldedTask, task: TaskRecord, steps: Iterable[StepRecord]) -> None:
    """The fold of a history is what is stored."""
    for name in (entry.name for entry in fields(FoldedTask) if entry.name not in NOT_STORED):
        if name == "start_ms" and not folded.has_begun:
            continue
        assert getattr(folded, name) == getattr(task, name), f"{name} of the task is not the fold of its history"
    for step in steps:
        told = folded.steps.get(step.name, FoldedStep(step.name))
        for name in (entry.name for entry in fields(FoldedStep)):
            assert getattr(told, name) == getattr(step, name), f"{name} of {step.name} is not the fold of its history"
