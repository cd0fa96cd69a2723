"""Template files: the form that they fill in, and their JSON Schema."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import Meta, Raw, field

from waybill.core.limits import TEMPLATE_NAME
from waybill.core.template import MAX_DESCRIPTION_CHARS, MAX_PARAMETERS, PARAMETER_NAME
from waybill.rpc.plan_schema import file_schema, plan_schema
from waybill.rpc.strict import Strict

_Parameter = Annotated[Raw, Meta(extra_json_schema={"type": ["object", "boolean"]})]
_ParameterName = Annotated[str, Meta(extra_json_schema={"pattern": f"^(?:{PARAMETER_NAME.pattern})$"})]
_FROM_PARAMETER = {"type": "string", "pattern": r"^\$\{\s*parameters\b.*\}$"}
"""What may stand in the place of a number or of true and false."""


class TemplateForm(Strict):
    """A plan with typed parameters."""

    name: Annotated[
        str,
        Meta(
            description="Unique among the planner's templates; tasks are submitted by it.",
            extra_json_schema={"pattern": f"^(?:{TEMPLATE_NAME.pattern})$"},
        ),
    ]
    plan: Annotated[
        Raw,
        Meta(
            description="The plan. Its texts may refer to parameters, as in ${parameters.question}; one that is "
            "nothing but a reference keeps the parameter's type.",
            extra_json_schema={"$ref": "#/$defs/Plan"},
        ),
    ]
    description: Annotated[
        str,
        Meta(description="What it does, for people.", extra_json_schema={"maxLength": MAX_DESCRIPTION_CHARS}),
    ] = ""
    parameters: Annotated[
        dict[_ParameterName, _Parameter],
        Meta(
            description="The parameters by name, each with its JSON Schema. A default there stands for one that is not "
            "given; without one it is null.",
            extra_json_schema={"maxProperties": MAX_PARAMETERS},
        ),
    ] = field(default_factory=dict)
    required: Annotated[list[_ParameterName], Meta(description="Names of the parameters that must be given.")] = field(
        default_factory=list
    )


def template_schema() -> dict[str, Any]:
    """The schema of a template file, for editors and programs."""
    schema = file_schema(TemplateForm, "Waybill plan template")
    plan = plan_schema()
    definitions = {name: _parametrized(definition) for name, definition in plan.pop("$defs").items()}
    kept = {name: plan[name] for name in ("description", "type", "properties", "required", "additionalProperties")}
    kept["properties"] = {name: value for name, value in kept["properties"].items() if name != "$schema"}
    return {**schema, "$defs": {"Plan": kept, **definitions}}


def _parametrized(definition: dict[str, Any]) -> dict[str, Any]:
    if "properties" not in definition:
        return definition
    return {**definition, "properties": {name: _either(value) for name, value in definition["properties"].items()}}


def _either(value: dict[str, Any]) -> dict[str, Any]:
    """The schema of a field that a parameter may stand in for; those of texts and of structure stay as they are."""
    kinds = [value, *value.get("anyOf", ())]
    if not any(kind.get("type") in ("integer", "number", "boolean") for kind in kinds):
        return value
    told = {key: item for key, item in value.items() if key == "description"}
    rest = {key: item for key, item in value.items() if key != "description"}
    return {**told, "anyOf": [rest, _FROM_PARAMETER]}
