"""A template file is a template, or a list of all that is wrong in it, line by line."""

from __future__ import annotations

from typing import Any

import pytest
from jsonschema import Draft202012Validator

from waybill.core.written import read_written
from waybill.errors import InvalidPlan
from waybill.plan_file import PlanFileInvalid, read_plan_file
from waybill.rpc.template_forms import template_schema
from waybill.template_file import expanded, is_template, read_template_file

TEMPLATE = """# yaml-language-server: $schema=template.schema.json
name: research
description: Answer a question from sources.
parameters:
  question: {type: string, minLength: 1}
  attempts: {type: integer, default: 3}
required: [question]
plan:
  failure_policy: continue
  steps:
  - name: find
    agent: retriever
    input: {question: "${parameters.question}"}
    retry: {max_attempts: "${parameters.attempts}"}
  - name: report
    agent: writer
    input: {goal: "${parameters.question}", sections: ["${find}"]}
"""


def test_a_template_file_becomes_a_plan_with_its_parameters() -> None:
    template = read_template_file(TEMPLATE.encode(), "research.yaml")
    plan = expanded(template, b'{"question": "Why?"}')
    assert plan.steps[0].input.data == b'{"question":"Why?"}'
    assert plan.steps[0].retry.max_attempts == 3
    assert template.description == "Answer a question from sources."


def test_parameters_that_fit_their_schemas_but_not_the_plan_are_told_by_the_fields_of_the_plan() -> None:
    loose = TEMPLATE.replace("attempts: {type: integer, default: 3}", "attempts: {default: 3}")
    template = read_template_file(loose.encode(), "research.yaml")
    with pytest.raises(InvalidPlan) as refused:
        expanded(template, b'{"question": "Why?", "attempts": "often"}')
    assert [violation.field for violation in refused.value.violations] == ["plan.steps[0].retry.max_attempts"]


def lines_of(text: str) -> list[tuple[int, str]]:
    with pytest.raises(PlanFileInvalid) as refused:
        read_template_file(text.encode(), "t.yaml")
    return [(fault.line, fault.field) for fault in refused.value.faults]


@pytest.mark.parametrize(
    ("old", "new", "line", "field"),
    [
        ("name: research\n", "", 2, "name"),
        ("required: [question]", "required: [qestion]", 7, "required[0]"),
        ("default: 3", "default: three", 6, "parameters.attempts.default"),
        ("agent: writer", "agnet: writer", 16, "plan.steps[1].agnet"),
        ("name: report", "name: find", 15, "plan.steps[1].name"),
        ('["${find}"]', '["${fnid}"]', 17, "plan.steps[1].input.sections[0]"),
        ("${parameters.attempts}", "${parameters.atempts}", 14, "plan.steps[0].retry.max_attempts"),
        ("failure_policy: continue", "failure_policy: never", 9, "plan.failure_policy"),
        ("type: string,", "type: text,", 4, "parameters"),
        ("plan:", "plans:", 8, "plans"),
    ],
)
def test_what_is_wrong_is_told_with_its_line(old: str, new: str, line: int, field: str) -> None:
    assert (line, field) in lines_of(TEMPLATE.replace(old, new, 1))


def test_the_schema_of_template_files_takes_what_the_reader_takes() -> None:
    schema = template_schema()
    Draft202012Validator.check_schema(schema)
    validator = Draft202012Validator(schema)
    value: dict[str, Any] = read_written(TEMPLATE.encode()).value
    assert [error.message for error in validator.iter_errors(value)] == []
    value["$schema"] = "x"
    assert validator.is_valid(value)
    for broken in ({**value, "nmae": 1}, {**value, "plan": {}}, {**value, "parameters": {"a b": {}}}):
        assert not validator.is_valid(broken)


def test_a_template_is_told_from_a_plan() -> None:
    with pytest.raises(PlanFileInvalid, match=r"t\.yaml:1: is a plan template: .* --template"):
        read_plan_file(TEMPLATE.encode(), "t.yaml")
    assert is_template(read_written(TEMPLATE.encode()).value)
    assert not is_template({"plan": {"steps": []}})
    assert not is_template({"$schema": "x", "plan": {"steps": []}})
    assert not is_template({"steps": []})
