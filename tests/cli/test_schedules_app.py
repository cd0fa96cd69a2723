"""The commands about schedules, against a whole suite."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from waybill.cli.reading import span_ms
from waybill.cli.schedule_tables import span_text

PLAN = '{"steps": [{"name": "only", "agent": "echo", "input": {"value": 1}}]}'


def told(result: Any) -> Any:
    """The JSON that a command printed."""
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_given_a_schedule_when_it_is_created_changed_and_deleted_then_each_command_shows_it(suite) -> None:
    plan = suite.folder / "plan.json"
    plan.write_text(PLAN)
    created = suite.waybill(
        *("schedule", "create", "nightly", "--plan", "plan.json", "--label", "team=crm"),
        *("--cron", "30 3 * * *", "--time-zone", "Europe/Berlin", "--overlap", "queue", "--window", "2h"),
    )
    assert created.exit_code == 0, created.output
    for text in ("30 3 * * * Europe/Berlin", "a plan of 1 step", "queue", "latest, 2h late at most"):
        assert text in created.stdout
    shown = told(suite.waybill("schedule", "show", "nightly", "--json"))
    assert shown["spec"] == {**{"plan": json.loads(PLAN)}, "labels": {"team": "crm"}}
    paused = suite.waybill("schedule", "pause", "nightly")
    assert paused.stdout == "schedules/nightly paused\n"
    name = suite.waybill("schedule", "trigger", "nightly", "--request-id", "t1").stdout.strip()
    assert suite.waybill("schedule", "trigger", "nightly", "--request-id", "t1").stdout.strip() == name
    assert suite.waybill("watch", name).exit_code == 0
    listed = suite.waybill("schedule", "list")
    assert "\nnightly " in listed.stdout
    assert "paused" in listed.stdout
    fired = suite.waybill("schedule", "show", "nightly")
    assert name.removeprefix("tasks/") in fired.stdout
    assert "triggered" in fired.stdout
    assert told(suite.waybill("list", "--label", "waybill.schedule=nightly", "--json"))["name"] == name
    resumed = told(suite.waybill("schedule", "resume", "nightly", "--json"))
    assert resumed["next_time"]
    updated = told(
        suite.waybill("schedule", "update", "nightly", "--goal", "why?", "--every", "1h30m", "--begin", "+2h", "--json")
    )
    assert (updated["interval_ms"], updated["spec"], "cron" in updated) == (5_400_000, {"goal": "why?"}, False)
    assert suite.waybill("schedule", "delete", "nightly").stdout == "schedules/nightly deleted\n"
    assert suite.waybill("schedule", "show", "nightly").exit_code == 2
    assert "no schedule yet" in suite.waybill("schedule", "list").stderr


def test_given_an_interval_when_time_passes_then_tasks_are_submitted(
    suite, until: Callable[[Callable[[], object]], None]
) -> None:
    plan = suite.folder / "plan.json"
    plan.write_text(PLAN)
    told(suite.waybill("schedule", "create", "often", "--plan", "plan.json", "--every", "1s", "--json"))
    until(lambda: told(suite.waybill("schedule", "show", "often", "--json"))["submitted_count"] >= 2)
    assert suite.waybill("schedule", "delete", "often").exit_code == 0


@pytest.mark.parametrize(
    ("arguments", "told_field"),
    [
        (("--goal", "why?"), "--cron, --every"),
        (("--goal", "why?", "--cron", "0 0 30 2 *"), "never fires"),
        (("--goal", "why?", "--cron", "nonsense"), "five fields"),
        (("--goal", "why?", "--every", "soon"), "--every"),
        (("--goal", "why?", "--every", "1h", "--begin", "later"), "--begin"),
        (("--every", "1h"), "--goal, --plan"),
        (("--goal", "why?", "--every", "1h", "--time-zone", "Mars/Base"), "--time-zone"),
        (("--goal", "why?", "--every", "1h", "--label", "waybill.schedule=x"), "waybill."),
    ],
)
def test_given_a_bad_option_when_created_then_it_is_named(suite, arguments: tuple[str, ...], told_field: str) -> None:
    result = suite.waybill("schedule", "create", "bad", *arguments)
    assert result.exit_code == 2
    assert told_field in result.stderr


@given(st.integers(1, 10**9))
def test_given_a_span_when_it_is_shown_then_it_can_be_typed_again(milliseconds: int) -> None:
    assert span_ms(span_text(milliseconds), "--every") == milliseconds
