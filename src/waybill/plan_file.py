"""Plan files: a plan as YAML or JSON, checked field by field, with the line of everything that is wrong."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from waybill.api.v1 import task_pb2
from waybill.core.violations import MAX_VIOLATIONS
from waybill.core.written import Unreadable, Written, read_written
from waybill.errors import InvalidArgument, InvalidPlan, Violation
from waybill.rpc.plan_forms import SCHEMA_KEY, PlanForm, plan_of_form
from waybill.rpc.strict import read_json


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong in a file, and where: `field` is its path in the plan, empty for the file itself."""

    line: int
    field: str
    description: str


class PlanFileInvalid(InvalidPlan):
    """A plan file that will not do, with all that is wrong in it."""

    def __init__(self, name: str, faults: Sequence[Fault]) -> None:
        self.name = name
        self.faults = tuple(faults)
        violations = [Violation(self._place(fault), fault.description) for fault in faults]
        told = "; ".join(f"{item.field}: {item.description}" for item in violations[:3])
        more = f" (and {len(violations) - 3} more)" if len(violations) > 3 else ""
        super().__init__(told + more, violations)

    def _place(self, fault: Fault) -> str:
        return f"{self.name}:{fault.line}: {fault.field}" if fault.field else f"{self.name}:{fault.line}"


@dataclass(frozen=True)
class PlanFile:
    """A file that holds a plan: `value`, or `plan` as a message. `prefix` is its path in the file, empty or `plan`."""

    name: str
    written: Written
    prefix: str
    value: dict[str, Any]
    plan: task_pb2.Plan

    def invalid(self, violations: Iterable[Violation]) -> PlanFileInvalid:
        """The error for what is wrong with the plan, its violations named as those of a plan: `plan.steps[2].agent`."""
        return PlanFileInvalid(self.name, faults_of(self.written, self.prefix, violations))


def faults_of(written: Written, prefix: str, violations: Iterable[Violation]) -> list[Fault]:
    """Violations of a plan that stands in a file, in the order of its lines."""
    faults = []
    for violation in violations:
        path = violation.field.removeprefix("spec.").removeprefix("plan").removeprefix(".")
        faults.append(Fault(written.line_of(_joined(prefix, path)), path, violation.description))
    return sorted(faults, key=lambda fault: fault.line)


def read_plan_file(data: bytes, name: str) -> PlanFile:
    """The plan that a file holds. Raises `PlanFileInvalid` with every field that is wrong in itself."""
    try:
        written = read_written(data)
    except Unreadable as error:
        raise PlanFileInvalid(name, [Fault(error.line, error.path, error.problem)]) from error
    value, prefix = plan_value(written.value)
    if not isinstance(value, dict):
        raise PlanFileInvalid(name, [Fault(1, "", "holds no plan: write its steps, as in `steps: [...]`")])
    if "plan" in value and "steps" not in value and len(value) > 1:
        told = "is a plan template: put it into the planner's folder, and submit it by its name with --template"
        raise PlanFileInvalid(name, [Fault(1, "", told)])
    try:
        plan = plan_of_form(read_json(json_text(value), PlanForm))
    except InvalidArgument as error:
        raise PlanFileInvalid(name, faults_of(written, prefix, structure_of(value) or error.violations)) from error
    return PlanFile(name, written, prefix, value, plan)


def plan_value(value: Any) -> tuple[Any, str]:
    """The plan in what a file says, without the name of its schema, and the path at which it stands."""
    prefix = ""
    if isinstance(value, dict):
        value = without_schema_name(value)
        if set(value) == {"plan"} and isinstance(value["plan"], dict):
            value, prefix = value["plan"], "plan"
    return value, prefix


def without_schema_name(value: dict[str, Any]) -> dict[str, Any]:
    """A file's members without the one by which it names its schema for editors."""
    if isinstance(value.get(SCHEMA_KEY), str):
        return {key: item for key, item in value.items() if key != SCHEMA_KEY}
    return value


def json_text(value: Any) -> bytes:
    """The JSON text of what a file says. Raises `InvalidArgument` for a text that is not Unicode."""
    try:
        return msgspec.json.encode(value)
    except (ValueError, OverflowError, RecursionError) as error:
        raise InvalidArgument.of_field("plan", f"has no JSON form: {str(error)[:200]}") from error


def structure_of(value: Any) -> list[Violation]:
    """Every field of a plan's JSON value that is wrong in itself, at most as many as are told."""
    from waybill.rpc.plan_schema import structure_violations  # takes long to load, and only mistakes need it

    return structure_violations(value)[:MAX_VIOLATIONS]


def _joined(prefix: str, path: str) -> str:
    return f"{prefix}.{path}".strip(".") if prefix else path
