"""Answers of a certain form: the JSON Schema that is sent, and the check of what came back.

What a provider can enforce (`strict`) is a subset of JSON Schema: every object names all that it may have, and needs
all of it. A schema that can be narrowed to that is; any other is sent as it is, and only checked.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pydantic import TypeAdapter, ValidationError

from waybill.core.limits import MAX_SCHEMA_BYTES
from waybill.errors import InvalidArgument, Permanent

MAX_SHOWN_CHARS = 200
MAX_PROBLEMS = 10
_WRAPPED = "value"
"""Providers want an object; anything else is asked for as the one property of an object."""
_KEPT = frozenset(
    {"type", "properties", "required", "additionalProperties", "items", "anyOf", "enum", "const", "$ref", "$defs"}
    | {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf", "minItems", "maxItems"}
    | {"pattern", "format", "description", "title"}
)
_FENCED = re.compile(r"\A\s*```(?:json)?\s*\n(.*?)\n?\s*```\s*\Z", re.DOTALL)


class Misfit(Exception):
    """An answer does not fit; the message tells the model why."""


class _Unenforceable(Exception):
    """The schema has something that providers cannot enforce."""


@dataclass(frozen=True, slots=True)
class Form:
    """The form that an answer must have. `schema` is what is sent, as JSON text."""

    schema: bytes
    strict: bool
    _wrapped: bool
    _check: Callable[[Any], Any]

    @classmethod
    def of(cls, output: Any) -> Form:
        """The form of a JSON Schema (a dict), or of a type that pydantic knows.

        Raises Permanent (CHAT_INVALID) for what is neither, and for a schema that is not valid or too large.
        """
        if isinstance(output, dict):
            schema, check = output, _schema_check(output)
        else:
            try:
                adapter = TypeAdapter[Any](output)
                schema, check = adapter.json_schema(mode="validation"), _type_check(adapter)
            except Exception as error:  # pydantic raises several types here
                raise _invalid(f"is neither a JSON Schema nor a type that pydantic knows: {_said(error)}") from error
        wrapped = schema.get("type") != "object" and _own_references(schema)
        if wrapped:
            schema = _wrap(schema)
        narrowed = _narrowed(schema)
        data = json.dumps(schema if narrowed is None else narrowed, ensure_ascii=False).encode()
        if len(data) > MAX_SCHEMA_BYTES:
            raise _invalid(f"has a schema of {len(data)} bytes; the limit is {MAX_SCHEMA_BYTES}")
        return cls(data, narrowed is not None, wrapped, check)

    def read(self, text: str) -> Any:
        """The value that the model's text stands for. Raises Misfit."""
        fenced = _FENCED.match(text)
        try:
            value = json.loads(fenced[1] if fenced else text, parse_constant=_refuse)
        except (ValueError, RecursionError) as error:
            raise Misfit(f"the answer is not JSON: {_said(error)}") from error
        if self._wrapped:
            if not isinstance(value, dict) or list(value) != [_WRAPPED]:
                raise Misfit(f"the answer must be a JSON object with the one property {_WRAPPED!r}")
            value = value[_WRAPPED]
        return self._check(value)


def _type_check(adapter: TypeAdapter[Any]) -> Callable[[Any], Any]:
    def check(value: Any) -> Any:
        try:
            return adapter.validate_json(json.dumps(value))
        except ValidationError as error:
            problems = [
                f"{'.'.join(str(part) for part in item['loc']) or 'answer'}: {item['msg']}"
                for item in error.errors(include_url=False, include_input=False)[:MAX_PROBLEMS]
            ]
            raise Misfit("; ".join(problems)) from error

    return check


def _schema_check(schema: dict[str, Any]) -> Callable[[Any], Any]:
    from waybill.core.schema import check_schema, misfits

    try:
        text = json.dumps(schema)
        check_schema(text)
    except (TypeError, ValueError, InvalidArgument) as error:
        raise _invalid(f"is not a JSON Schema that can be used: {_said(error)}") from error

    def check(value: Any) -> Any:
        try:
            found = misfits(text, value)
        except InvalidArgument as error:
            raise Misfit(error.message) from error
        if found:
            shown = [f"{'.'.join(map(str, path)) or 'answer'}: {_said(problem)}" for path, problem in found]
            raise Misfit("; ".join(shown[:MAX_PROBLEMS]))
        return value

    return check


def _wrap(schema: dict[str, Any]) -> dict[str, Any]:
    inner = {key: value for key, value in schema.items() if key not in ("$defs", "definitions")}
    outer: dict[str, Any] = {key: schema[key] for key in ("$defs", "definitions") if key in schema}
    return {
        "type": "object",
        "properties": {_WRAPPED: inner},
        "required": [_WRAPPED],
        "additionalProperties": False,
        **outer,
    }


def _own_references(schema: Any) -> bool:
    """Whether all references lead to definitions, which keep their place."""
    if isinstance(schema, dict):
        target = schema.get("$ref", "#/$defs/")
        own = not isinstance(target, str) or target.startswith(("#/$defs/", "#/definitions/"))
        return own and all(map(_own_references, schema.values()))
    return all(map(_own_references, schema)) if isinstance(schema, list) else True


def _narrowed(schema: dict[str, Any]) -> dict[str, Any] | None:
    """The schema as providers can enforce it: whatever fits it fits the schema too. None if there is none."""
    try:
        narrowed = _narrow(schema)
    except (_Unenforceable, RecursionError):
        return None
    return narrowed if narrowed.get("type") == "object" else None


def _narrow(schema: Any) -> dict[str, Any]:
    if not isinstance(schema, dict) or not schema:
        raise _Unenforceable
    kept = {key: value for key, value in schema.items() if key not in ("default", "examples", "$schema")}
    if not kept.keys() <= _KEPT:
        raise _Unenforceable
    if "$ref" in kept and not str(kept["$ref"]).startswith("#/$defs/"):
        raise _Unenforceable
    for key in ("properties", "$defs"):
        if key in kept:
            kept[key] = {name: _narrow(part) for name, part in kept[key].items()}
    if "anyOf" in kept:
        kept["anyOf"] = [_narrow(part) for part in kept["anyOf"]]
    if "items" in kept:
        kept["items"] = _narrow(kept["items"])
    if kept.get("type") == "array" and "items" not in kept:
        raise _Unenforceable
    if kept.get("type") == "object" or "properties" in kept:
        if kept.get("additionalProperties", False) is not False or "properties" not in kept:
            raise _Unenforceable
        if not set(kept.get("required", ())) <= kept["properties"].keys():
            raise _Unenforceable
        kept["additionalProperties"], kept["required"] = False, list(kept["properties"])
    return kept


def _said(error: object) -> str:
    text = str(error)
    return text if len(text) <= MAX_SHOWN_CHARS else f"{text[:MAX_SHOWN_CHARS]}..."


def _invalid(problem: str) -> Permanent:
    return Permanent(f"chat: output {problem}", reason="CHAT_INVALID")


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")
