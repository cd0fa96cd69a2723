"""Whom a tool would write to: the arguments that the operator has declared as recipients, held against the policy."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from waybill.core.budget import TaskPolicy

_MAX_SHOWN_CHARS = 100


def refusal(
    arguments: Mapping[str, Any], names: Sequence[str], parameters: Mapping[str, Any], policy: TaskPolicy
) -> str:
    """Why these arguments must not be sent; empty if they may. `names` are those that hold recipients.

    Where recipients are limited, a tool that has some may get no argument that its schema does not name, as nobody
    could tell what its server makes of it, and recipients only as texts, or lists of them.
    """
    if not names or not policy.allowed_recipients:
        return ""
    for name in arguments:
        if name not in parameters.get("properties", {}):
            return f"the argument {name[:_MAX_SHOWN_CHARS]!r} is not one of the tool's"
    for name in names:
        for recipient in _leaves(arguments.get(name)):
            if not isinstance(recipient, str):
                return f"{name} must be a text or a list of texts, so that its recipients can be checked"
            if not policy.allows_recipient(recipient):
                return f"the task may not send to {recipient[:_MAX_SHOWN_CHARS]!r}"
    return ""


def declared(parameters: Mapping[str, Any], name: str) -> bool:
    """Whether a schema names an argument among its properties."""
    properties = parameters.get("properties")
    return isinstance(properties, dict) and name in properties


def _leaves(value: Any) -> Iterator[Any]:
    if isinstance(value, list):
        for item in value:
            yield from _leaves(item)
    elif value is not None:
        yield value
