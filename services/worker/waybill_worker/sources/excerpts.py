"""Excerpts: pieces of a source, small enough to rank and quote, whose text and line are exactly those of the file."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum

MAX_EXCERPT_CHARS = 1_500
BREAK = "\u2029"
"""Ends a line of what is shown that goes on in the same line of the source; two of them end a paragraph or a row."""
_WANTED_CHARS = 900
_MAX_HEADING_CHARS = 200

# A long piece is cut after a sentence if it has one, else after a line, else between words.
_CUTS = (re.compile(r"[.!?][\"')\]*`]*\s+"), re.compile(r"\n"), re.compile(r"\s"))
_BLANK_LINES = re.compile(r"(?:[^\S\n]*\n)*")


class Kind(StrEnum):
    """What the text of an excerpt is."""

    PROSE = "prose"
    COMMENT = "comment"
    """Prose with a marker before every line, such as a comment or a Markdown quotation."""
    TABLE = "table"
    CODE = "code"


@dataclass(frozen=True, slots=True)
class Block:
    """A stretch of one kind in a text, from one offset to another, under a heading."""

    kind: Kind
    heading: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Part:
    """A stretch of a source whose lines are counted by themselves: a page, a cell, or all of it; with its blocks.

    `page` and `cell` count from 1; 0 means that the source has none.
    """

    text: str
    blocks: tuple[Block, ...]
    page: int = 0
    cell: int = 0


@dataclass(frozen=True, slots=True)
class Excerpt:
    """A piece of a source. `line` counts from 1, in its page or cell if it has one, and is where `text` begins."""

    path: str
    line: int
    text: str
    kind: Kind
    heading: str
    page: int = 0
    cell: int = 0


class Lines:
    """The lines of a text: from offsets to numbers and back. Only the newline character ends a line."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.starts = [0, *(match.end() for match in re.finditer("\n", text))]

    def number_at(self, offset: int) -> int:
        """The number, from 1, of the line that holds the offset."""
        return bisect_right(self.starts, offset)

    def offset_of(self, index: int) -> int:
        """Where line `index` (from 0) begins; the end of the text if there is no such line."""
        return self.starts[index] if index < len(self.starts) else len(self.text)


def enter(trail: dict[int, str], level: int, title: str) -> None:
    """Note in a trail of headings, by level, that another one begins: those of its level and below end."""
    for ended in [other for other in trail if other >= level]:
        del trail[ended]
    trail[level] = title


def cut(path: str, part: Part) -> Iterator[Excerpt]:
    """Excerpts of the blocks of a part: small neighbours joined, large blocks cut, blank ones dropped."""
    text = part.text
    lines = Lines(text)
    for block in _join(text, part.blocks):
        for start, end in _pieces(text, block):
            heading = block.heading[:_MAX_HEADING_CHARS]
            line = lines.number_at(start)
            yield Excerpt(path, line, text[start:end], block.kind, heading, part.page, part.cell)


def _join(text: str, blocks: Iterable[Block]) -> Iterator[Block]:
    current: Block | None = None
    for block in blocks:
        if (
            current is not None
            and (block.kind, block.heading) == (current.kind, current.heading)
            and block.end - current.start <= _WANTED_CHARS
            and not text[current.end : block.start].strip()
        ):
            current = Block(current.kind, current.heading, current.start, block.end)
            continue
        if current is not None:
            yield current
        current = block
    if current is not None:
        yield current


def _pieces(text: str, block: Block) -> Iterator[tuple[int, int]]:
    start = block.start
    while start < block.end:
        end = min(block.end, start + MAX_EXCERPT_CHARS)
        if end < block.end:
            end = _cut_before(text, start, end, block.kind)
        piece = text[start:end]
        blank = _BLANK_LINES.match(piece)
        if blank and piece.strip():
            yield start + blank.end(), start + len(piece.rstrip())
        start = end


def _cut_before(text: str, start: int, end: int, kind: Kind) -> int:
    for pattern in _CUTS if kind in (Kind.PROSE, Kind.COMMENT) else _CUTS[1:]:
        # Half of the room is given up for a good cut, not more.
        cuts = [match.end() for match in pattern.finditer(text, start + MAX_EXCERPT_CHARS // 2, end)]
        if cuts:
            return cuts[-1]
    return end
