"""Template files: plan templates as YAML or JSON, checked field by field, with the line of all that is wrong."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from waybill.api.v1 import task_pb2
from waybill.core.plan import AgentSchema
from waybill.core.template import Template, make_template
from waybill.core.written import Unreadable, Written, read_written
from waybill.errors import InvalidArgument, InvalidPlan, Violation
from waybill.plan_file import Fault, PlanFileInvalid, json_text, structure_of, without_schema_name
from waybill.rpc.linking import link_plan
from waybill.rpc.plan_forms import PlanForm, plan_of_form
from waybill.rpc.strict import read_json
from waybill.rpc.template_forms import TemplateForm


def is_template(value: Any) -> bool:
    """Whether what a file says is meant as a template: it holds a plan beside other things."""
    return isinstance(value, dict) and "plan" in value and set(value) - {"plan", "$schema"} != set()


def read_template_file(data: bytes, name: str) -> Template:
    """The template that a file holds. Raises `PlanFileInvalid` with all that can be known to be wrong with it."""
    try:
        written = read_written(data)
    except Unreadable as error:
        raise PlanFileInvalid(name, [Fault(error.line, error.path, error.problem)]) from error
    return template_of(written, name)


def template_of(written: Written, name: str, agents: Mapping[str, AgentSchema] | None = None) -> Template:
    """The template that a file says; where the agents are given, its plan has to fit them. Raises as above."""
    try:
        value = without_schema_name(written.value) if isinstance(written.value, dict) else written.value
        form = read_json(json_text(value), TemplateForm)
        plan = msgspec.json.decode(bytes(form.plan))
        if not isinstance(plan, dict):
            raise InvalidArgument.of_field("plan", "must be an object with the steps of the plan")
        properties = {parameter: msgspec.json.decode(bytes(schema)) for parameter, schema in form.parameters.items()}
        template = make_template(form.name, form.description, properties, form.required, plan)
        violations = _plan_violations(template.skeleton(), agents)
    except InvalidArgument as error:
        raise PlanFileInvalid(name, _faults(written, error.violations)) from error
    if violations:
        raise PlanFileInvalid(name, _faults(written, violations))
    return template


def expanded(template: Template, parameters: bytes) -> task_pb2.Plan:
    """The template's plan for some parameters, JSON text. Raises `InvalidArgument` with all that is wrong with them,
    and `InvalidPlan` where they fit their schemas but not the fields of the plan that they stand in.
    """
    plan = template.expand(parameters)
    try:
        return _read(plan)
    except InvalidArgument as error:
        raise InvalidPlan.of(_in_plan(plan, error)) from error


def _read(plan: dict[str, Any]) -> task_pb2.Plan:
    return plan_of_form(read_json(json_text(plan), PlanForm))


def _in_plan(plan: dict[str, Any], error: InvalidArgument) -> list[Violation]:
    """Every field of a plan's JSON value that is wrong in itself, and what was told of the first."""
    found = structure_of(plan) or error.violations
    return [Violation(f"plan.{item.field}".removesuffix(".plan"), item.description) for item in found]


def _plan_violations(plan: dict[str, Any], agents: Mapping[str, AgentSchema] | None) -> Sequence[Violation]:
    try:
        made = _read(plan)
    except InvalidArgument as error:
        return _in_plan(plan, error)
    try:
        link_plan(made, agents or {}, closed=agents is not None)
    except InvalidPlan as error:
        return error.violations
    return []


def _faults(written: Written, violations: Sequence[Violation]) -> list[Fault]:
    faults = [Fault(written.line_of(item.field), item.field, item.description) for item in violations]
    return sorted(faults, key=lambda fault: fault.line)
