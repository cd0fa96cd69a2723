"""The JSON Schema of plan files says what the forms and checks say."""

from __future__ import annotations

from typing import Any

import msgspec
from hypothesis import given, settings
from jsonschema import Draft202012Validator
from plan_values import broken_plan_values, plan_values

from waybill.core.plan import AgentSchema
from waybill.errors import InvalidArgument
from waybill.rpc.linking import link_plan
from waybill.rpc.plan_schema import plan_schema, structure_violations
from waybill.rpc.specs import plan_from_json

SCHEMA = plan_schema()
VALIDATOR = Draft202012Validator(SCHEMA)
AGENTS = {"echo": AgentSchema("echo", "", "{}")}


def passes(plan: Any) -> bool:
    try:
        link_plan(plan_from_json(msgspec.json.encode(plan)), AGENTS)
    except InvalidArgument:
        return False
    return True


def refused_field(plan: Any) -> str | None:
    """The field that the forms refuse, if there is one."""
    try:
        plan_from_json(msgspec.json.encode(plan))
    except InvalidArgument as error:
        return error.violations[0].field
    return None


def test_it_is_a_schema_in_its_own_dialect() -> None:
    Draft202012Validator.check_schema(SCHEMA)


@given(plan_values())
@settings(max_examples=60, deadline=None)
def test_plans_that_may_run_fit_it(plan: dict[str, Any]) -> None:
    assert passes(plan)
    assert [error.message for error in VALIDATOR.iter_errors(plan)] == []
    assert structure_violations(plan) == []


@given(broken_plan_values())
@settings(max_examples=120, deadline=None)
def test_what_is_wrong_with_a_field_is_wrong_for_both(plan: dict[str, Any]) -> None:
    assert not passes(plan)
    assert not VALIDATOR.is_valid(plan)


@given(broken_plan_values())
@settings(max_examples=80, deadline=None)
def test_all_that_the_forms_refuse_is_told_with_its_field(plan: dict[str, Any]) -> None:
    assert refused_field(plan) in {None, *(violation.field for violation in structure_violations(plan))}


def test_every_field_says_what_it_is_for() -> None:
    forms = [SCHEMA, *SCHEMA["$defs"].values()]
    fields = {name: field for form in forms for name, field in form.get("properties", {}).items()}
    assert [name for name, field in fields.items() if not field.get("description")] == []


def test_an_editor_may_be_told_where_the_schema_is() -> None:
    named = {"$schema": "./plan.schema.json", "steps": [{"name": "a", "agent": "echo"}]}
    assert VALIDATOR.is_valid(named)
