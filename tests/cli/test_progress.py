"""Events add up to what a watcher sees: states and times in a tree, or one line each."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from waybill.cli.lines import event_line, log_line, printable, seconds_text
from waybill.cli.tree import task_tree
from waybill.core.task import Event, EventType, Failure, StepState, TaskState, Usage
from waybill.progress import TaskProgress

STORY = [
    Event(type=EventType.TASK_ACCEPTED, time_ms=1_000, state=TaskState.PLANNING),
    Event(type=EventType.TASK_PLANNED, time_ms=1_100, revision=1, step_count=2),
    Event(type=EventType.STEP_READY, time_ms=1_100, step="a"),
    Event(type=EventType.STEP_STARTED, time_ms=1_200, step="a", attempt=1, agent="echo", worker="w"),
    Event(type=EventType.STEP_RETRIED, time_ms=1_300, step="a", attempt=1, failure=Failure("AGENT_ERROR", "no luck")),
    Event(type=EventType.STEP_STARTED, time_ms=1_900, step="a", attempt=2, agent="echo", worker="w"),
    Event(type=EventType.STEP_PROGRESS, time_ms=2_000, step="a", attempt=2, message="half way", fraction=0.5),
    Event(type=EventType.STEP_FINISHED, time_ms=2_200, step="a", attempt=2, step_state=StepState.SUCCEEDED, run_ms=300),
    Event(type=EventType.STEP_READY, time_ms=2_200, step="b"),
    Event(type=EventType.STEP_STARTED, time_ms=2_300, step="b", attempt=1, agent="echo", worker="w"),
    Event(type=EventType.STEP_FINISHED, time_ms=2_400, step="b", attempt=1, step_state=StepState.SUCCEEDED, run_ms=100),
    Event(
        type=EventType.TASK_FINISHED, time_ms=2_400, state=TaskState.SUCCEEDED, elapsed_ms=1_400, usage=Usage(7, 3, 20)
    ),
]


def told(count: int) -> TaskProgress:
    task = TaskProgress("tasks/t1", goal="why?")
    for event in STORY[:count]:
        task.apply(event)
    return task


def drawn(task: TaskProgress, most_steps: int = 10, now_ms: int = 2_350) -> str:
    out = io.StringIO()
    Console(file=out, width=120).print(task_tree(task, most_steps, now_ms))
    return out.getvalue()


def test_the_story_adds_up_to_its_end() -> None:
    task = told(len(STORY))
    assert (task.state, task.elapsed_ms, task.usage) == (TaskState.SUCCEEDED, 1_400, Usage(7, 3, 20))
    assert [(step.name, step.state, step.attempt, step.run_ms) for step in task.steps.values()] == [
        ("a", StepState.SUCCEEDED, 2, 300),
        ("b", StepState.SUCCEEDED, 1, 100),
    ]


def test_a_retried_step_shows_why_and_its_attempt() -> None:
    assert "↻ a  echo  no luck" in drawn(told(5))
    assert "▶ a  echo  0.10 s  attempt 2  50%  half way" in drawn(told(7), now_ms=2_000)


def test_steps_of_the_plan_show_before_their_events_and_keep_its_order() -> None:
    task = told(4)
    task.expect([("b", "echo"), ("a", "echo")])
    assert list(task.steps) == ["b", "a"]
    assert task.steps["a"].state is StepState.RUNNING
    assert "· b  echo" in drawn(task)


def test_what_does_not_fit_is_counted_and_what_runs_is_shown_first() -> None:
    task = TaskProgress("tasks/t1")
    for number in range(100):
        task.apply(Event(type=EventType.STEP_READY, step=f"s{number}"))
    task.apply(Event(type=EventType.STEP_STARTED, step="s77", attempt=1, time_ms=1))
    picture = drawn(task, most_steps=3)
    assert "▶ s77" in picture
    assert "0 of 100 steps ended, 97 of them not shown" in picture


def fold(*events: Event) -> TaskProgress:
    task = TaskProgress("tasks/t1")
    for event in events:
        task.apply(event)
    return task


def test_a_paused_task_shows_so_and_runs_again_when_resumed() -> None:
    task = fold(*STORY[:4], Event(type=EventType.TASK_PAUSED))
    assert task.state is TaskState.PAUSED
    task.apply(Event(type=EventType.TASK_RESUMED))
    assert (task.state, task.steps["a"].state) == (TaskState.RUNNING, StepState.RUNNING)


def test_given_a_failed_task_when_it_is_retried_then_failures_are_void_and_what_succeeded_stays() -> None:
    failure = Failure("AGENT_ERROR", "no luck")
    failed = Event(type=EventType.STEP_FINISHED, step="b", attempt=1, step_state=StepState.FAILED, failure=failure)
    skipped = Event(type=EventType.STEP_FINISHED, step="c", step_state=StepState.SKIPPED)
    ended = Event(type=EventType.TASK_FINISHED, state=TaskState.FAILED, failure=failure, elapsed_ms=9)
    task = fold(*STORY[:10], failed, skipped, ended)
    assert "⤼ c" in drawn(task)
    task.apply(Event(type=EventType.TASK_RETRIED, state=TaskState.RUNNING))
    assert (task.state, task.failure, task.elapsed_ms) == (TaskState.RUNNING, None, 0)
    assert [(step.state, step.failure) for step in task.steps.values()] == [
        (StepState.SUCCEEDED, None),
        (StepState.PENDING, None),
        (StepState.PENDING, None),
    ]
    assert "no luck" not in drawn(task)


def test_a_step_that_waits_for_a_person_shows_what_it_asks() -> None:
    task = fold(*STORY[:9], Event(type=EventType.STEP_WAITING, step="b", attempt=1, message="Shall it be sent?"))
    assert "? b  Shall it be sent?" in drawn(task)


def test_after_a_reset_the_story_adds_up_from_its_beginning() -> None:
    task = fold(*STORY, Event(type=EventType.STREAM_RESET), *STORY[:5])
    assert task == fold(*STORY[:5])


def test_text_of_a_retried_attempt_is_void() -> None:
    begun = Event(type=EventType.STEP_STARTED, step="a", attempt=1)
    written = Event(type=EventType.STEP_TEXT, step="a", attempt=1, text="first try")
    assert fold(begun, written).steps["a"].note == "first try"
    assert fold(begun, written, Event(type=EventType.STEP_RETRIED, step="a", attempt=1)).steps["a"].note == ""
    again = Event(type=EventType.STEP_STARTED, step="a", attempt=2)
    assert fold(begun, written, again).steps["a"].note == ""


@given(st.lists(st.tuples(st.integers(0, 8), st.text("ab\n", max_size=6)), max_size=8))
def test_the_note_is_the_last_line_of_the_text_that_is_not_void(pieces: list[tuple[int, str]]) -> None:
    text = ""
    task = fold(Event(type=EventType.STEP_STARTED, step="a", attempt=1))
    for offset, piece in pieces:
        at = min(offset, len(text))
        text = text[:at] + piece
        task.apply(Event(type=EventType.STEP_TEXT, step="a", attempt=1, text=piece, text_offset=at))
    assert task.steps["a"].note == text.strip().rpartition("\n")[2]


@given(st.text())
def test_every_event_is_one_line_that_a_terminal_does_not_obey(text: str) -> None:
    for event in (
        Event(type=EventType.STEP_TEXT, step="a", attempt=1, text=text),
        Event(type=EventType.STEP_RETRIED, step="a", attempt=1, failure=Failure("AGENT_ERROR", text)),
    ):
        line = event_line(event)
        assert line.splitlines() == [line]
        assert line.isprintable()


def test_a_line_tells_the_fields_that_are_set() -> None:
    line = event_line(STORY[3])
    assert line.endswith("step_started    a attempt=1 agent=echo worker=w")
    assert event_line(STORY[6]).endswith('step_progress   a attempt=2 50% "half way"')


def test_texts_for_people_are_short() -> None:
    assert printable("a\x1b[31m b\n\tc", 200) == "a [31m b c"
    assert printable("x" * 300, 10) == "x" * 9 + "…"
    assert (seconds_text(1_234), seconds_text(61_000)) == ("1.23 s", "1 min 01 s")


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        (
            '{"level": "error", "event": "ended by an error", "error": "No module", "exception": "Traceback"}',
            "error ended by an error: No module",
        ),
        ('{"level": "info", "event": "serving"}', "info serving"),
        ("plain text", "plain text"),
        ('{"no": "entry"}', '{"no": "entry"}'),
        ("[" * 100_000, "[" * 100_000),
    ],
)
def test_entries_of_logs_are_shown_without_their_tracebacks(line: str, shown: str) -> None:
    assert log_line(line) == shown


def test_planning_revisions_and_cost_are_told_while_they_come() -> None:
    task = TaskProgress("tasks/t1")
    task.apply(Event(type=EventType.PLANNING_PROGRESS, message="asking the model"))
    task.apply(Event(type=EventType.CALL_ENDED, attempt=0, call=1, model="large", usage=Usage(1, 1, 7)))
    assert "asking the model" in drawn(task)
    assert task.steps == {}
    task.apply(Event(type=EventType.TASK_PLANNED, revision=1, step_count=1))
    assert "asking the model" not in drawn(task)
    task.apply(Event(type=EventType.REVISION_REQUESTED, step="a", attempt=1, failure=Failure("REPLAN", "no way")))
    assert "revising the plan after a" in drawn(task)
    task.apply(Event(type=EventType.PLAN_REVISED, revision=2, step_count=3, message="another way"))
    assert (task.step_count, task.revision) == (3, 2)
    assert "revision 2  another way" in drawn(task)
    task.apply(Event(type=EventType.STREAM_RESET))
    assert (task.revision, task.usage, task.calls) == (0, Usage(), {})


CALLS = st.lists(st.tuples(st.sampled_from(["", "a", "b"]), st.integers(1, 2), st.integers(1, 3), st.integers(0, 9)))


@given(CALLS, st.lists(st.tuples(st.sampled_from(["a", "b"]), st.integers(0, 9))))
def test_the_cost_so_far_is_that_of_each_call_as_last_told_and_what_agents_reported(
    calls: list[tuple[str, int, int, int]], reports: list[tuple[str, int]]
) -> None:
    task = TaskProgress("tasks/t1")
    for step, attempt, call, cost in calls:
        used = Usage(cost_microusd=cost)
        task.apply(Event(type=EventType.CALL_ENDED, step=step, attempt=attempt, call=call, usage=used))
    for step, cost in reports:
        task.apply(Event(type=EventType.STEP_RETRIED, step=step, attempt=1, usage=Usage(cost_microusd=cost)))
    last = {(step, attempt, call): cost for step, attempt, call, cost in calls}
    assert task.usage.cost_microusd == sum(last.values()) + sum(cost for _, cost in reports)
    for name, folded in task.steps.items():
        told = sum(cost for key, cost in last.items() if key[0] == name)
        assert folded.usage.cost_microusd == told + sum(cost for step_name, cost in reports if step_name == name)
    assert set(task.steps) <= {"a", "b"}
