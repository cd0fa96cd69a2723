"""Histories for the tests of the checks: one that is as it must be, to be broken in one way at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import msgspec

from chaos.history import Effect, History, Promise, Seen, Watched
from chaos.scenarios import Scenario
from waybill.api.v1 import task_pb2
from waybill.core.task import Event, EventType, Failure, StepState, TaskState, Usage
from waybill.resources import Step, Task
from waybill.rpc.events import usage_to_proto

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
    message = task_pb2.Task(
        name=NAME,
        state=task_pb2.TASK_STATE_SUCCEEDED,
        priority=task_pb2.PRIORITY_NORMAL,
        labels={"request": "r1"},
        plan_revision=1,
        step_count=2,
        ended_step_count=2,
        last_sequence=13,
        output=task_pb2.Payload(data=b'"a word"'),
        usage=usage_to_proto(SPENT + SPENT),
    )
    return msgspec.structs.replace(Task.of(message), **fields)


def step(name: str, agent: str, attempt: int, depends_on: tuple[str, ...], output_json: bytes) -> Step:
    """A step that those events tell."""
    message = task_pb2.Step(
        name=f"{NAME}/steps/{name}",
        agent=agent,
        state=task_pb2.STEP_STATE_SUCCEEDED,
        attempt=attempt,
        depends_on=depends_on,
        output=task_pb2.Payload(data=output_json),
        worker="worker-2.b",
        usage=usage_to_proto(SPENT),
    )
    return Step.of(message)


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
