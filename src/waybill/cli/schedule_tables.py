"""Owns schedules and firings as tables and lines for people."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from waybill.api.v1 import task_pb2
from waybill.cli.layout import Column, print_table
from waybill.cli.lines import count_of, printable
from waybill.cli.tables import short_time
from waybill.rpc.enums import CATCH_UP_FROM_PROTO, FIRING_OUTCOME_FROM_PROTO, OVERLAP_FROM_PROTO

_SCHEDULES = (
    ("schedule", Column.NAME),
    ("when", Column.NAME),
    ("next", Column.NAME),
    ("tasks", Column.NUMBER),
    ("submits", Column.CUT),
)
_FIRINGS = (
    ("due", Column.NAME),
    ("outcome", Column.STATE),
    ("count", Column.NUMBER),
    ("task", Column.NAME),
    ("note", Column.TEXT),
)
_UNITS = ((86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1_000, "s"), (1, "ms"))


def print_schedules(schedules: Iterable[task_pb2.Schedule]) -> None:
    """Schedules, one a row."""
    print_table(_SCHEDULES, map(_schedule_row, schedules))


def _schedule_row(schedule: task_pb2.Schedule) -> tuple[Any, ...]:
    return (
        schedule.name.removeprefix("schedules/"),
        when_text(schedule),
        next_text(schedule).removeprefix("next "),
        schedule.submitted_count,
        _submits(schedule.spec),
    )


def print_schedule(schedule: task_pb2.Schedule) -> None:
    """A schedule, and its newest firings."""
    overlap = OVERLAP_FROM_PROTO.get(schedule.overlap_policy, "unknown")
    catch_up = CATCH_UP_FROM_PROTO.get(schedule.catch_up_policy, "unknown")
    lines = [
        ("schedule", schedule.name),
        ("when", when_text(schedule)),
        ("next", next_text(schedule).removeprefix("next ")),
        ("submits", _submits(schedule.spec)),
        ("overlap", overlap),
        ("catch up", f"{catch_up}, {span_text(schedule.catch_up_window_ms)} late at most"),
        ("tasks", f"{schedule.submitted_count} submitted{', one firing waits' if schedule.queued else ''}"),
    ]
    lines += [
        (name.removesuffix("_time"), short_time(getattr(schedule, name)))
        for name in ("begin_time", "end_time")
        if schedule.HasField(name)
    ]
    for name, text in lines:
        print(f"{name:<10}{text}")
    if schedule.firings:
        print()
        print_table(_FIRINGS, map(_firing_row, schedule.firings))


def _firing_row(firing: task_pb2.Firing) -> tuple[Any, ...]:
    note = printable(f"{firing.failure.reason}: {firing.failure.message}", 200) if firing.HasField("failure") else ""
    return (
        short_time(firing.due_time),
        FIRING_OUTCOME_FROM_PROTO.get(firing.outcome, "unknown"),
        firing.count,
        firing.task.removeprefix("tasks/"),
        "triggered" if firing.triggered else note,
    )


def when_text(schedule: task_pb2.Schedule) -> str:
    """When a schedule fires, such as "30 8 * * MON-FRI Europe/Berlin" or "every 1h30m"."""
    if schedule.cron:
        return f"{schedule.cron} {schedule.time_zone}"
    return f"every {span_text(schedule.interval_ms)}"


def next_text(schedule: task_pb2.Schedule) -> str:
    """When the next firing is due, or why none is."""
    if schedule.paused:
        return "paused"
    return f"next {short_time(schedule.next_time)}" if schedule.HasField("next_time") else "never again"


def span_text(milliseconds: int) -> str:
    """A span of time as it is typed, such as 1h30m."""
    parts, left = [], milliseconds
    for unit_ms, name in _UNITS:
        count, left = divmod(left, unit_ms)
        parts += [f"{count}{name}"] if count else []
    return "".join(parts) or "0s"


def _submits(spec: task_pb2.TaskSpec) -> str:
    if spec.goal:
        return printable(spec.goal, 60)
    if spec.HasField("plan"):
        return f"a plan of {count_of(len(spec.plan.steps), 'step')}"
    return f"template {spec.template}"
