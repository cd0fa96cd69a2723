"""Putting parameters into the plan of a template.

What a parameter holds is data. In an input, which is read again when its step runs, it is written so that it stands for
itself; names of steps and dependencies are left as they are.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from waybill.core.limits import MAX_PLAN_INPUT_BYTES
from waybill.core.references import Reference, below, escape, evaluator, parse, strings_of, unmet
from waybill.core.violations import shown
from waybill.errors import InvalidArgument, Permanent

PARAMETERS = "parameters"
"""Root of the references to parameters; no step of a template can have this name."""
STRUCTURE = ("name", "after")
"""Fields of a step that say how steps depend on each other, which no parameter can change."""
MAX_EXPANDED_BYTES = 2 * MAX_PLAN_INPUT_BYTES
"""Most that parameters may add to a plan; what the plan itself may hold is checked like that of any plan."""

_WHOLE_PARAMETER = re.compile(r"@\s*\.\s*(\w+)\s*")
_ALWAYS, _NEVER = "${task | `true`}", "${task | `false`}"
_GONE = object()
"""Stands for a field that is left out."""


def steps_of(plan: Mapping[str, Any]) -> list[Any]:
    """The steps of a plan's JSON value, if it has any."""
    steps = plan.get("steps")
    return steps if isinstance(steps, list) else []


class _Filling(ABC):
    """A pass over a plan that puts something into the place of references to parameters."""

    def plan(self, plan: Mapping[str, Any]) -> dict[str, Any]:
        """The plan, filled in."""
        made = {name: self.plain(value, f"plan.{name}") for name, value in plan.items() if name != "steps"}
        steps = [self._step(step, f"plan.steps[{at}]") for at, step in enumerate(steps_of(plan))]
        return {"steps": steps if isinstance(plan.get("steps"), list) else plan.get("steps"), **made}

    def _step(self, step: Any, path: str) -> Any:
        if not isinstance(step, dict):
            return step
        filled: dict[str, Any] = {}
        for name, value in step.items():
            field = f"{path}.{name}"
            if name in STRUCTURE:
                filled[name] = value
            elif name == "when" and isinstance(value, list):
                conditions = [self._condition(item, f"{field}[{at}]") for at, item in enumerate(value)]
                filled[name] = [condition for condition in conditions if condition is not _GONE]
            elif name == "input":
                filled[name] = _mapped(value, field, self.in_input)
            else:
                filled[name] = self.plain(value, field)
        return {name: value for name, value in filled.items() if value is not _GONE}

    def _condition(self, item: Any, path: str) -> Any:
        reference = _only_parameter(item)
        return item if reference is None else self.condition(reference, path)

    @abstractmethod
    def plain(self, value: Any, path: str) -> Any:
        """A value whose texts refer to nothing but parameters."""

    @abstractmethod
    def in_input(self, text: str, path: str) -> Any:
        """A text that is read again when the step runs, as part of its input."""

    @abstractmethod
    def condition(self, reference: Reference, path: str) -> Any:
        """A condition that is a parameter."""


