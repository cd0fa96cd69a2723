"""The checks can fail: each broken history is found, and a good one passes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from chaos.chaos_histories import NAME, SPENT, event, good_events, history, ran, step, task
from chaos.checks import EFFECT_UNKNOWN, Kind, Violation, check, check_list
from chaos.history import Seen, Watched
from chaos.scenarios import FAILS, SUCCEEDS, Scenario
from waybill.core.task import Event, EventType, Failure, StepState, TaskState, Usage
from waybill.resources import StepMetrics, TaskMetrics

EFFECTS = Scenario("effects", ends=SUCCEEDS | FAILS, unknown_allowed=True)


def kinds(found: list[Violation]) -> set[Kind]:
    return {violation.kind for violation in found}


def broken(change: Callable[[list[Event]], None]) -> set[Kind]:
    """What is found in the good history after a change of its events."""
    events = good_events()
    change(events)
    return kinds(check(history(events)))


def test_a_good_history_passes() -> None:
    assert check(history()) == []


def test_a_task_that_is_gone_is_lost() -> None:
    assert Kind.LOST in kinds(check(history(task=None, steps=(), events=(), effects=())))


def test_a_task_that_did_not_end_is_lost() -> None:
    assert Kind.LOST in kinds(check(history(task=task(state=TaskState.RUNNING))))


def test_two_tasks_for_one_request_are_found() -> None:
    twice = history()
    twice.promise.answers.append("tasks/0-other")
    assert kinds(check(twice)) == {Kind.DUPLICATE_TASK}


def test_a_step_that_ends_twice_is_a_duplicate_commit() -> None:
    assert Kind.DUPLICATE_COMMIT in broken(lambda events: events.insert(8, events[7]))


def test_a_step_that_starts_after_its_end_is_a_duplicate_commit() -> None:
    again = event(EventType.STEP_STARTED, step="first", attempt=3, worker="worker-1.a")
    assert Kind.DUPLICATE_COMMIT in broken(lambda events: events.insert(9, again))


@pytest.mark.parametrize("attempt", [1, 3])
def test_an_attempt_that_does_not_grow_by_one_is_a_duplicate_commit(attempt: int) -> None:
    wrong = event(EventType.STEP_STARTED, step="first", attempt=attempt, worker="worker-2.b")
    assert Kind.DUPLICATE_COMMIT in broken(lambda events: events.__setitem__(6, wrong))


def test_a_settlement_of_an_old_attempt_is_a_duplicate_commit() -> None:
    stale = event(EventType.STEP_FINISHED, step="first", attempt=1, step_state=StepState.SUCCEEDED)
    assert Kind.DUPLICATE_COMMIT in broken(lambda events: events.__setitem__(7, stale))


def test_an_attempt_that_ran_twice_is_a_duplicate_commit() -> None:
    good = history()
    assert kinds(check(replace(good, effects=[*good.effects, ran("first", 2)]))) == {Kind.DUPLICATE_COMMIT}


def test_an_attempt_that_ran_and_is_not_told_of_is_disorder() -> None:
    good = history()
    assert kinds(check(replace(good, effects=[*good.effects, ran("second", 2)]))) == {Kind.DISORDER}


def test_an_effect_that_was_had_by_two_attempts_is_a_duplicate_effect() -> None:
    effects = [ran("first", 1), ran("first", 1, "effect"), ran("first", 2), ran("first", 2, "effect")]
    assert kinds(check(history(effects=effects))) == {Kind.DUPLICATE_EFFECT}


def test_an_event_that_is_missing_is_a_gap() -> None:
    good = history()
    assert Kind.GAP in kinds(check(replace(good, events=[*good.events[:4], *good.events[5:]])))


@pytest.mark.parametrize(
    "change",
    [
        lambda seen: seen[:5] + seen[6:],
        lambda seen: [*seen[:5], seen[4], *seen[5:]],
        lambda seen: seen[1:],
        lambda seen: seen[:-1],
        lambda seen: [],
        lambda seen: [*seen[:5], Seen(6, '{"type": "step_text"}'), *seen[6:]],
    ],
    ids=["left out", "repeated", "began late", "ended early", "saw nothing", "saw another event"],
)
def test_a_watcher_that_was_shown_something_else_found_a_gap(change: Callable[[list[Seen]], list[Seen]]) -> None:
    watched = history()
    good = watched.promise.watched[0]
    watched.promise.watched.append(Watched("http", change(good.seen), ended=True))
    assert kinds(check(watched)) == {Kind.GAP}


def test_a_watcher_that_never_saw_the_end_is_lost() -> None:
    watched = history()
    watched.promise.watched[0].ended = False
    assert kinds(check(watched)) == {Kind.LOST}


def test_a_step_that_starts_before_what_it_waits_for_is_disorder() -> None:
    early = [
        event(EventType.STEP_READY, step="second"),
        event(EventType.STEP_STARTED, step="second", attempt=1, agent="stream", worker="worker-2.b"),
    ]

    def change(events: list[Event]) -> None:
        del events[8:10]
        events[7:7] = early

    assert broken(change) == {Kind.DISORDER}


def test_a_start_in_a_paused_task_is_disorder() -> None:
    paused = history([*good_events()[:3], event(EventType.TASK_PAUSED), *good_events()[3:]])
    assert Kind.DISORDER in kinds(check(paused))
    resumed = [*good_events()[:3], event(EventType.TASK_PAUSED), event(EventType.TASK_RESUMED), *good_events()[3:]]
    assert check(history(resumed)) == []


def test_a_retried_task_may_go_on_after_its_end_from_what_did_not_succeed() -> None:
    events = good_events()
    failure = Failure("AGENT_ERROR", "why")
    end = [
        event(EventType.STEP_FINISHED, step="second", attempt=1, step_state=StepState.FAILED, failure=failure),
        event(EventType.TASK_FINISHED, state=TaskState.FAILED, failure=failure, usage=SPENT),
        event(EventType.TASK_RETRIED, state=TaskState.RUNNING),
        event(EventType.STEP_READY, step="second"),
        event(EventType.STEP_STARTED, step="second", attempt=2, agent="stream", worker="worker-2.b"),
        event(EventType.STEP_TEXT, step="second", attempt=2, text="a word"),
        event(EventType.STEP_FINISHED, step="second", attempt=2, step_state=StepState.SUCCEEDED, usage=SPENT),
        events[-1],
    ]
    retried = [*events[:10], *end]
    good = history(retried)
    steps = [good.steps[0], replace(good.steps[1], attempt=2)]
    assert check(replace(good, steps=steps)) == []
    again = event(EventType.STEP_READY, step="first")
    assert kinds(check(replace(history([*retried[:13], again, *retried[13:]]), steps=steps))) >= {Kind.DISORDER}


def test_metrics_that_are_not_the_sums_of_the_events_break_the_fold() -> None:
    first = StepMetrics("first", "echo", attempts=2, wait_ms=0, run_ms=0, usage=SPENT)
    second = StepMetrics("second", "stream", attempts=1, wait_ms=0, run_ms=0, usage=SPENT)
    good = TaskMetrics(NAME, 0, 0, wait_ms=0, run_ms=0, usage=SPENT + SPENT, steps=(first, second))
    assert check(history(metrics=good)) == []
    for wrong in ({"wait_ms": 1}, {"run_ms": 1}, {"usage": SPENT}, {"steps": (replace(first, attempts=1), second)}):
        assert kinds(check(history(metrics=replace(good, **wrong)))) == {Kind.FOLD}


def test_what_follows_the_end_is_disorder() -> None:
    text = event(EventType.STEP_TEXT, step="second", attempt=1, text="")
    assert Kind.DISORDER in broken(lambda events: events.append(text))


@pytest.mark.parametrize(
    "stored",
    [
        {"state": TaskState.FAILED},
        {"ended_step_count": 1},
        {"step_count": 3},
        {"last_sequence": 12},
        {"usage": Usage()},
        {"failure": Failure("AGENT_ERROR", "why")},
    ],
)
def test_a_stored_task_that_its_events_do_not_tell_breaks_the_fold(stored: dict[str, Any]) -> None:
    assert Kind.FOLD in kinds(check(history(task=task(**stored))))


@pytest.mark.parametrize(
    "stored",
    [
        {"state": StepState.RUNNING},
        {"attempt": 2},
        {"worker": "worker-1.a"},
        {"usage": Usage(1)},
        {"failure": Failure("AGENT_ERROR", "why")},
        {"output_json": b'"another word"'},
    ],
)
def test_a_stored_step_that_its_events_do_not_tell_breaks_the_fold(stored: dict[str, Any]) -> None:
    good = history()
    second = step("second", "stream", 1, ("first",), b'"a word"')
    assert kinds(check(replace(good, steps=[good.steps[0], replace(second, **stored)]))) == {Kind.FOLD}


def test_another_output_than_foretold_is_a_wrong_outcome() -> None:
    assert kinds(check(history(scenario=Scenario("chain", output="two words")))) == {Kind.OUTCOME}


def test_another_end_than_foretold_is_a_wrong_outcome() -> None:
    assert kinds(check(history(scenario=Scenario("failing", ends=FAILS)))) == {Kind.OUTCOME}


def test_a_cancelled_task_that_ended_otherwise_is_a_wrong_outcome() -> None:
    cancelled = history()
    cancelled.promise.cancelled = True
    assert kinds(check(cancelled)) == {Kind.OUTCOME}


def failed(reason: str) -> list[Event]:
    failure = Failure(reason, "why")
    return [
        *good_events()[:4],
        event(EventType.STEP_FINISHED, step="first", attempt=1, step_state=StepState.FAILED, failure=failure),
        event(EventType.TASK_FINISHED, state=TaskState.FAILED, failure=failure),
    ]


@pytest.mark.parametrize(("reason", "allowed"), [(EFFECT_UNKNOWN, True), ("AGENT_ERROR", False)])
def test_only_an_unknown_effect_may_fail_a_task_with_effects(reason: str, allowed: bool) -> None:
    events = failed(reason)
    failure = events[-1].failure
    stored = task(state=TaskState.FAILED, failure=failure, last_sequence=6, ended_step_count=1, usage=Usage())
    found = check(history(events, scenario=EFFECTS, task=stored, steps=(), effects=[ran("first", 1)]))
    assert (Kind.OUTCOME not in kinds(found)) == allowed


def test_the_list_shows_who_is_missing_twice_there_or_not_ended() -> None:
    promise = history().promise
    assert check_list([task()], [promise]) == []
    assert kinds(check_list([], [promise])) == {Kind.LOST}
    assert kinds(check_list([task(), task(name="tasks/0-twin")], [promise])) == {Kind.DUPLICATE_TASK}
    running = task(name="tasks/0-other", labels={"request": "r2"}, state=TaskState.RUNNING)
    assert kinds(check_list([task(), running], [promise])) == {Kind.LOST}
    assert NAME in str(check_list([], [promise])[0])
