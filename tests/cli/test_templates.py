"""Templates from the command line, against a real suite; and what is typed as their parameters."""

from __future__ import annotations

import json
from typing import Any

import pytest

from waybill.cli import exits
from waybill.cli.templates import value_of


@pytest.mark.parametrize(
    ("text", "schema", "value"),
    [
        ("5", {"type": "string"}, "5"),
        ("5", {"enum": ["5", "6"]}, "5"),
        ("5", {"type": "integer"}, 5),
        ("5", {}, 5),
        ("5", None, 5),
        ("true", {"type": ["boolean", "string"]}, True),
        ("[1, 2]", {"type": "array"}, [1, 2]),
        ("a b", {}, "a b"),
        ("", {}, ""),
        ("[" * 10_000, {}, "[" * 10_000),
        ("NaN", {"type": "number"}, "NaN"),
    ],
)
def test_what_is_typed_is_json_where_it_can_be_and_the_schema_does_not_want_a_text(
    text: str, schema: Any, value: Any
) -> None:
    assert value_of(text, schema) == value


def test_templates_are_listed_and_shown(suite: Any) -> None:
    listed = suite.waybill("templates")
    assert listed.exit_code == exits.OK
    assert listed.stdout.splitlines()[1].split() == ["greet", "who", "[times]", "Greets", "somebody."]
    shown = suite.waybill("templates", "show", "greet").stdout
    assert "Whom to greet" in shown
    assert "- Hello ${parameters.who}" in shown
    for name in ("greet", "templates/greet"):
        one = json.loads(suite.waybill("templates", "show", name, "--json").stdout)
        assert one["name"] == "templates/greet"
        assert one["plan"]["steps"][0]["agent"] == "echo"
    lines = suite.waybill("templates", "--json").stdout.splitlines()
    assert [json.loads(line)["name"] for line in lines] == ["templates/greet"]


def test_a_task_is_submitted_by_a_template(suite: Any) -> None:
    ran = suite.waybill(
        *("submit", "--template", "greet", "--param", "who=5", "--param", "times=2", "--result", "--json")
    )
    assert ran.exit_code == exits.OK, ran.stderr
    assert json.loads(ran.stdout)["output"] == ["Hello 5", 2]


def test_a_schedule_fires_a_template(suite: Any) -> None:
    ran = suite.waybill(
        *("schedule", "create", "greeting", "--template", "greet", "--param", "who=Ann", "--every", "30d", "--json")
    )
    assert ran.exit_code == exits.OK, ran.stderr
    fired = suite.waybill("schedule", "trigger", "greeting")
    assert fired.exit_code == exits.OK, fired.stderr
    task = fired.stdout.split()[0]
    watched = suite.waybill("watch", task, "--result")
    assert "Hello Ann" in watched.stdout
    assert suite.waybill("schedule", "delete", "greeting").exit_code == exits.OK


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--template", "gret"], ("no template 'gret'", "did you mean 'greet'", "`waybill templates`")),
        (["--template", "gret", "--param", "a=b"], ("no template 'gret'",)),
        (["--template", "greet"], ("parameters.who: is required",)),
        (["--template", "greet", "--param", "whoo=x"], ("whoo", "did you mean 'who'?", "known parameters: times, who")),
        (["--template", "greet", "--param", "who=x", "--param", "times=0"], ("parameters.times", "minimum")),
        (["--template", "greet", "--param", "who"], ("--param", "name=value")),
        (["--goal", "x", "--param", "who=x"], ("--param", "--template")),
        (["--goal", "x", "--template", "greet", "--param", "who=x"], ("--param", "neither --goal nor --plan")),
    ],
)
def test_what_does_not_fit_is_refused_by_name(suite: Any, arguments: list[str], told: tuple[str, ...]) -> None:
    ran = suite.waybill("submit", *arguments)
    assert ran.exit_code == exits.USAGE
    for part in told:
        assert part in ran.stderr


def test_a_folder_that_is_none_is_refused(suite: Any) -> None:
    ran = suite.waybill("up", "--templates", "nowhere", "--data-dir", "other")
    assert ran.exit_code == exits.USAGE
    assert "--templates" in ran.stderr
