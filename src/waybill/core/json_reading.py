"""JSON as people write it: read as the standard says, with nothing twice, and with the line of each part."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from typing import Any, NoReturn

from waybill.core.written import MAX_WRITTEN_DEPTH, Unreadable, Written, part_of

_TOKEN = re.compile(r'[{}\[\],]|"(?:[^"\\]|\\.)*"|[^\s{}\[\],:"]+', re.DOTALL)


def read_json_text(text: str) -> Written:
    """The value of JSON text. Raises `Unreadable`."""
    is_repeated = False

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        nonlocal is_repeated
        found = dict(pairs)
        is_repeated = is_repeated or len(found) < len(pairs)
        return found

    try:
        value = json.loads(text, object_pairs_hook=once, parse_constant=_refuse, parse_float=_float)
    except json.JSONDecodeError as error:
        raise Unreadable(error.lineno, f"is not JSON: {error.msg}", is_syntax=True) from error
    except RecursionError as error:
        raise Unreadable(1, f"is nested over {MAX_WRITTEN_DEPTH} deep; flatten it") from error
    except ValueError as error:  # among them those of Python itself, for numbers of thousands of digits
        raise Unreadable(1, f"holds a number that JSON cannot hold: {str(error)[:100]}") from error
    if is_repeated:
        path, line = next((path, line) for path, line, is_first in _parts(text) if not is_first)
        raise Unreadable(line, "is written twice; take one of them out", path)
    if _is_too_deep(value):
        raise Unreadable(1, f"is nested over {MAX_WRITTEN_DEPTH} deep; flatten it")
    return Written(value, lambda: _lines(text))


def _lines(text: str) -> Mapping[str, int]:
    return {path: line for path, line, _ in _parts(text)}


def _parts(text: str) -> Iterator[tuple[str, int, bool]]:
    """Each part of valid JSON text: its path, its line, and whether it is the first with that path in its object."""
    line, counted = 1, 0
    stack: list[tuple[str, set[str] | None, int]] = []
    path: str | None = ""
    for token in _TOKEN.finditer(text):
        mark = token[0]
        line += text.count("\n", counted, token.start())
        counted = token.start()
        if mark in ("}", "]"):
            stack.pop()
        elif mark == ",":
            around, keys, index = stack[-1]
            stack[-1] = (around, keys, index + 1)
            path = None if keys is not None else part_of(around, index + 1)
        elif path is None:  # the key of a member
            around, keys, _ = stack[-1]
            key = json.loads(mark)
            path = part_of(around, key)
            assert keys is not None
            if key in keys:
                yield path, line, False
            keys.add(key)
        else:
            yield path, line, True
            if mark == "{":
                stack.append((path, set(), 0))
                path = None
            elif mark == "[":
                stack.append((path, None, 0))
                path = part_of(path, 0)


def _is_too_deep(value: Any) -> bool:
    level = [value]
    for _ in range(MAX_WRITTEN_DEPTH + 1):
        level = [item for item in level if isinstance(item, dict | list)]
        level = [inner for item in level for inner in (item.values() if isinstance(item, dict) else item)]
    return bool(level)


def _refuse(constant: str) -> NoReturn:
    raise ValueError(constant)


def _float(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(text[:100])
    return number