class Expansion(_Filling):
    """Puts the values of parameters in."""

    def __init__(self, values: Mapping[str, Any], known: frozenset[str]) -> None:
        encoded = msgspec.json.encode(values)
        self._values = values
        self._known = known
        self._encoded = encoded
        self._evaluate = evaluator({PARAMETERS: encoded})
        self._bytes_left = MAX_EXPANDED_BYTES

    def plain(self, value: Any, path: str) -> Any:
        """The value with parameters in it."""
        return _mapped(value, path, self._plain_text)

    def _plain_text(self, text: str, path: str) -> Any:
        parts = parse(text)
        if (reference := _only_parameter(text)) is not None:
            return msgspec.json.decode(self._json(reference, path))
        return "".join(part if isinstance(part, str) else self._written(part, path) for part in parts)

    def _written(self, reference: Reference, path: str) -> str:
        return self._text(reference, path) if reference.root == PARAMETERS else f"${{{reference.expression}}}"

    def in_input(self, text: str, path: str) -> Any:
        """The text with parameters that stand for themselves in it, or the one parameter that it is."""
        if (reference := _only_parameter(text)) is not None:
            return _escaped(msgspec.json.decode(self._json(reference, path)))
        pieces: list[str | Reference] = []
        for part in parse(text):
            piece = self._text(part, path) if isinstance(part, Reference) and part.root == PARAMETERS else part
            if pieces and isinstance(piece, str) and isinstance(pieces[-1], str):
                pieces[-1] += piece  # joined before it is escaped: a reference may not be put together from two texts
            else:
                pieces.append(piece)
        return "".join(_in_text(piece, pieces[at + 1 : at + 2]) for at, piece in enumerate(pieces))

    def condition(self, reference: Reference, path: str) -> Any:
        """A condition that says what the parameter says."""
        return _NEVER if unmet(reference.path, self._encoded) else _ALWAYS

    def _json(self, reference: Reference, path: str) -> bytes:
        named = _WHOLE_PARAMETER.fullmatch(reference.path)
        if named is not None and named[1] in self._known and self._values.get(named[1]) is None:
            return b"null"
        try:
            found = self._evaluate(reference)
        except Permanent as error:
            problem = f"do not go with {path} of the template: {error.message}"
            raise InvalidArgument.of_field(PARAMETERS, problem) from error
        self._bytes_left -= len(found)
        if self._bytes_left < 0:
            problem = f"grow over {MAX_EXPANDED_BYTES} bytes in the plan; send large data as documents"
            raise InvalidArgument.of_field(PARAMETERS, problem)
        return found

    def _text(self, reference: Reference, path: str) -> str:
        found = self._json(reference, path)
        if found == b"null":
            problem = f"do not go with {path} of the template: {shown(reference.expression)} is null there, among text"
            raise InvalidArgument.of_field(PARAMETERS, problem)
        return msgspec.json.decode(found, type=str) if found.startswith(b'"') else found.decode()


class Skeleton(_Filling):
    """Puts what fits anything in, and takes out what then says nothing."""

    def plain(self, value: Any, path: str) -> Any:
        """The value, or nothing if a parameter is in it."""
        name = path.rpartition(".")[2]
        if isinstance(value, dict) and name in ("retry", "question"):
            filled = {key: self.plain(item, f"{path}.{key}") for key, item in value.items()}
            return {key: item for key, item in filled.items() if item is not _GONE}
        if not any(_holds_parameter(text) for _, text in strings_of(value)):
            return _mapped(value, path, _unescaped)
        return name if name in ("agent", "prompt") else _GONE

    def in_input(self, text: str, path: str) -> Any:
        """The text with the task's input, of which nothing is known, in the place of parameters."""
        written = ("${task.input}" if _is_parameter(part) else _in_text(part, []) for part in parse(text))
        return "".join(written)

    def condition(self, reference: Reference, path: str) -> Any:
        """Nothing."""
        return _GONE


def _only_parameter(text: Any) -> Reference | None:
    """The reference that a text is nothing but, if it is to a parameter."""
    parts = parse(text) if isinstance(text, str) and "${" in text else ()
    only = parts[0] if len(parts) == 1 else None
    return only if isinstance(only, Reference) and only.root == PARAMETERS else None


def _is_parameter(part: str | Reference) -> bool:
    return isinstance(part, Reference) and part.root == PARAMETERS


def _holds_parameter(text: str) -> bool:
    return any(map(_is_parameter, parse(text)))


def _unescaped(text: str, _path: str) -> str:
    return "".join(part if isinstance(part, str) else f"${{{part.expression}}}" for part in parse(text))


def _in_text(piece: str | Reference, following: Sequence[str | Reference]) -> str:
    """A piece of a text as the text of an input says it, before what follows it."""
    if isinstance(piece, Reference):
        return f"${{{piece.expression}}}"
    ahead = following[0] if following else None
    if not isinstance(ahead, Reference) or not piece.endswith("$"):
        return escape(piece)
    # No $ may stand right before a reference, where it would make it a literal: another reference says it instead.
    kept = piece.rstrip("$")
    return f"{escape(kept)}${{{ahead.root} | '{'$' * (len(piece) - len(kept))}'}}"


def _escaped(value: Any) -> Any:
    return _mapped(value, "", lambda text, _: escape(text))


def _mapped(value: Any, path: str, change: Callable[[str, str], Any]) -> Any:
    """The value with every text that holds a `${` changed. Recursive: values come from JSON of bounded depth."""
    if isinstance(value, str):
        return change(value, path) if "${" in value else value
    if isinstance(value, dict):
        return {key: _mapped(item, below(path, key), change) for key, item in value.items()}
    if isinstance(value, list):
        return [_mapped(item, below(path, index), change) for index, item in enumerate(value)]
    return value
