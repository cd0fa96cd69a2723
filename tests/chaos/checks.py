"""The checks of a history: what every task promised, compared with what came of it. Pure functions; each returns the
violations that it finds, so that a broken history can be fed to it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum, auto

from chaos.fold import ENDED, FoldedStep, FoldedTask, fold
from chaos.history import Effect, History, Promise, Seen, Watched
from chaos.scenarios import ANY
from waybill.core.task import Event, EventType, TaskState
from waybill.resources import Task, TaskMetrics

EFFECT_UNKNOWN = "EFFECT_UNKNOWN"
STARTS = ("step_started", "step_waiting")
"""Events that begin an attempt: a worker runs it, or a person is asked."""


class Kind(StrEnum):
    """What was broken."""

    LOST = auto()
    """An accepted task is gone, or did not end."""
    DUPLICATE_TASK = auto()
    """One request id made two tasks."""
    DUPLICATE_COMMIT = auto()
    """A step ended twice, an attempt number did not grow by one, or an attempt ran twice."""
    DUPLICATE_EFFECT = auto()
    """An effect that `once` guards was had twice."""
    GAP = auto()
    """A stream left out, repeated or changed an event."""
    DISORDER = auto()
    """A step started too early, or something followed the end."""
    FOLD = auto()
    """The events do not tell the stored state."""
    OUTCOME = auto()
    """The task ended otherwise than its scenario must."""
    MONEY = auto()
    """More was spent than allowed, or the accounts are not what the provider billed."""
    CLIENT_ERROR = auto()
    """A client was told an error that no scenario explains."""
    LEAK = auto()
    """Something is left in the store, or a process is left behind."""


@dataclass(frozen=True)
class Violation:
    """One thing that must never happen."""

    kind: Kind
    subject: str
    text: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.subject}: {self.text}"


def check(history: History) -> list[Violation]:
    """All violations of one task."""
    promise = history.promise
    task = history.task
    found = list(_promised(promise))
    if task is None:
        found.append(Violation(Kind.LOST, promise.task, "was accepted, and is not there"))
    elif not task.state.ended:
        found.append(Violation(Kind.LOST, promise.task, f"({promise.scenario.name}) did not end: it is {task.state}"))
    else:
        found += _outcome(history, task)
        found += _folded(history, task)
    found += _sequence(promise.task, "the history", (event.sequence for event in history.events))
    found += _ordered(history)
    for watched in promise.watched:
        found += _watched(promise.task, watched, history.events)
    found += _executed(history)
    return found


def _promised(promise: Promise) -> Iterator[Violation]:
    for answer in sorted(set(promise.answers[1:]) - {promise.task}):
        yield Violation(Kind.DUPLICATE_TASK, promise.task, f"its request id was answered with {answer} too")


def _outcome(history: History, task: Task) -> Iterator[Violation]:
    made = history.promise.scenario
    reason = task.failure.reason if task.failure else ""
    if made.unknown_allowed and task.state is TaskState.FAILED and reason == EFFECT_UNKNOWN:
        return
    if task.state is TaskState.FAILED and reason in made.reasons:
        return
    if task.state not in made.ends or (made.unknown_allowed and task.state is TaskState.FAILED):
        why = f" ({reason}: {task.failure.message})" if task.failure else ""
        yield Violation(Kind.OUTCOME, task.name, f"({made.name}) ended as {task.state}{why}")
    if task.state is TaskState.SUCCEEDED and made.output is not ANY and task.output != made.output:
        yield Violation(Kind.OUTCOME, task.name, f"({made.name}) returned {task.output!r}, not {made.output!r}")
    if task.state is not TaskState.CANCELLED and history.promise.cancelled:
        yield Violation(Kind.OUTCOME, task.name, f"was told to be cancelled, and ended as {task.state}")


def _folded(history: History, task: Task) -> Iterator[Violation]:
    told = fold(history.events)
    stored = {
        "state": (told.state, str(task.state)),
        "failure": (told.failure, task.failure),
        "plan_revision": (told.revision, task.plan_revision),
        "step_count": (told.step_count, task.step_count),
        "ended_step_count": (sum(step.state in ENDED for step in told.steps.values()), task.ended_step_count),
        "last_sequence": (told.last_sequence, task.last_sequence),
        "usage": (told.usage, task.usage),
    }
    yield from _compared(task.name, stored)
    for step in history.steps:
        by_events = told.steps.get(step.id, FoldedStep())
        fields = {
            "state": (by_events.state, str(step.state)),
            "attempt": (by_events.attempt, step.attempt),
            "worker": (by_events.worker, step.worker),
            "failure": (by_events.failure, step.failure),
            "usage": (by_events.usage, step.usage),
        }
        if step.agent == "stream" and step.output is not None:
            fields["text"] = (by_events.text, step.output)
        yield from _compared(step.name, fields)
    if history.metrics is not None:
        yield from _measured(told, history.metrics)


def _measured(told: FoldedTask, metrics: TaskMetrics) -> Iterator[Violation]:
    """Latency and cost are sums over the events."""
    for step in metrics.steps:
        by_events = told.steps.get(step.step, FoldedStep())
        fields = {
            "attempts": (by_events.attempts, step.attempts),
            "wait_ms": (by_events.wait_ms, step.wait_ms),
            "run_ms": (by_events.run_ms, step.run_ms),
            "usage": (by_events.usage, step.usage),
        }
        yield from _compared(f"{metrics.name}/steps/{step.step} (metrics)", fields)
    sums = {
        "wait_ms": (sum(step.wait_ms for step in told.steps.values()), metrics.wait_ms),
        "run_ms": (sum(step.run_ms for step in told.steps.values()), metrics.run_ms),
        "usage": (told.usage, metrics.usage),
    }
    yield from _compared(f"{metrics.name} (metrics)", sums)


def _compared(subject: str, fields: Mapping[str, tuple[object, object]]) -> Iterator[Violation]:
    for name, (told, stored) in fields.items():
        if told != stored:
            yield Violation(Kind.FOLD, subject, f"{name} is {stored!r}, and by its events {told!r}")


def _sequence(task: str, who: str, numbers: Iterable[int]) -> Iterator[Violation]:
    for wanted, number in enumerate(numbers, start=1):
        if number != wanted:
            yield Violation(Kind.GAP, task, f"{who} has event {number} where {wanted} belongs")
            return


def _watched(task: str, watched: Watched, events: Sequence[Event]) -> Iterator[Violation]:
    who = f"a watcher ({watched.by})"
    yield from _sequence(task, who, (seen.sequence for seen in watched.seen))
    if not watched.ended:
        yield Violation(Kind.LOST, task, f"{who} never saw the end, only {len(watched.seen)} events")
    elif len(watched.seen) < len(events) and not _retried_after(events, len(watched.seen)):
        yield Violation(Kind.GAP, task, f"{who} was shown {len(watched.seen)} of {len(events)} events as all there are")
    for seen, event in zip(watched.seen, events, strict=False):
        stored = Seen.of(event)
        if seen != stored:
            yield Violation(Kind.GAP, task, f"{who} saw {seen.told} where {stored.told} is stored")
            return


def _retried_after(events: Sequence[Event], count: int) -> bool:
    """Whether the task had ended after so many events, so that whoever watched it had seen all, and went on later."""
    return count > 0 and events[count - 1].type is EventType.TASK_FINISHED


def _ordered(history: History) -> Iterator[Violation]:
    """Walks the events as a reader would: who may start, who has ended, and that the end is the end."""
    task = history.promise.task
    needs = {step.id: set(step.depends_on) for step in history.steps}
    finished: dict[str, str] = {}
    attempts: Counter[str] = Counter()
    ended, paused = False, False
    for event in history.events:
        kind = event.type.value
        if kind == "call_ended":
            continue  # the end of a call may be told late
        if kind == "task_retried":
            ended = False
            finished = {name: state for name, state in finished.items() if state == "succeeded"}
        elif ended:
            yield Violation(Kind.DISORDER, task, f"{kind} ({event.sequence}) follows the end")
        paused = kind == "task_paused" or (paused and kind != "task_resumed")
        if event.step in finished:
            broken = Kind.DUPLICATE_COMMIT if kind in ("step_finished", *STARTS) else Kind.DISORDER
            yield Violation(broken, task, f"{kind} ({event.sequence}) of {event.step} follows its step_finished")
        if kind in ("step_ready", *STARTS):
            missing = {name for name in needs.get(event.step, ()) if finished.get(name) != "succeeded"}
            if missing:
                yield Violation(Kind.DISORDER, task, f"{kind} of {event.step} comes before {sorted(missing)} succeeded")
        if kind in STARTS and paused:
            yield Violation(Kind.DISORDER, task, f"{kind} ({event.sequence}) of {event.step} while it is paused")
        attempts[event.step] += kind in STARTS
        if event.step and kind != "step_ready" and event.attempt != attempts[event.step]:
            text = f"{kind} ({event.sequence}) of {event.step} has attempt {event.attempt}, not {attempts[event.step]}"
            yield Violation(Kind.DUPLICATE_COMMIT, task, text)
        if kind == "step_finished":
            finished[event.step] = str(event.step_state)
        ended = ended or kind == "task_finished"


def _executed(history: History) -> Iterator[Violation]:
    """What really ran, by the agents' own account outside the suite."""
    task = history.promise.task
    started = {(event.step, event.attempt) for event in history.events if event.type.value == "step_started"}
    runs = Counter((row.step, row.attempt) for row in history.effects if row.kind == "run")
    for (step, attempt), count in runs.items():
        if count > 1:
            yield Violation(Kind.DUPLICATE_COMMIT, task, f"attempt {attempt} of {step} ran {count} times")
        if (step, attempt) not in started:
            yield Violation(Kind.DISORDER, task, f"attempt {attempt} of {step} ran, and no event tells of it")
    for step, count in Counter(row.step for row in history.effects if row.kind == "effect").items():
        if count > 1:
            yield Violation(Kind.DUPLICATE_EFFECT, task, f"the effect of {step} was had {count} times")


def check_list(listed: Sequence[Task], promises: Sequence[Promise]) -> list[Violation]:
    """Violations of the list of all tasks: who is missing, who is there twice, and who never ended.

    It may name more tasks than were promised, as an answer can be lost for good; those must have ended too.
    """
    found = []
    by_request: dict[str, list[Task]] = {}
    for task in listed:
        by_request.setdefault(task.labels.get("request", ""), []).append(task)
        if not task.state.ended:
            found.append(Violation(Kind.LOST, task.name, f"is listed as {task.state} at the end"))
    for request, tasks in by_request.items():
        if len(tasks) > 1:
            twins = ", ".join(sorted(task.name for task in tasks))
            found.append(Violation(Kind.DUPLICATE_TASK, request, f"made {len(tasks)} tasks: {twins}"))
    names = {task.name for task in listed}
    missing = [promise.task for promise in promises if promise.task not in names]
    return found + [Violation(Kind.LOST, task, "was accepted, and is not in the list") for task in missing]


def effects_by_task(effects: Iterable[Effect]) -> dict[str, list[Effect]]:
    """Effects by the resource name of their task."""
    found: dict[str, list[Effect]] = {}
    for effect in effects:
        found.setdefault(f"tasks/{effect.task}", []).append(effect)
    return found
