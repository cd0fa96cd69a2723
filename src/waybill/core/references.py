"""References between steps: finding `${...}` in a step's input, and putting values in their place.

A reference is written `${root}` or `${root<rest>}`, where the root names a step (or `task`, the task itself) and the
rest is JMESPath applied to what that step returned: `${research.documents[0].title}`, `${draft | length(@)}`.
A string that is nothing but one reference becomes the referenced value with its type; any other string has the value
written into it, texts as they are and the rest as JSON. `$${` stands for a literal `${`, so no `$` can stand right
before a reference. Keys of objects are never references, and what was put in is never looked at again, so no value can
smuggle a reference in.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import jmespath
import msgspec
from jmespath.parser import ParsedResult

from waybill.core.limits import MAX_EVENT_MESSAGE_CHARS, MIB, STEP_NAME
from waybill.core.plan import Condition
from waybill.errors import Permanent

MAX_EXPRESSION_CHARS = 1_000
MAX_INPUT_DEPTH = 64
"""Deepest nesting of arrays and objects in a step's input."""
MAX_RESOLVED_BYTES = 64 * MIB
"""Most that one step's input may grow to once its references are resolved."""

_SHOWN_CHARS = 200
_MARK = re.compile(r"\$\$\{|\$\{")
_BRACE_OR_QUOTED = re.compile(r"""[{}]|"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|`(?:[^`\\]|\\.)*`""", re.DOTALL)
_ROOT = re.compile(r"[a-z][a-z0-9_-]*")


@dataclass(frozen=True, slots=True)
class Reference:
    """One `${...}`: `root` is a step's name or `task`, `expression` all that stood between the braces, and `path`
    the JMESPath applied to the root's value, `@` for all of it.
    """

    root: str
    expression: str
    path: str


Part = str | Reference


def escape(text: str) -> str:
    """The text written so that it stands for itself in an input, whatever it holds."""
    return text.replace("${", "$${")


def parse(text: str) -> tuple[Part, ...]:
    """The parts of a string in order: literal texts (unescaped, never empty) and references.

    Raises `Permanent` (REFERENCE_MALFORMED) for a reference that cannot be read.
    """
    parts: list[Part] = []
    literal: list[str] = []
    position = 0
    while mark := _MARK.search(text, position):
        literal.append(text[position : mark.start()])
        if mark[0] == "$${":
            literal.append("${")
            position = mark.end()
            continue
        end = _closing_brace(text, mark.end())
        if joined := "".join(literal):
            parts.append(joined)
        literal.clear()
        parts.append(_reference(text[mark.end() : end]))
        position = end + 1
    literal.append(text[position:])
    if joined := "".join(literal):
        parts.append(joined)
    return tuple(parts)


def references_of(value: Any) -> list[Reference]:
    """All references in the strings of a JSON value, in order of appearance, repeated where they repeat.

    Raises `Permanent` (REFERENCE_MALFORMED) for one that cannot be read.
    """
    return [part for _, text in strings_of(value) for part in parse(text) if isinstance(part, Reference)]


