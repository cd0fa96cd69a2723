"""Whether values fit JSON Schemas: a step's input its agent's, and an answer its question's.

An input is checked before the values behind its references are known: a string that is nothing but a reference may turn
out to be anything, so it fits every schema; a string that holds one among other text is a text of unknown content. All
else is checked as it stands.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

import msgspec
from jsonschema import Draft202012Validator, FormatChecker
from jsonschema.exceptions import SchemaError, ValidationError
from jsonschema.protocols import Validator
from jsonschema.validators import extend
from referencing import Registry
from referencing.exceptions import Unresolvable

from waybill.core.keywords import ALLOWANCE, KEYWORDS, Allowance, Endless, Keyword, TooCostly, pattern_defect, size_of
from waybill.core.limits import MAX_SCHEMA_BYTES
from waybill.core.plain_schemas import Glance, glance_of
from waybill.core.references import Reference, parse
from waybill.core.violations import shown
from waybill.errors import InvalidArgument

COSTLY = "SCHEMA_COSTLY"
"""Reason of an error that is about schema and value together: another value may be checked in time."""
MAX_SCHEMA_DEPTH = 64
_CHECKS_PER_SCHEMA_VALUE = 75
_COSTLY_RULE = "cannot be used: checking it, or a value against it, takes too long; simplify it, or send less"
_UNBOUNDED_KEYWORDS = frozenset({"unevaluatedProperties", "$id", "$anchor", "$dynamicRef", "$dynamicAnchor"})
_UNBOUNDED_RULE = 'refer within the schema, as in "#/$defs/name", and use additionalProperties'

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


def misfits(schema: str, value: Any, allowance: Allowance | None = None) -> list[tuple[list[str | int], str]]:
    """What in a value (from `with_unknowns`) does not fit a schema (JSON text): the path to it, and the problem.

    Raises `InvalidArgument` if the schema itself cannot be used, or refers to something outside itself
    (SCHEMA_INVALID), or if the check costs more than `allowance` and the value's size allow (SCHEMA_COSTLY).
    """
    paying = allowance or Allowance()
    paying.grant(value)
    with _paid_from(paying):
        if _glance(schema)(value):
            return []
        try:
            errors = [exact for error in _validator(schema).iter_errors(value) for exact in _exact(error)]
        except Unresolvable as error:
            raise _broken(f"it refers to {shown(str(error.ref))}, which is not in it") from error
        except (Endless, RecursionError) as error:
            raise _broken("it has no end") from error
        except (ArithmeticError, ValueError, LookupError, TypeError) as error:
            # Keywords let Python's own errors through, such as those of numbers that no float can hold.
            raise _broken("it cannot be applied to this value") from error
    return [(list(error.absolute_path), _description(error)) for error in errors]


def check_schema(schema: str, allowance: Allowance | None = None) -> None:
    """Accept a schema that a caller wrote, JSON text. Raises `InvalidArgument` if it is too large or cannot be used."""
    size_bytes = len(schema.encode("utf-8", errors="replace"))
    if size_bytes > MAX_SCHEMA_BYTES:
        raise _broken(f"it has {size_bytes} bytes, and at most {MAX_SCHEMA_BYTES} are allowed")
    with _paid_from(allowance or Allowance()):
        for part in _objects_of(_validator(schema).schema):
            _check_bounded(part)


@contextmanager
def _paid_from(allowance: Allowance) -> Iterator[None]:
    token = ALLOWANCE.set(allowance)
    try:
        yield
    except TooCostly as error:
        raise InvalidArgument(f"the schema {_COSTLY_RULE}", reason=COSTLY) from error
    finally:
        ALLOWANCE.reset(token)


def _check_bounded(part: dict[str, Any]) -> None:
    """Refuse what has no check in bounded time. A member that only looks like a keyword is refused too."""
    for keyword in _UNBOUNDED_KEYWORDS & part.keys():
        raise _broken(f"it uses {keyword}, which is not supported here; {_UNBOUNDED_RULE}")
    reference = part.get("$ref")
    if isinstance(reference, str) and reference != "#" and not reference.startswith("#/"):
        raise _broken(f"it refers to {shown(reference)}; {_UNBOUNDED_RULE}")
    named, pattern = part.get("patternProperties"), part.get("pattern")
    for written in [*(named if isinstance(named, dict) else ()), *([pattern] if isinstance(pattern, str) else ())]:
        defect = pattern_defect(written)
        if defect:
            raise _broken(f"its pattern {shown(written)} {defect}")


def _objects_of(schema: Any) -> list[dict[str, Any]]:
    """All objects in a schema. Raises `InvalidArgument` if it is nested too deep."""
    found: list[dict[str, Any]] = []
    level, depth = [schema], 0
    while level := [item for item in level if isinstance(item, dict | list)]:
        depth += 1
        if depth > MAX_SCHEMA_DEPTH:
            raise _broken(f"it is nested more than {MAX_SCHEMA_DEPTH} deep")
        found += [item for item in level if isinstance(item, dict)]
        level = [inner for item in level for inner in (item.values() if isinstance(item, dict) else item)]
    return found


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
        parsed = msgspec.json.decode(schema.encode())
    except (ValueError, RecursionError) as error:
        raise _broken(f"it is not JSON: {str(error)[:300]}") from error
    for part in _objects_of(parsed):
        # Naming another dialect would bring in that one's keywords, whose checks are not bounded.
        if isinstance(part.get("$schema"), str):
            del part["$schema"]
    ALLOWANCE.get().spend(_CHECKS_PER_SCHEMA_VALUE * size_of(parsed))
    try:
        # Without formats: that of patterns is Python's, and theirs are checked by the engine that runs them.
        _LenientValidator.check_schema(parsed, format_checker=FormatChecker(()))
    except SchemaError as error:
        raise _broken(f"it is not a JSON Schema: {error.message[:300]}") from error
    # An empty registry, because the default one would fetch whatever address a schema names.
    validator: Validator = _LenientValidator(parsed, registry=Registry())
    return validator


@lru_cache(maxsize=256)
def _glance(schema: str) -> Glance:
    return glance_of(_validator(schema).schema)


def _lenient(keyword: str, check: Keyword) -> Keyword:
    def checked(validator: Any, expected: Any, instance: Any, schema: Any) -> Iterator[ValidationError]:
        kind = type(instance)
        if kind is AnyValue or (kind is AnyText and keyword in _TEXT_KEYWORDS):
            return
        for error in check(validator, expected, instance, schema) or ():
            if keyword in _WHOLE_VALUE_KEYWORDS and _holds_unknown(instance):
                return
            yield error

    return checked


_LenientValidator: Any = extend(  # type: ignore[no-untyped-call]
    Draft202012Validator,
    validators={keyword: _lenient(keyword, check) for keyword, check in KEYWORDS.items()},
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
    return InvalidArgument(f"the schema cannot be used: {problem}", reason="SCHEMA_INVALID")


def _kind(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    names = {str: "string", int: "integer", float: "number", list: "array", dict: "object"}
    return next((name for kind, name in names.items() if isinstance(value, kind)), type(value).__name__)
