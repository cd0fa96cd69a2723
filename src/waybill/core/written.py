"""Values that people write, as YAML or JSON, with the line that each part of them stands on.

Both notations give the same values, those of JSON. YAML is read without its surprises: only null, true, false and
numbers as JSON writes them are no texts, so that `on`, `no`, `1.0.0`, `007` and dates stay what they look like; keys
are always texts. Tags and merge keys are refused. An anchor may be used again, as long as the whole stays small.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from waybill.core.limits import MIB
from waybill.core.references import below
from waybill.errors import InvalidArgument

MAX_WRITTEN_BYTES = 24 * MIB
"""Largest file that is read: as large as a submission may be."""
MAX_WRITTEN_DEPTH = 200
"""Deepest nesting of a file: as deep as that of JSON in a message."""


@dataclass(frozen=True)
class Written:
    """What a text says. `find_lines` finds the line of each part, counted from 1, by its path such as `steps[2].name`;
    it is called when one is asked for.
    """

    value: Any
    find_lines: Callable[[], Mapping[str, int]]

    def line_of(self, path: str) -> int:
        """The line that the part at a path begins on, or else the nearest part around it."""
        lines = self._lines
        while path and path not in lines:
            path = path[: max(path.rfind("."), path.rfind("["), 0)]
        return lines.get(path, 1)

    @cached_property
    def _lines(self) -> Mapping[str, int]:
        return self.find_lines()


class Unreadable(InvalidArgument):
    """A text that is neither YAML nor JSON, or says something that has no place here. `line` is where, counted from 1,
    `path` the part that it is about, if it is known, and `is_syntax` tells that the notation itself is broken.
    """

    def __init__(self, line: int, problem: str, path: str = "", *, is_syntax: bool = False) -> None:
        super().__init__(f"line {line}: {path}{': ' if path else ''}{problem}")
        self.line = line
        self.path = path
        self.problem = problem
        self.is_syntax = is_syntax


def part_of(path: str, part: str | int) -> str:
    """The path of a part of what stands at a path, itself empty for the whole."""
    return below(path, part) if path else below("", part).removeprefix(".")


def read_written(data: bytes) -> Written:
    """The value of a text in UTF-8: JSON if it is JSON, else YAML. Raises `Unreadable`."""
    if len(data) > MAX_WRITTEN_BYTES:
        raise Unreadable(1, f"has {len(data)} bytes, and at most {MAX_WRITTEN_BYTES} are allowed")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise Unreadable(line, "is not text in UTF-8; save the file in that encoding") from error
    if not text.strip():
        raise Unreadable(1, "is empty")
    from waybill.core.json_reading import read_json_text  # what either needs is loaded only then
    from waybill.core.yaml_reading import read_yaml_text

    if not text.lstrip().startswith(("{", "[", '"')):
        return read_yaml_text(text)
    try:
        return read_json_text(text)
    except Unreadable as defect:
        if not defect.is_syntax:
            raise
        try:  # braces and brackets are YAML too, where quotes may be left out
            return read_yaml_text(text)
        except Unreadable as error:
            raise (defect if error.is_syntax else error) from error
