"""Owns finding all that is wrong with a file of a plan or a template, each with its line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from waybill.core.plan import AgentSchema, Graph
from waybill.core.written import Unreadable, Written, part_of, read_written
from waybill.errors import InvalidArgument, Violation
from waybill.plan_file import Fault, PlanFileInvalid, faults_of, json_text, plan_value, read_plan_file
from waybill.rpc.linking import link_plan
from waybill.rpc.plan_forms import PlanForm, plan_of_form
from waybill.rpc.strict import read_json
from waybill.template_file import is_template, template_of


@dataclass(frozen=True)
class Checked:
    """A file that was looked at: its plan's graph, or what is wrong. `template` is its name if it holds one."""

    name: str
    faults: tuple[Fault, ...] = ()
    graph: Graph | None = None
    template: str = ""


def check(data: bytes, name: str, agents: Mapping[str, AgentSchema] | None = None) -> Checked:
    """What a file holds, checked as far as it can be: names, references, cycles, caps, and, where the agents are given,
    those and their inputs. A template is checked with any parameters.
    """
    try:
        written = read_written(data)
    except Unreadable as error:
        return Checked(name, (Fault(error.line, error.path, error.problem),))
    if is_template(written.value):
        return _checked_template(written, name, agents)
    try:
        file = read_plan_file(data, name)
    except PlanFileInvalid as error:
        return Checked(name, _with_the_rest(written, error.faults, agents))
    try:
        return Checked(name, graph=link_plan(file.plan, agents or {}, closed=agents is not None))
    except InvalidArgument as error:
        return Checked(name, file.invalid(error.violations).faults)


def _checked_template(written: Written, name: str, agents: Mapping[str, AgentSchema] | None) -> Checked:
    try:
        template = template_of(written, name, agents)
    except PlanFileInvalid as error:
        return Checked(name, error.faults)
    plan = plan_of_form(read_json(json_text(template.skeleton()), PlanForm))
    return Checked(name, graph=link_plan(plan, {}, closed=False), template=template.name)


def _with_the_rest(
    written: Written, faults: Sequence[Fault], agents: Mapping[str, AgentSchema] | None
) -> tuple[Fault, ...]:
    """Faults of single fields, and what else is wrong with the plan once those fields are left out."""
    value, prefix = plan_value(written.value)
    mended = _without(value, {fault.field for fault in faults})
    try:
        plan = plan_of_form(read_json(json_text(mended), PlanForm))
        link_plan(plan, agents or {}, closed=agents is not None)
    except InvalidArgument as error:
        known = tuple(fault.field for fault in faults)
        others = [item for item in error.violations if not _path(item).startswith(known)]
        if not any(fault.description == "is required" for fault in faults):
            return tuple(sorted([*faults, *faults_of(written, prefix, others)], key=lambda fault: fault.line))
    return tuple(faults)


def _path(violation: Violation) -> str:
    return violation.field.removeprefix("plan").removeprefix(".")


def _without(value: Any, fields: set[str], path: str = "") -> Any:
    if isinstance(value, dict):
        paths = {key: part_of(path, key) for key in value}
        return {key: _without(item, fields, paths[key]) for key, item in value.items() if paths[key] not in fields}
    if isinstance(value, list):
        return [
            _without(item, fields, where)
            for index, item in enumerate(value)
            if (where := part_of(path, index)) not in fields
        ]
    return value
