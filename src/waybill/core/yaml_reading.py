"""YAML as people write it, read to values of JSON and nothing else, in bounded time and memory.

It is made from the events of a kept parser, not from its constructors: nothing here is ever anything but a mapping, a
list, a text, a number, true, false or null.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

from waybill.core.limits import MIB
from waybill.core.violations import shown
from waybill.core.written import MAX_WRITTEN_DEPTH, Unreadable, Written, part_of

MAX_WRITTEN_VALUES = 2_000_000
"""Most values in a file, each use of an anchor counted with all that it stands for."""
MAX_WRITTEN_CHARS = 24 * MIB
"""Most characters in all its texts, counted in the same way."""

INTEGER = re.compile(r"-?(?:0|[1-9][0-9]*)")
NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?")
CONSTANTS: Mapping[str, bool | None] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_MAX_NUMBER_CHARS = 400
_MERGE = "<<"
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(slots=True)
class _Open:
    """A mapping or list that is being read. `size` counts it and all in it, `chars` the characters of its texts."""

    value: dict[str, Any] | list[Any]
    path: str
    anchor: str | None
    key: str | None = None
    size: int = 1
    chars: int = 0


@dataclass(slots=True)
class _Anchored:
    value: Any
    size: int
    chars: int


@dataclass(slots=True)
class _Reading:
    """One pass over the events of a text."""

    lines: dict[str, int] = field(default_factory=dict)
    anchors: dict[str, _Anchored | None] = field(default_factory=dict)
    stack: list[_Open] = field(default_factory=list)
    root: Any = None
    documents: int = 0

    def take(self, event: Any) -> None:
        line = event.start_mark.line + 1
        match event:
            case yaml.DocumentStartEvent():
                self.documents += 1
                if self.documents > 1:
                    raise Unreadable(line, "holds a second document; write one file for each")
            case yaml.MappingStartEvent() | yaml.SequenceStartEvent():
                self._begin(event, line)
            case yaml.MappingEndEvent() | yaml.SequenceEndEvent():
                self._end(line)
            case yaml.ScalarEvent():
                self._scalar(event, line)
            case yaml.AliasEvent():
                self._alias(str(event.anchor), line)

    def _begin(self, event: Any, line: int) -> None:
        is_mapping = isinstance(event, yaml.MappingStartEvent)
        self._check_tag(event, line)
        if self._wants_key():
            raise Unreadable(line, "a key must be a text", self.stack[-1].path)
        if len(self.stack) >= MAX_WRITTEN_DEPTH:
            raise Unreadable(line, f"is nested over {MAX_WRITTEN_DEPTH} deep; flatten it")
        path = self._path()
        self.lines.setdefault(path, line)
        if event.anchor is not None:
            self.anchors[event.anchor] = None
        self.stack.append(_Open({} if is_mapping else [], path, event.anchor))

    def _end(self, line: int) -> None:
        ended = self.stack.pop()
        if ended.anchor is not None:
            self.anchors[ended.anchor] = _Anchored(ended.value, ended.size, ended.chars)
        self._put(ended.value, ended.size, ended.chars, line)

    def _scalar(self, event: Any, line: int) -> None:
        self._check_tag(event, line)
        text: str = event.value
        if self._wants_key():
            if event.anchor is not None:
                raise Unreadable(line, "a key cannot have an anchor", self.stack[-1].path)
            self._key(text, line, is_plain=event.implicit[0])
            return
        path = self._path()
        self.lines.setdefault(path, line)
        value = _plain_value(text, line, path) if event.implicit[0] else text
        if event.anchor is not None:
            self.anchors[event.anchor] = _Anchored(value, 1, len(text))
        self._put(value, 1, len(text), line)

    def _alias(self, anchor: str, line: int) -> None:
        if self._wants_key():
            raise Unreadable(line, "a key must be a text", self.stack[-1].path)
        path = self._path()
        if anchor not in self.anchors:
            raise Unreadable(line, f"refers to {shown('*' + anchor)}, and there is no such anchor above it", path)
        found = self.anchors[anchor]
        if found is None:
            raise Unreadable(line, f"refers to {shown('*' + anchor)}, which holds it", path)
        self.lines.setdefault(path, line)
        self._put(found.value, found.size, found.chars, line)

    def _wants_key(self) -> bool:
        return bool(self.stack) and isinstance(self.stack[-1].value, dict) and self.stack[-1].key is None

    def _path(self) -> str:
        if not self.stack:
            return ""
        around = self.stack[-1]
        part = len(around.value) if isinstance(around.value, list) else around.key
        assert part is not None
        return part_of(around.path, part)

    def _key(self, text: str, line: int, *, is_plain: bool) -> None:
        around = self.stack[-1]
        path = part_of(around.path, text)
        if text == _MERGE and is_plain:
            raise Unreadable(line, "merging by << is not supported; write the fields out, or use an anchor", path)
        if text in around.value:
            raise Unreadable(line, "is written twice; take one of them out", path)
        self.lines.setdefault(path, line)
        around.key = text
        around.chars += len(text)

    def _put(self, value: Any, size: int, chars: int, line: int) -> None:
        if not self.stack:
            self.root = value
            return
        around = self.stack[-1]
        around.size += size
        around.chars += chars
        if around.size > MAX_WRITTEN_VALUES or around.chars > MAX_WRITTEN_CHARS:
            limit = f"{MAX_WRITTEN_VALUES} values and {MAX_WRITTEN_CHARS} characters"
            raise Unreadable(line, f"grows over {limit}, anchors counted as often as they are used; use fewer")
        if isinstance(around.value, list):
            around.value.append(value)
        else:
            assert around.key is not None
            around.value[around.key] = value
            around.key = None

    def _check_tag(self, event: Any, line: int) -> None:
        if event.tag is not None:
            told = "tags are not supported; put a value in quotes to make it a text"
            raise Unreadable(line, f"has the tag {shown(str(event.tag))}; {told}")


def read_yaml_text(text: str) -> Written:
    """The value of YAML text. Raises `Unreadable`."""
    reading = _Reading()
    for event in _events(text):
        reading.take(event)
    lines = reading.lines
    return Written(reading.root, lambda: lines)


def _events(text: str) -> Iterator[Any]:
    try:
        yield from yaml.parse(text, Loader=_Loader)
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1 if isinstance(error.position, int) else 1
        raise Unreadable(line, "holds a character that YAML does not allow", is_syntax=True) from error
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = min(mark.line + 1 if mark is not None else 1, text.rstrip("\n").count("\n") + 1)
        told = ", ".join(part for part in (error.context, error.problem) if part)
        if "nesting" in told:  # the parser has a limit of its own
            raise Unreadable(line, f"is nested over {MAX_WRITTEN_DEPTH} deep; flatten it") from error
        raise Unreadable(line, f"is not YAML: {told[:300]}", is_syntax=True) from error
    except (yaml.YAMLError, UnicodeError, RecursionError) as error:
        raise Unreadable(1, "is not YAML", is_syntax=True) from error


def _plain_value(text: str, line: int, path: str) -> Any:
    """What a scalar without quotes stands for."""
    if text in CONSTANTS:
        return CONSTANTS[text]
    if not NUMBER.fullmatch(text):
        return text
    if len(text) > _MAX_NUMBER_CHARS:
        raise Unreadable(line, f"is a number of more than {_MAX_NUMBER_CHARS} digits", path)
    if INTEGER.fullmatch(text):
        return int(text)
    number = float(text)
    if not math.isfinite(number):
        raise Unreadable(line, "is a number that JSON cannot hold", path)
    return number