def strings_of(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Every string of a JSON value that holds a `${`, with its path below `path`, such as `input.items[2]`.

    In order of appearance, and without recursion, so that any depth will do.
    """
    stack = [(path, value)]
    while stack:
        where, item = stack.pop()
        if isinstance(item, str):
            if "${" in item:
                yield where, item
        elif isinstance(item, dict):
            stack.extend((below(where, key), item[key]) for key in reversed(item))
        elif isinstance(item, list):
            stack.extend((below(where, index), item[index]) for index in range(len(item) - 1, -1, -1))


def below(path: str, part: str | int) -> str:
    """The path of a value inside the one at `path`: `path.key`, `path[2]`, or `path["odd key"]`."""
    if isinstance(part, int):
        return f"{path}[{part}]"
    return f"{path}.{part}" if part.isidentifier() else f"{path}[{msgspec.json.encode(part[:80]).decode()}]"


def may_hold_references(data: bytes) -> bool:
    """Whether JSON text could hold a reference. False is certain; `${` may hide behind a JSON escape."""
    return b"${" in data or b"\\u" in data


def resolve(input: bytes, inputs: Mapping[str, bytes]) -> bytes:
    """A step's input, JSON text, with every reference replaced by what it refers to.

    `inputs` maps roots to their values as JSON text, empty for a step that was skipped: references to it give null.
    `${root}` alone passes whatever the root returned, null included.
    Raises nothing but `Permanent`: REFERENCE_UNRESOLVED, naming the expression, where a root is not given or a path
    leads to nothing or to null; REFERENCE_MALFORMED; INPUT_INVALID; INPUT_TOO_LARGE.
    """
    if not may_hold_references(input):
        return input
    try:
        return msgspec.json.encode(_Resolution(inputs).value(msgspec.json.decode(input), 0))
    except (ValueError, RecursionError) as error:
        raise Permanent(f"the step's input is not valid JSON: {error}", reason="INPUT_INVALID") from error


def evaluator(roots: Mapping[str, bytes]) -> Callable[[Reference], bytes]:
    """What evaluates references on roots, each given as JSON text and decoded once, to JSON text.

    It raises what `resolve` raises, and as that does counts what it has given in all.
    """
    return _Resolution(roots).json


def unmet(path: str, root: bytes) -> str:
    """Why a condition does not hold, for people; empty if it holds.

    A condition is the JMESPath `path` on a root's value, JSON text, empty for a step that was skipped. What leads to
    nothing, cannot be applied, or is false to JMESPath (false, null, "", [], {}) does not hold.
    """
    try:
        found = _compiled(path).search(msgspec.json.decode(root) if root else None)
    except Exception as error:  # JMESPath lets Python's own errors through
        return f"cannot be applied: {str(error)[:_SHOWN_CHARS]}"
    if found is None:
        return "leads to nothing"
    return "is false or empty" if found is False or found in ("", [], {}) else ""


def first_unmet(conditions: Sequence[Condition], roots: Mapping[int, bytes]) -> str:
    """Why not all conditions of a step hold, for people; empty if they do. `roots` are as in `unmet`, by number."""
    for position, condition in enumerate(conditions):
        why = unmet(condition.path, roots[condition.number])
        if why:
            root = f"step {condition.number}" if condition.number else "the task"
            return f"when[{position}], {condition.path} of {root}, {why}"[:MAX_EVENT_MESSAGE_CHARS]
    return ""


class _Resolution:
    """One call of `resolve`: each root is decoded once, each expression evaluated once."""

    def __init__(self, inputs: Mapping[str, bytes]) -> None:
        self._inputs = inputs
        self._roots: dict[str, Any] = {}
        self._found: dict[str, bytes] = {}
        self._size_bytes = 0

    def value(self, value: Any, depth: int) -> Any:
        if isinstance(value, str):
            return self._string(value) if "${" in value else value
        if not isinstance(value, dict | list):
            return value
        if depth >= MAX_INPUT_DEPTH:
            raise Permanent(f"the step's input is nested more than {MAX_INPUT_DEPTH} deep", reason="INPUT_INVALID")
        if isinstance(value, dict):
            return {key: self.value(item, depth + 1) for key, item in value.items()}
        return [self.value(item, depth + 1) for item in value]

    def _string(self, text: str) -> Any:
        parts = parse(text)
        if len(parts) == 1 and isinstance(parts[0], Reference):
            return msgspec.Raw(self.json(parts[0]))
        return "".join(part if isinstance(part, str) else self._text(part) for part in parts)

    def _text(self, reference: Reference) -> str:
        found = self.json(reference)
        if found == b"null":
            raise _unresolved(reference, "is null, and cannot become part of a text")
        if found.startswith(b'"'):
            return msgspec.json.decode(found, type=str)
        return found.decode()

    def json(self, reference: Reference) -> bytes:
        """What a reference leads to, as JSON text."""
        found = self._found.get(reference.expression)
        if found is None:
            found = self._found[reference.expression] = self._evaluate(reference)
        self._size_bytes += len(found)
        if self._size_bytes > MAX_RESOLVED_BYTES:
            raise Permanent(
                f"the step's input grows over {MAX_RESOLVED_BYTES} bytes at ${{{reference.expression}}}: refer to less",
                reason="INPUT_TOO_LARGE",
            )
        return found

    def _evaluate(self, reference: Reference) -> bytes:
        root = reference.root
        if root not in self._inputs:
            raise _unresolved(reference, f"{root} has no output here")
        if not self._inputs[root]:
            return b"null"  # it was skipped
        if reference.path == "@":
            return self._inputs[root].strip()
        try:
            if root not in self._roots:
                self._roots[root] = msgspec.json.decode(self._inputs[root])
            found = _compiled(reference.path).search(self._roots[root])
            if not _is_finite(found):
                raise _unresolved(reference, "gives a number that JSON cannot hold")
            encoded = msgspec.json.encode(found)
        except Permanent:
            raise
        except Exception as error:  # JMESPath lets Python's own errors through, and none of them can mend itself
            raise _unresolved(reference, f"cannot be applied to what {root} returned: {error}") from error
        if encoded == b"null":
            raise _unresolved(reference, f"leads to nothing in what {root} returned")
        return encoded


def _closing_brace(text: str, start: int) -> int:
    depth = 1
    for token in _BRACE_OR_QUOTED.finditer(text, start, min(len(text), start + MAX_EXPRESSION_CHARS + 1)):
        if token[0] == "{":
            depth += 1
        elif token[0] == "}":
            depth -= 1
            if depth == 0:
                return token.start()
    raise _malformed(
        text[start : start + 101],
        f"is not closed by a brace within {MAX_EXPRESSION_CHARS} characters; write $${{ for a literal ${{",
    )


def _reference(expression: str) -> Reference:
    stripped = expression.strip()
    root = _ROOT.match(stripped)
    if root is None or not STEP_NAME.fullmatch(root[0]):
        raise _malformed(expression, "begins with no step name; write $${ for a literal ${")
    rest = stripped[root.end() :].strip()
    if rest.startswith("("):
        raise _malformed(expression, f"begins with a function; name the step first, as in ${{step | {root[0]}(@)}}")
    reference = Reference(root[0], stripped, f"@{rest}")
    if rest:
        try:
            _compiled(reference.path)
        except (ValueError, RecursionError) as error:
            raise _malformed(expression, f"is not JMESPath: {str(error).splitlines()[0]}") from error
    return reference


@lru_cache(maxsize=2048)
def _compiled(path: str) -> ParsedResult:
    return jmespath.compile(path)


def _is_finite(value: Any) -> bool:
    """Whether no number in a value is infinite or not a number, which functions such as `sum` can make."""
    stack = [value]
    while stack:
        item = stack.pop()
        if isinstance(item, float):
            if not math.isfinite(item):
                return False
        elif isinstance(item, dict):
            stack.extend(item.values())
        elif isinstance(item, list):
            stack.extend(item)
    return True


def _malformed(expression: str, problem: str) -> Permanent:
    return Permanent(f"the reference {_shown(expression)} {problem}", reason="REFERENCE_MALFORMED")


def _unresolved(reference: Reference, problem: str) -> Permanent:
    return Permanent(f"the reference {_shown(reference.expression)} {problem}", reason="REFERENCE_UNRESOLVED")


def _shown(expression: str) -> str:
    return f"${{{expression}}}" if len(expression) <= 100 else f"${{{expression[:100]}...}}"
