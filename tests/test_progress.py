"""Snapshots of how far a task is, made of its events."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from waybill.core.task import Event, EventType, Failure, StepState, TaskState, Usage
from waybill.progress import Progress, TaskProgress


def told(*events: Event) -> Progress:
    fold = TaskProgress("tasks/t1")
    for sequence, event in enumerate(events, 1):
        event.sequence = sequence
        fold.apply(event)
    return fold.snapshot()


def step(kind: EventType, name: str = "a", **fields: object) -> Event:
    return Event(type=kind, step=name, attempt=1, **fields)  # type: ignore[arg-type]


PLANNED = Event(type=EventType.TASK_PLANNED, revision=1, step_count=4)


def test_nothing_is_done_before_there_is_a_plan() -> None:
    progress = told(Event(type=EventType.TASK_ACCEPTED, state=TaskState.PLANNING))
    assert (progress.state, progress.fraction, progress.steps, progress.sequence) == (TaskState.PLANNING, 0.0, {}, 1)


def test_steps_are_counted_by_state_also_those_that_no_event_has_told_of() -> None:
    progress = told(
        PLANNED,
        step(EventType.STEP_FINISHED, step_state=StepState.SUCCEEDED),
        step(EventType.STEP_STARTED, "b"),
        step(EventType.STEP_PROGRESS, "b", message="half way", fraction=0.5),
    )
    assert progress.steps == {StepState.SUCCEEDED: 1, StepState.RUNNING: 1, StepState.PENDING: 2}
    assert (progress.step_count, progress.ended_step_count, progress.fraction) == (4, 1, 1.5 / 4)
    assert progress.messages == {"b": "half way"}


def test_text_stays_when_its_step_succeeds_and_is_void_when_it_begins_anew() -> None:
    events = [PLANNED, step(EventType.STEP_STARTED), step(EventType.STEP_TEXT, text="one\ntwo")]
    assert told(*events).text == {"a": "one\ntwo"}
    assert told(*events).messages == {"a": "two"}
    assert told(*events, step(EventType.STEP_FINISHED, step_state=StepState.SUCCEEDED)).text == {"a": "one\ntwo"}
    assert told(*events, step(EventType.STEP_RETRIED, failure=Failure("AGENT_ERROR", "x"))).text == {}


@given(st.text(max_size=30), st.lists(st.integers(0, 30), max_size=5))
def test_text_is_what_its_pieces_say_wherever_they_are_cut_and_taken_back(text: str, cuts: list[int]) -> None:
    events = [step(EventType.STEP_STARTED)]
    for end in [*cuts, len(text)]:
        offset = min(end, len(text)) // 2  # what came after this is taken back
        shown = "".join(told(*events).text.values())
        pieces = text[:offset] if not shown.startswith(text[:offset]) else ""
        events += [step(EventType.STEP_TEXT, text=pieces)] if pieces else []
        events.append(step(EventType.STEP_TEXT, text_offset=offset, text=text[offset:end]))
    assert "".join(told(*events).text.values()) == text


def test_a_watcher_that_comes_late_has_the_text_from_then_on() -> None:
    fold = TaskProgress("tasks/t1")
    fold.apply(step(EventType.STEP_TEXT, text="later", text_offset=100))
    fold.apply(step(EventType.STEP_TEXT, text="!", text_offset=105))
    assert (fold.steps["a"].text, fold.steps["a"].text_offset) == ("later!", 100)


def test_the_end_counts_as_all_of_it_and_says_why() -> None:
    failure = Failure("AGENT_ERROR", "no luck")
    finished = Event(type=EventType.TASK_FINISHED, state=TaskState.FAILED, failure=failure, usage=Usage(3))
    progress = told(PLANNED, finished)
    assert (progress.state, progress.fraction, progress.failure, progress.usage) == (
        TaskState.FAILED,
        1.0,
        failure,
        Usage(3),
    )


def test_a_reset_forgets_what_was_folded() -> None:
    progress = told(PLANNED, step(EventType.STEP_TEXT, text="x"), Event(type=EventType.STREAM_RESET))
    assert (progress.steps, progress.text) == ({}, {})
