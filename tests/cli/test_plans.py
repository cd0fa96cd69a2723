"""`waybill plan check` tells all that is wrong, each with its line; `waybill plan show` draws what is right."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from typer.testing import CliRunner, Result

from waybill.cli import exits
from waybill.cli.main import app
from waybill.cli.plan_checking import check

GOOD = """steps:
- {name: find, agent: echo, input: {value: 1}}
- {name: report, agent: echo, input: {value: "${find}"}, when: ["${find}"]}
"""
BROKEN = """steps:
- name: find
  agnet: echo
  agent: echo
  run_timeout_ms: 0
- name: find
  agent: Echo
  input:
    value: ${fnid.title}
- {name: a, agent: echo, after: [b]}
- {name: b, agent: echo, after: [a]}
"""
TEMPLATE = """name: greet
parameters: {who: {type: string}}
plan: {steps: [{name: say, agent: echo, input: {value: "${parameters.who}"}}]}
"""


def waybill(*arguments: str, stdin: str = "") -> Result:
    return CliRunner().invoke(app, ["plan", *arguments], prog_name="waybill", input=stdin)


def test_everything_wrong_is_told_with_its_line_and_the_exit_code_is_2() -> None:
    ran = waybill("check", "-", stdin=BROKEN)
    assert ran.exit_code == exits.USAGE
    places = [line.split(": ")[:2] for line in ran.stderr.splitlines()]
    assert places == [
        ["stdin:3", "steps[0].agnet"],
        ["stdin:5", "steps[0].run_timeout_ms"],
        ["stdin:6", "steps[1].name"],
        ["stdin:7", "steps[1].agent"],
        ["stdin:9", "steps[1].input.value"],
        ["stdin:10", "steps[2]"],
        ["waybill", "6 faults in stdin"],
    ]
    told = json.loads(waybill("check", "-", "--json", stdin=BROKEN).stdout)
    assert (told["valid"], len(told["faults"]), told["faults"][0]["line"]) == (False, 6, 3)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (GOOD, "a plan of 2 steps"),
        (TEMPLATE, "template greet of 1 step"),
        ("plan: {steps: [{name: a, agent: b}]}", "1 step"),
    ],
)
def test_what_is_in_order_is_said_to_be(tmp_path: Path, text: str, told: str) -> None:
    (tmp_path / "plan.yaml").write_text(text)
    ran = waybill("check", str(tmp_path / "plan.yaml"))
    assert ran.exit_code == exits.OK
    assert told in ran.stdout
    assert json.loads(waybill("check", "--json", "-", stdin=text).stdout)["valid"] is True


@pytest.mark.parametrize(
    ("text", "line", "field"),
    [
        (TEMPLATE.replace("parameters.who", "parameters.woh"), 3, "plan.steps[0].input.value"),
        (TEMPLATE.replace("agent: echo", "agnet: echo"), 3, "plan.steps[0].agnet"),
        ("steps: [", 1, ""),
        ("", 1, ""),
        ("steps:\n- agent: x", 2, "steps[0].name"),
    ],
)
def test_templates_and_broken_files_are_checked_too(text: str, line: int, field: str) -> None:
    checked = check(text.encode(), "f")
    assert (line, field) in [(fault.line, fault.field) for fault in checked.faults]
    assert checked.graph is None


def test_a_running_suite_tells_of_its_agents(suite: Any) -> None:
    plan = "steps:\n- {name: a, agent: ehco}\n- {name: b, agent: refuse, input: {wyh: 1}}\n"
    assert suite.waybill("plan", "check", "-", stdin=plan).exit_code == exits.OK
    ran = suite.waybill("plan", "check", "-", "--address", suite.grpc, stdin=plan)
    assert ran.exit_code == exits.USAGE
    assert "stdin:2: steps[0].agent: no agent is named 'ehco'; did you mean 'echo'?" in ran.stderr
    assert "stdin:3: steps[1].input" in ran.stderr
    assert suite.waybill("plan", "check", "-", "--address", suite.grpc, stdin=GOOD).exit_code == exits.OK
    template = TEMPLATE.replace("agent: echo", "agent: nobody")
    assert suite.waybill("plan", "check", "-", "--address", suite.grpc, stdin=template).exit_code == exits.USAGE


def test_a_submission_that_the_suite_refuses_is_told_with_the_lines_of_its_file(suite: Any) -> None:
    ran = suite.waybill("submit", "--plan", "-", stdin="steps:\n- name: a\n  agent: ehco\n")
    assert ran.exit_code == exits.USAGE
    assert "stdin:3: steps[0].agent: no agent is named 'ehco'" in ran.stderr


def test_a_plan_is_drawn_and_a_broken_one_is_not(tmp_path: Path) -> None:
    shown = waybill("show", "-", "--width", "40", stdin=GOOD)
    assert shown.exit_code == exits.OK
    assert shown.stdout.startswith("stdin: 2 steps, failure policy stop\n")
    assert "if ${find}" in shown.stdout
    assert waybill("show", "-", stdin=BROKEN).exit_code == exits.USAGE
    assert "say" in waybill("show", "-", stdin=TEMPLATE).stdout


def test_a_plan_is_shown_as_json_by_who_waits_for_whom() -> None:
    told = json.loads(waybill("show", "-", "--json", stdin=GOOD).stdout)
    assert [(step["name"], step["depends_on"], step["when"]) for step in told["steps"]] == [
        ("find", [], []),
        ("report", ["find"], ["${find}"]),
    ]
    assert json.loads(waybill("show", "-", "--json", stdin=BROKEN).stdout)["valid"] is False


def test_a_plan_is_drawn_as_svg(tmp_path: Path) -> None:
    path = tmp_path / "plan.svg"
    assert waybill("show", "-", "--svg", str(path), stdin=GOOD).exit_code == exits.OK
    assert ElementTree.parse(path).getroot().tag.endswith("svg")
    assert [file.name for file in tmp_path.iterdir()] == ["plan.svg"]
    assert waybill("show", "-", "--svg", "-", stdin=GOOD).stdout == path.read_text()
    ran = waybill("show", "-", "--svg", str(tmp_path / "no" / "plan.svg"), stdin=GOOD)
    assert ran.exit_code == exits.USAGE
    assert "--svg" in ran.stderr
