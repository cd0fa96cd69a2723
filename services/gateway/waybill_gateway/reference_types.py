"""Schemas as people read them: what a value may be, in a line, and tables of fields."""

from __future__ import annotations

from typing import Any

from waybill_gateway.reference_markup import anchor, block, code, line, prose, table

_BOUNDS = {
    "minimum": "from {}",
    "maximum": "to {}",
    "minLength": "at least {} characters",
    "maxLength": "at most {} characters",
    "minItems": "at least {} items",
    "maxItems": "at most {} items",
    "pattern": "matches {}",
    "default": "by default {}",
}


def kind_of(schema: dict[str, Any]) -> str:
    """What values a schema allows, as HTML in a line."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f'<a href="#schema-{anchor(name)}">{name}</a>'
    for several in ("anyOf", "oneOf"):
        if several in schema:
            return " or ".join(kind_of(item) for item in schema[several])
    if "enum" in schema:
        return ", ".join(code(str(value)) for value in schema["enum"])
    if schema.get("type") == "array":
        return f"list of {kind_of(schema.get('items', {}))}" + _bounds(schema)
    if schema.get("type") == "object" and isinstance(schema.get("additionalProperties"), dict):
        return f"object of {kind_of(schema['additionalProperties'])} by name"
    kinds = schema.get("type", "any JSON value")
    shown = " or ".join(kinds) if isinstance(kinds, list) else kinds
    return (code(schema["format"]) if "format" in schema else shown) + _bounds(schema)


def _bounds(schema: dict[str, Any]) -> str:
    told = [text.format(code(str(schema[key]))) for key, text in _BOUNDS.items() if key in schema]
    return f" <small>{', '.join(told)}</small>" if told else ""


def fields_of(schema: dict[str, Any]) -> str:
    """The fields of an object as a table; what a value may be of anything else."""
    properties = schema.get("properties")
    if not properties:
        return f"<p>{kind_of({key: value for key, value in schema.items() if key != 'description'})}</p>"
    required = set(schema.get("required", ()))
    rows = (
        (
            code(name) + (' <span class="required">required</span>' if name in required else ""),
            kind_of(field),
            line(field.get("description", "")),
        )
        for name, field in properties.items()
    )
    return table(("Field", "Type", "Meaning"), rows)


def schema_section(name: str, schema: dict[str, Any]) -> str:
    """One named schema with its fields."""
    shown = f'<section class="schema" id="schema-{anchor(name)}"><h3>{name}</h3>{prose(schema.get("description", ""))}'
    example = block(schema["example"]) if "example" in schema else ""
    return f"{shown}{fields_of(schema)}{example}</section>"
