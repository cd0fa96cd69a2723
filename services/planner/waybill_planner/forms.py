"""The JSON that a model writes, with the schema that it is sent: made from the form that plan files have."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import msgspec

from waybill.core.patch import Patch
from waybill.core.plan import Plan, PlanStep
from waybill.errors import InvalidPlan
from waybill.rpc.plan_forms import PlanForm, StepForm, plan_of_form
from waybill.rpc.plans import plan_from_proto, step_violations, steps_from_proto
from waybill.rpc.specs import plan_from_json
from waybill.rpc.strict import Strict, read_json

_FENCED = re.compile(r"\A\s*```(?:json)?\s*\n(.*?)\n?\s*```\s*\Z", re.DOTALL)
_STEP_FIELDS = ("name", "agent", "input", "after", "when", "allow_skipped")
"""What a model has to say of a step; the rest is the operator's and the caller's."""
_FOR_AUTHORS = frozenset({"description", "pattern", "minItems", "maxItems"})
"""What schemas tell people of fields: the prompt says it once, and not every endpoint knows all keywords."""


class Substitute(Strict):
    """A step that failed or is dropped, and the new step in its place."""

    old: str
    new: str


class PatchForm(Strict):
    """A patch as a model writes it."""

    steps: list[StepForm]
    drop: list[str] = msgspec.field(default_factory=list)
    substitutes: list[Substitute] = msgspec.field(default_factory=list)
    reason: str = ""


def plan_schema(agents: Iterable[str]) -> bytes:
    """JSON Schema of a plan whose steps run these agents, as JSON text."""
    return _schema(PlanForm, ("steps",), agents)


def patch_schema(agents: Iterable[str]) -> bytes:
    """JSON Schema of a patch whose steps run these agents, as JSON text."""
    return _schema(PatchForm, ("steps", "drop", "substitutes", "reason"), agents)


def plan_of(text: str) -> Plan:
    """The plan that a model wrote. Raises InvalidArgument with every field that is wrong in itself."""
    return plan_from_proto(plan_from_json(_unfenced(text)))


def patch_of(text: str) -> Patch | None:
    """The patch that a model wrote, None if it changes nothing. Raises InvalidArgument as above."""
    form = read_json(_unfenced(text).encode(), PatchForm)
    if not form.steps and not form.drop:
        return None
    return Patch(_steps(form), tuple(form.drop), {pair.old: pair.new for pair in form.substitutes}, form.reason[:1_000])


def _steps(form: PatchForm) -> tuple[PlanStep, ...]:
    if not form.steps:
        return ()
    steps = plan_of_form(PlanForm(form.steps)).steps
    violations = step_violations(steps, "patch.steps")
    if violations:
        raise InvalidPlan.of(violations)
    return steps_from_proto(steps)


def _unfenced(text: str) -> str:
    """The JSON of an answer that puts it between the fences of Markdown, as models do that know no schemas."""
    fenced = _FENCED.match(text)
    return fenced[1] if fenced else text


def _schema(form: type[Strict], fields: tuple[str, ...], agents: Iterable[str]) -> bytes:
    schema = msgspec.json.schema(form)
    definitions: dict[str, Any] = schema["$defs"]
    root = definitions.pop(form.__name__)
    _keep(root, fields)
    step = definitions["StepForm"]
    _keep(step, _STEP_FIELDS)
    step["properties"]["agent"] = {"enum": sorted(agents)}
    step["properties"]["input"] = {"type": "object", "description": "fits the agent's input schema"}
    step["required"] = ["name", "agent", "input"]
    used = {"StepForm": step, **({"Substitute": definitions["Substitute"]} if form is PatchForm else {})}
    return msgspec.json.encode({**root, "$defs": used})


def _keep(definition: dict[str, Any], fields: tuple[str, ...]) -> None:
    definition["properties"] = {name: _bare(definition["properties"][name]) for name in fields}


def _bare(field: dict[str, Any]) -> dict[str, Any]:
    kept = {key: value for key, value in field.items() if key not in _FOR_AUTHORS}
    if "items" in kept:
        kept["items"] = _bare(kept["items"])
    return kept
