"""The keywords of JSON Schema, checked in bounded time whatever the schema and the value are.

Schemas and values come from callers. Patterns run in linear time (the engine and syntax of pydantic's patterns), no
keyword compares every item with every other, and each check is paid for from an `Allowance`.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from contextvars import ContextVar
from functools import lru_cache
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError
from pydantic_core import SchemaError, SchemaValidator, core_schema

Keyword = Callable[[Any, Any, Any, Any], Iterable[ValidationError] | None]

MAX_PATTERN_CHARS = 1_000
MAX_MESSAGE_CHARS = 1_000
MAX_DEPTH = 150
"""Most checks inside each other; four Python frames each, of the thousand that Python allows."""
FREE_CHECKS = 200_000
"""Checks that every allowance begins with: less than a second of work."""
CHECKS_PER_VALUE = 20
"""Checks that each value (each item, each member) of what is checked adds to its allowance."""
_CHARS_PER_CHECK = 100
_CHECKS_PER_ERROR = 10


class TooCostly(Exception):
    """The allowance is used up."""


class Endless(Exception):
    """Checks lie deeper in each other than any value does: the schema refers to itself."""


class Allowance:
    """How many keyword checks something may cost. Shared by all that is checked for one request."""

    def __init__(self, checks: int = FREE_CHECKS) -> None:
        self._left = checks
        self._depth = 0

    def grant(self, value: Any) -> None:
        """Add what a value, by its size, may cost."""
        self._left += CHECKS_PER_VALUE * size_of(value)

    def spend(self, checks: int) -> None:
        """Pay for checks. Raises `TooCostly` once all are spent."""
        self._left -= checks
        if self._left < 0:
            raise TooCostly

    def enter(self) -> None:
        """Begin a check inside those that have begun and not ended. Raises `Endless` if they are too many.

        Python's own limit must never be met: where it strikes inside a library that is not Python, the process panics.
        """
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise Endless

    def leave(self) -> None:
        """End the check that was entered last."""
        self._depth -= 1


ALLOWANCE: ContextVar[Allowance] = ContextVar("allowance")
"""Who pays for the checks that run now."""


def size_of(value: Any) -> int:
    """Number of values in a JSON value, itself included."""
    count, stack = 0, [value]
    while stack:
        item = stack.pop()
        count += 1
        if isinstance(item, dict):
            stack.extend(item.values())
        elif isinstance(item, list):
            stack.extend(item)
    return count


def pattern_defect(pattern: str) -> str:
    """Why a pattern cannot be used; empty if it can."""
    if len(pattern) > MAX_PATTERN_CHARS:
        return f"has {len(pattern)} characters, over the limit of {MAX_PATTERN_CHARS}"
    try:
        _matcher(pattern)
    except SchemaError as error:
        return "cannot be used: " + str(error).strip().splitlines()[-1].removeprefix("error:").strip()[:200]
    return ""


def _matches(pattern: str, text: str) -> bool:
    """Whether a pattern is found in a text. One that this engine cannot run, of an agent's own schema, always is: the
    agent checks its input again.
    """
    ALLOWANCE.get().spend(1 + len(text) // _CHARS_PER_CHECK)
    try:
        return _matcher(pattern).isinstance_python(str(text))
    except SchemaError:
        return True


@lru_cache(maxsize=1024)
def _matcher(pattern: str) -> SchemaValidator:
    return SchemaValidator(core_schema.str_schema(pattern=pattern, regex_engine="rust-regex"))


def _pattern(validator: Any, pattern: str, instance: Any, schema: Any) -> Iterator[ValidationError]:
    if validator.is_type(instance, "string") and not _matches(pattern, instance):
        yield ValidationError(f"does not match the pattern {pattern!r}")


def _pattern_properties(
    validator: Any, patterns: Mapping[str, Any], instance: Any, schema: Any
) -> Iterator[ValidationError]:
    if validator.is_type(instance, "object"):
        for pattern, subschema in patterns.items():
            for key, value in instance.items():
                if _matches(pattern, key):
                    yield from validator.descend(value, subschema, path=key, schema_path=pattern)


def _additional_properties(
    validator: Any, allowed: Any, instance: Any, schema: Mapping[str, Any]
) -> Iterable[ValidationError]:
    if not validator.is_type(instance, "object"):
        return ()
    named, patterns = schema.get("properties", {}), schema.get("patternProperties", {})
    extras = {
        key: value
        for key, value in instance.items()
        if key not in named and not any(_matches(pattern, key) for pattern in patterns)
    }
    return _PLAIN["additionalProperties"](validator, allowed, extras, {}) or ()


def _unique_items(validator: Any, wanted: Any, instance: Any, schema: Any) -> Iterator[ValidationError]:
    if not wanted or not validator.is_type(instance, "array"):
        return
    seen: set[Hashable] = set()
    for item in instance:
        identity = _identity(item)
        if identity in seen:
            yield ValidationError("has items that are not unique")
            return
        seen.add(identity)


def _identity(value: Any) -> Hashable:
    """Equal for values that JSON Schema holds to be equal: 1 and 1.0 are, 1 and true are not."""
    if isinstance(value, dict):
        return frozenset((key, _identity(item)) for key, item in value.items())
    if isinstance(value, list):
        return tuple(_identity(item) for item in value)
    return ("number", value) if isinstance(value, int | float) and not isinstance(value, bool) else (type(value), value)


def _paid(keyword: str, check: Keyword) -> Keyword:
    """The check, paid for as it runs: one, one for each part of what is expected that it may look at, and for errors,
    whose messages may quote the whole value.
    """

    def checked(validator: Any, expected: Any, instance: Any, schema: Any) -> Iterator[ValidationError]:
        paying = ALLOWANCE.get()
        whole = keyword in ("enum", "const")
        paying.spend(1 + (size_of(expected) if whole else len(expected) if isinstance(expected, dict | list) else 0))
        try:
            paying.enter()
            for error in check(validator, expected, instance, schema) or ():
                paying.spend(_CHECKS_PER_ERROR + len(error.message) // _CHARS_PER_CHECK)
                error.message = error.message[:MAX_MESSAGE_CHARS]
                yield error
        finally:
            paying.leave()

    return checked


_PLAIN: Mapping[str, Keyword] = dict(Draft202012Validator.VALIDATORS)
_BOUNDED: Mapping[str, Keyword] = {
    "pattern": _pattern,
    "patternProperties": _pattern_properties,
    "additionalProperties": _additional_properties,
    "uniqueItems": _unique_items,
}
KEYWORDS: Mapping[str, Keyword] = {keyword: _paid(keyword, check) for keyword, check in {**_PLAIN, **_BOUNDED}.items()}
"""Every keyword with its check. They need an `ALLOWANCE`."""
