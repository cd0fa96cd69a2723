"""Histories for the tests of the checks: one that is as it must be, to be broken in one way at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from chaos.history import Effect, History, Promise, Seen, Watched
from chaos.scenarios import Scenario
from waybill.core.task import Event, EventType, Failure, Priority, StepState, TaskState, Usage
from waybill.resources import Step, Task

NAME = "tasks/0-abc"
SPENT = Usage(3, 1, 5)
LOST = Failure("WORKER_LOST", "the worker died")


def event(kind: EventType, **fields: Any) -> Event:
    """An event whose number comes later."""
    return Event(type=kind, time_ms=1_000, **fields)


def numbered(events: Sequence[Event]) -> list[Event]:
    """Events of the same content, with numbers from 1."""
    fields = Event.__struct_fields__
    return [
        Event(**{name: getattr(item, name) for name in fields} | {"sequence": number})
        for number, item in enumerate(events, start=1)
    ]


def good_events() -> list[Event]:
    """Two steps in a chain; the first one loses its worker once."""
    return [
        event(EventType.TASK_ACCEPTED, state=TaskState.RUNNING),
        event(EventType.TASK_PLANNED, revision=1, step_count=2),
        event(EventType.STEP_READY, step="first"),
        event(EventType.STEP_STARTED, step="first", attempt=1, agent="echo", worker="worker-1.a"),
        event(EventType.STEP_RETRIED, step="first", attempt=1, failure=LOST),
        event(EventType.STEP_READY, step="first"),
        event(EventType.STEP_STARTED, step="first", attempt=2, agent="echo", worker="worker-2.b"),
        event(EventType.STEP_FINISHED, step="first", attempt=2, step_state=StepState.SUCCEEDED, usage=SPENT),
        event(EventType.STEP_READY, step="second"),
        event(EventType.STEP_STARTED, step="second", attempt=1, agent="stream", worker="worker-2.b"),
        event(EventType.STEP_TEXT, step="second", attempt=1, text="a word"),
        event(EventType.STEP_FINISHED, step="second", attempt=1, step_state=StepState.SUCCEEDED, usage=SPENT),
        event(EventType.TASK_FINISHED, state=TaskState.SUCCEEDED, usage=SPENT + SPENT),
    ]


def task(**fields: Any) -> Task:
    """The task that those events tell."""
    stored = Task(
        name=NAME,
        state=TaskState.SUCCEEDED,
        goal="",
        priority=Priority.NORMAL,
        labels={"request": "r1"},
        plan_revision=1,
        step_count=2,
        ended_step_count=2,
        last_sequence=13,
        output_json=b'"a word"',
        failure=None,
        waiting_reason="",
        usage=SPENT + SPENT,
        create_time=None,
        end_time=None,
    )
    return replace(stored, **fields)


def step(name: str, agent: str, attempt: int, depends_on: tuple[str, ...], output_json: bytes, **fields: Any) -> Step:
    """A step that those events tell."""
    stored = Step(
        name=f"{NAME}/steps/{name}",
        agent=agent,
        state=StepState.SUCCEEDED,
        attempt=attempt,
        failed_attempts=0,
        depends_on=depends_on,
        input_json=b"{}",
        output_json=output_json,
        failure=None,
        worker="worker-2.b",
        waiting_reason="",
        usage=SPENT,
        ready_time=None,
        start_time=None,
        end_time=None,
    )
    return replace(stored, **fields)


def ran(name: str, attempt: int, kind: str = "run") -> Effect:
    """What an agent left outside the suite."""
    return Effect(kind=kind, task="0-abc", step=name, attempt=attempt, time_ms=1_000)


def history(events: Sequence[Event] | None = None, *, scenario: Scenario | None = None, **fields: Any) -> History:
    """The good history, or one with other events, numbered anew, or other fields. One watcher saw all of it."""
    told = numbered(good_events() if events is None else events)
    promise = Promise(scenario or Scenario("chain", output="a word"), "r1", answers=[NAME, NAME])
    promise.watched.append(Watched("grpc", [Seen.of(item) for item in told], ended=True))
    whole = History(
        promise=promise,
        task=task(last_sequence=len(told)),
        steps=[step("first", "echo", 2, (), b"1"), step("second", "stream", 1, ("first",), b'"a word"')],
        events=told,
        effects=[ran("first", 1), ran("first", 2), ran("second", 1)],
    )
    return replace(whole, **fields)
