"""A plan file is a plan, or a list of all that is wrong in it, line by line."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given, settings
from plan_values import plan_values, values

from waybill.errors import Violation
from waybill.plan_file import Fault, PlanFileInvalid, read_plan_file
from waybill.rpc.specs import plan_from_json
from waybill.template_file import read_template_file

PLAN = """# yaml-language-server: $schema=plan.schema.json
steps:
- name: find
  agent: retriever
  input: {question: "${task.input.question}"}
- name: report
  agent: writer
  input:
    goal: Tides
    sections: ["${find}"]
"""


def faults_in(text: str) -> list[Fault]:
    with pytest.raises(PlanFileInvalid) as refused:
        read_plan_file(text.encode(), "plan.yaml")
    return list(refused.value.faults)


@given(plan_values())
@settings(max_examples=50, deadline=None)
def test_a_plan_is_the_same_with_and_without_what_stands_around_it(plan: dict[str, Any]) -> None:
    wanted = plan_from_json(plan)
    assert read_plan_file(json.dumps(plan).encode(), "p").plan == wanted
    assert read_plan_file(json.dumps({"$schema": "x", "plan": plan}).encode(), "p").plan == wanted


def test_every_wrong_field_is_named_with_its_line() -> None:
    text = PLAN.replace("agent: retriever", "agnet: retriever\n  retry: {max_attempts: 0}").replace(
        "goal: Tides", "on: no"
    )
    text += "  run_timeout_ms: soon\nfailure_policy: maybe\n"
    assert [(fault.line, fault.field) for fault in faults_in(text)] == [
        (4, "steps[0].agnet"),
        (5, "steps[0].retry.max_attempts"),
        (12, "steps[1].run_timeout_ms"),
        (13, "failure_policy"),
    ]
    assert "did you mean 'agent'?" in faults_in(text)[0].description


def test_what_only_a_running_suite_knows_is_told_with_the_line_too() -> None:
    file = read_plan_file(PLAN.encode(), "plan.yaml")
    error = file.invalid([Violation("plan.steps[1].input.goal", "is wrong"), Violation("plan.steps[0].agent", "none")])
    assert [violation.field for violation in error.violations] == [
        "plan.yaml:4: steps[0].agent",
        "plan.yaml:9: steps[1].input.goal",
    ]


@given(values)
@settings(max_examples=60, deadline=None)
def test_whatever_a_file_says_it_is_a_plan_or_no_plan(value: Any) -> None:
    for said in (value, {"steps": value}, {"steps": [value]}, {"plan": value}, {"name": "x", "plan": value}):
        text = json.dumps(said).encode()
        with contextlib.suppress(PlanFileInvalid):
            assert read_plan_file(text, "p").plan.steps is not None
        with contextlib.suppress(PlanFileInvalid):
            read_template_file(text, "t")


@pytest.mark.parametrize("text", ["- 1", "5", "plan: 5", "steps: 5", "null"])
def test_a_file_that_holds_no_plan_is_refused(text: str) -> None:
    assert faults_in(text)
