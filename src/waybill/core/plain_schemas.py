"""Schemas as most agents have them: a few members of plain types. Whether a value fits one is seen at a glance.

A glance never refuses: what it does not take for fitting is left to the check that knows every keyword.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

Glance = Callable[[Any], bool]
"""Whether a value certainly fits."""

_TYPES: Mapping[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "null": (type(None),),
    "array": (list,),
    "object": (dict,),
}
_SAYING_NOTHING = frozenset({"title", "description", "default", "examples"})
_KNOWN = _SAYING_NOTHING | {"type", "properties", "required", "additionalProperties", "items", "anyOf"}
_MAX_DEPTH = 16


def glance_of(schema: Any, depth: int = 0) -> Glance:
    """How a value is looked at for a valid schema, decoded; one that is not plain takes no value for fitting."""
    if schema is True:
        return _always
    if not isinstance(schema, dict) or not schema.keys() <= _KNOWN or depth > _MAX_DEPTH:
        return _never
    parts = [part for part in (_by_type(schema), _by_choice(schema, depth)) if part is not None]
    if schema.keys() & {"properties", "required", "additionalProperties"}:
        parts.append(_by_members(schema, depth))
    if "items" in schema:
        parts.append(_by_items(glance_of(schema["items"], depth + 1)))
    if not parts:
        return _always
    return parts[0] if len(parts) == 1 else lambda value: all(part(value) for part in parts)


def _always(_value: Any) -> bool:
    return True


def _never(_value: Any) -> bool:
    return False


def _by_type(schema: Mapping[str, Any]) -> Glance | None:
    if "type" not in schema:
        return None
    named: Any = schema["type"]
    allowed = frozenset(kind for name in ([named] if isinstance(named, str) else named) for kind in _TYPES[name])
    # Exactly these: what stands for a value that is not known yet is a text of its own type.
    return lambda value: type(value) in allowed


def _by_choice(schema: Mapping[str, Any], depth: int) -> Glance | None:
    if "anyOf" not in schema:
        return None
    choices = [glance_of(choice, depth + 1) for choice in schema["anyOf"]]
    return lambda value: any(choice(value) for choice in choices)


def _by_members(schema: Mapping[str, Any], depth: int) -> Glance:
    members = {name: glance_of(member, depth + 1) for name, member in schema.get("properties", {}).items()}
    required: Sequence[str] = tuple(schema.get("required", ()))
    others = glance_of(schema.get("additionalProperties", True), depth + 1)

    def fits(value: Any) -> bool:
        if type(value) is not dict:
            return False
        for name in required:
            if name not in value:
                return False
        return all(members.get(name, others)(member) for name, member in value.items())

    return fits


def _by_items(item: Glance) -> Glance:
    return lambda value: type(value) is list and all(map(item, value))
