"""Plan templates: plans with typed parameters, and how parameters become part of a plan.

Texts of the plan refer to parameters as those of inputs refer to steps: `${parameters.question}`, with JMESPath after
the name. A text that is nothing but one reference becomes the parameter with its type, null where an optional one is
not given; in any other text the value is written. A parameter is data: what it holds is never read as a reference,
wherever it ends up, and no name of a step and no dependency can come from one. A condition may be a parameter.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import reduce
from typing import Any

import msgspec

from waybill.core.limits import MAX_PARAMETER_BYTES, TEMPLATE_NAME
from waybill.core.references import Reference, below, parse, strings_of
from waybill.core.schema import check_schema, misfits
from waybill.core.template_filling import PARAMETERS, STRUCTURE, Expansion, Skeleton, steps_of
from waybill.core.violations import Violations, closest, listing, shown
from waybill.errors import InvalidArgument, Permanent, Violation

PARAMETER_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")
MAX_PARAMETERS = 100
MAX_DESCRIPTION_CHARS = 1_000
_PARAMETER = re.compile(r"@\s*\.\s*(\w+)(?!\w*\s*\()")


@dataclass(frozen=True)
class Template:
    """A template that can be used. `properties` are the JSON Schemas of its parameters by name, `plan` is a plan as a
    JSON value, with references to parameters.
    """

    name: str
    description: str
    properties: Mapping[str, Any]
    required: tuple[str, ...]
    plan: Mapping[str, Any] = field(repr=False)

    @property
    def parameters_schema(self) -> str:
        """JSON Schema of the parameters as one object, as JSON text."""
        schema = {"type": "object", "properties": self.properties, "required": self.required}
        return msgspec.json.encode({**schema, "additionalProperties": False}).decode()

    def expand(self, given: bytes) -> dict[str, Any]:
        """The plan for some parameters, a JSON object as text; empty for none.

        Raises `InvalidArgument` with every parameter that is not known, missing, or does not fit.
        """
        values = self._filled(given)
        return Expansion(values, frozenset(self.properties)).plan(self.plan)

    def skeleton(self) -> dict[str, Any]:
        """The plan with something harmless in the place of every parameter, to check all the rest of it."""
        return Skeleton().plan(self.plan)

    def _filled(self, given: bytes) -> dict[str, Any]:
        values = _decoded(given)
        wrong = Violations()
        for name in values:
            if name not in self.properties:
                known = f"known parameters: {listing(self.properties)}"
                problem = f"is no parameter of template {self.name}{closest(name, self.properties)}; {known}"
                wrong.add(below(PARAMETERS, name), problem)
        for name, schema in self.properties.items():
            if name in values:
                continue
            if isinstance(schema, dict) and "default" in schema:
                values[name] = schema["default"]
            elif name in self.required:
                wrong.add(below(PARAMETERS, name), "is required")
        schema = msgspec.json.encode({"properties": self.properties}).decode()
        for path, problem in misfits(schema, values):
            wrong.add(reduce(below, path, PARAMETERS), problem)
        if wrong:
            raise invalid(wrong.listed(PARAMETERS))
        return values


def invalid(violations: Sequence[Violation]) -> InvalidArgument:
    """The error for what is wrong with a template or its parameters."""
    told = "; ".join(f"{item.field}: {item.description}" for item in violations[:3])
    more = f" (and {len(violations) - 3} more)" if len(violations) > 3 else ""
    return InvalidArgument(told + more, violations)


def make_template(
    name: str, description: str, properties: Mapping[str, Any], required: Sequence[str], plan: Mapping[str, Any]
) -> Template:
    """The template. Raises `InvalidArgument` with all that is wrong with its name, its parameters, and its references
    to them; what else may be wrong with the plan is seen in its `skeleton`.
    """
    template = Template(name, description, properties, tuple(required), plan)
    wrong = Violations()
    if not TEMPLATE_NAME.fullmatch(name):
        rule = 'use up to 64 of a-z, 0-9, "_" and "-", starting with a letter or digit'
        wrong.add("name", f"{shown(name)} is no name; {rule}")
    if len(description) > MAX_DESCRIPTION_CHARS:
        wrong.add("description", f"has {len(description)} characters, over the limit of {MAX_DESCRIPTION_CHARS}")
    _check_parameters(template, wrong)
    for path, text, is_structure in _texts(plan):
        _check_text(template, path, text, is_structure, wrong)
    for position, step in enumerate(steps_of(plan)):
        if isinstance(step, dict) and step.get("name") == PARAMETERS:
            wrong.add(f"plan.steps[{position}].name", f"{PARAMETERS!r} stands for the parameters; use another name")
    if wrong:
        raise invalid(wrong.listed("plan"))
    return template


def _check_parameters(template: Template, wrong: Violations) -> None:
    if len(template.properties) > MAX_PARAMETERS:
        wrong.add(PARAMETERS, f"are {len(template.properties)}, over the limit of {MAX_PARAMETERS}")
        return
    for name in template.properties:
        if not PARAMETER_NAME.fullmatch(name):
            rule = 'use a letter or "_", then up to 63 letters, digits and "_"'
            wrong.add(below(PARAMETERS, name), f"{shown(name)} is no name of a parameter; {rule}")
    for position, name in enumerate(template.required):
        schema = template.properties.get(name)
        if name not in template.properties:
            wrong.add(f"required[{position}]", f"{shown(name)} is no parameter{closest(name, template.properties)}")
        elif isinstance(schema, dict) and "default" in schema:
            wrong.add(f"required[{position}]", f"{shown(name)} has a default; take one of the two out")
    try:
        check_schema(template.parameters_schema)
    except InvalidArgument as error:
        wrong.add(PARAMETERS, error.message)
        return
    for name, schema in template.properties.items():
        if isinstance(schema, dict) and "default" in schema:
            text = msgspec.json.encode({"properties": {name: schema}}).decode()
            for path, problem in misfits(text, {name: schema["default"]}):
                wrong.add(f"{below(PARAMETERS, name)}.default", f"{problem}{_inside(path[1:])}")


def _inside(path: Sequence[str | int]) -> str:
    return f" (at {reduce(below, path, '').lstrip('.')})" if path else ""


def _check_text(template: Template, path: str, text: str, is_structure: bool, wrong: Violations) -> None:
    try:
        parts = parse(text)
    except Permanent as error:
        wrong.add(path, error.message)
        return
    for part in parts:
        if not isinstance(part, Reference) or part.root != PARAMETERS:
            continue
        named = _PARAMETER.match(part.path)
        if is_structure:
            wrong.add(path, "cannot come from a parameter: it says how steps depend on each other")
        elif named is not None and named[1] not in template.properties:
            known = f"known parameters: {listing(template.properties)}"
            wrong.add(path, f"there is no parameter {shown(named[1])}{closest(named[1], template.properties)}; {known}")
        elif ".when[" in path and len(parts) > 1:
            wrong.add(path, "is a condition, and can be one parameter but not hold one among other text")


def _texts(plan: Mapping[str, Any]) -> Iterator[tuple[str, str, bool]]:
    """Every text with a `${` in it: its path, itself, and whether it says how steps depend on each other."""
    for path, text in strings_of({**plan, "steps": []}, "plan"):
        yield path, text, False
    for position, step in enumerate(steps_of(plan)):
        if not isinstance(step, dict):
            continue
        for name, value in step.items():
            for path, text in strings_of(value, below(f"plan.steps[{position}]", name)):
                yield path, text, name in STRUCTURE


def _decoded(given: bytes) -> dict[str, Any]:
    if len(given) > MAX_PARAMETER_BYTES:
        limit = f"over the limit of {MAX_PARAMETER_BYTES}; send large data as documents"
        raise InvalidArgument.of_field(PARAMETERS, f"have {len(given)} bytes, {limit}")
    try:
        values = msgspec.json.decode(given or b"{}")
    except (ValueError, RecursionError) as error:
        raise InvalidArgument.of_field(PARAMETERS, f"are not valid JSON: {error}") from error
    if not isinstance(values, dict):
        raise InvalidArgument.of_field(PARAMETERS, "must be a JSON object of parameters by name")
    return values
