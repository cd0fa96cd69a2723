"""Whether a step's input fits its agent's JSON Schema, before the values behind its references are known.

A string that is nothing but a reference may turn out to be anything, so it fits every schema; a string that holds
one among other text is a text of unknown content. All else is checked as it stands.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import lru_cache
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError, ValidationError
from jsonschema.protocols import Validator
from jsonschema.validators import extend
from referencing import Registry
from referencing.exceptions import Unresolvable

from waybill.core.references import Reference, parse
from waybill.core.violations import shown
from waybill.errors import InvalidArgument

_Keyword = Callable[[Any, Any, Any, Any], Iterable[ValidationError] | None]

_WHOLE_VALUE_KEYWORDS = frozenset(
    {"oneOf", "not", "if", "const", "enum", "uniqueItems", "contains", "dependentSchemas", "unevaluatedItems"}
    | {"unevaluatedProperties"}
)
"""Keywords that judge a value by all that is in it, so that one unknown part makes their verdict unknown."""

_TEXT_KEYWORDS = frozenset({"minLength", "maxLength", "pattern", "format", "const", "enum"})
"""Keywords that judge what a text says."""


class AnyValue(str):
    """Stands for a string that is one reference: its value can be of any type."""


class AnyText(str):
    """Stands for a string that holds references among other text: its value is some text."""


def with_unknowns(value: Any) -> Any:
    """A JSON value with the strings that hold references replaced by what they stand for, and escapes undone.

    Raises `Permanent` (REFERENCE_MALFORMED). Recursive: the caller has checked the depth.
    """
    if isinstance(value, str):
        return _unknown(value) if "${" in value else value
    if isinstance(value, dict):
        return {key: with_unknowns(item) for key, item in value.items()}
    if isinstance(value, list):
        return [with_unknowns(item) for item in value]
    return value


def misfits(schema: str, value: Any) -> Iterator[tuple[list[str | int], str]]:
    """What in a value (from `with_unknowns`) does not fit a schema (JSON text): the path to it, and the problem.

    Raises `InvalidArgument` if the schema itself cannot be used, or refers to something outside itself.
    """
    try:
        for error in _validator(schema).iter_errors(value):
            for exact in _exact(error):
                yield list(exact.absolute_path), _description(exact)
    except Unresolvable as error:
        raise _broken(f"it refers to {shown(str(error.ref))}, which is not in it") from error
    except RecursionError as error:
        raise _broken("it has no end") from error


def _unknown(text: str) -> str:
    parts = parse(text)
    if len(parts) == 1 and isinstance(parts[0], Reference):
        return AnyValue(text)
    if any(isinstance(part, Reference) for part in parts):
        return AnyText(text)
    return "".join(str(part) for part in parts)


@lru_cache(maxsize=256)
def _validator(schema: str) -> Validator:
    try:
        parsed = json.loads(schema)
        _LenientValidator.check_schema(parsed)
    except (ValueError, RecursionError) as error:
        raise _broken(f"it is not JSON: {error}") from error
    except SchemaError as error:
        raise _broken(f"it is not a JSON Schema: {error.message[:300]}") from error
    # An empty registry, because the default one would fetch whatever address a schema names.
    validator: Validator = _LenientValidator(parsed, registry=Registry())
    return validator


def _lenient(keyword: str, check: _Keyword) -> _Keyword:
    def checked(validator: Any, expected: Any, instance: Any, schema: Any) -> Iterator[ValidationError]:
        kind = type(instance)
        if kind is AnyValue or (kind is AnyText and keyword in _TEXT_KEYWORDS):
            return
        for error in check(validator, expected, instance, schema) or ():
            if keyword in _WHOLE_VALUE_KEYWORDS and _holds_unknown(instance):
                return
            yield error

    return checked


_STRICT_KEYWORDS: Mapping[str, _Keyword] = dict(Draft202012Validator.VALIDATORS)
_LenientValidator: Any = extend(  # type: ignore[no-untyped-call]
    Draft202012Validator,
    validators={keyword: _lenient(keyword, check) for keyword, check in _STRICT_KEYWORDS.items()},
)


def _holds_unknown(value: Any) -> bool:
    stack = [value]
    while stack:
        item = stack.pop()
        if isinstance(item, AnyValue | AnyText):
            return True
        if isinstance(item, dict):
            stack.extend(item.values())
        elif isinstance(item, list):
            stack.extend(item)
    return False


def _exact(error: ValidationError) -> list[ValidationError]:
    """For a union, what is wrong with the one branch whose type is right, if there is just one; else the error."""
    if error.validator not in ("anyOf", "oneOf") or not error.context:
        return [error]
    branches: dict[Any, list[ValidationError]] = {}
    for inner in error.context:
        branches.setdefault(inner.schema_path[0], []).append(inner)
    of_right_type = [
        inners
        for inners in branches.values()
        if not any(inner.validator == "type" and len(inner.path) == 0 for inner in inners)
    ]
    return of_right_type[0] if len(of_right_type) == 1 else [error]


def _description(error: ValidationError) -> str:
    if error.validator == "type":
        wanted: Any = error.validator_value
        return (
            f"must be of type {wanted if isinstance(wanted, str) else ' or '.join(wanted)}, is {_kind(error.instance)}"
        )
    if error.validator in ("anyOf", "oneOf"):
        return f"is {_kind(error.instance)}, which fits none of what is allowed here"
    return error.message[:300]


def _broken(problem: str) -> InvalidArgument:
    return InvalidArgument(f"the agent's input schema cannot be used: {problem}", reason="SCHEMA_INVALID")


def _kind(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    names = {str: "string", int: "integer", float: "number", list: "array", dict: "object"}
    return next((name for kind, name in names.items() if isinstance(value, kind)), type(value).__name__)
