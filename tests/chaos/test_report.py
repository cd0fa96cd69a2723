"""The report counts what was found, and measures recovery by the events' own times."""

from __future__ import annotations

import json

from chaos.chaos_histories import event, good_events, history
from chaos.checks import Kind, Violation
from chaos.injector import Kill
from chaos.report import Report, recoveries
from waybill.core.task import Event, EventType


def at(time_ms: int, of: Event) -> Event:
    of.time_ms = time_ms
    return of


def timed_events() -> list[Event]:
    """The first step starts at 2,000, its loss is noticed at 4,500, and it runs again at 4,600."""
    events = good_events()
    for position, time_ms in {3: 2_000, 4: 4_500, 5: 4_500, 6: 4_600}.items():
        events[position].time_ms = time_ms
    return events


def test_recovery_is_the_time_from_the_kill_to_the_next_start() -> None:
    kills = [Kill("worker-1", "worker", 1_900), Kill("worker-1", "worker", 2_100), Kill("store", "store", 2_200)]
    assert recoveries([history(timed_events())], kills) == [2.5]


def test_another_workers_kill_counts_for_nothing() -> None:
    assert recoveries([history(timed_events())], [Kill("worker-2", "worker", 2_100)]) == []


def test_a_step_that_ended_before_the_kill_needs_no_recovery() -> None:
    events = timed_events()
    events[4] = at(2_050, event(EventType.STEP_RETRIED, step="first", attempt=1))
    assert recoveries([history(events)], [Kill("worker-1", "worker", 2_100)]) == []


def test_percentiles_are_values_that_were_measured() -> None:
    report = Report(seed=1, duration_s=10)
    report.count_recoveries([3.0, 1.0, 2.0])
    assert (report.recoveries, report.recovery_p50_s, report.recovery_p99_s) == (3, 2.0, 3.0)


def test_every_violation_is_counted_once_and_the_line_is_json() -> None:
    report = Report(seed=1, duration_s=10)
    report.count_violations([Violation(kind, "x", "y") for kind in Kind])
    line = json.loads(report.line())
    named = ("lost", "duplicate_commits", "duplicate_effects", "gaps", "leaks")
    assert [line[name] for name in named] == [1] * len(named)
    assert line["other_violations"] == len(Kind) - len(named)
    assert "\n" not in report.line()
