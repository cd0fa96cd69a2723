"""The blocks of plain text (reStructuredText included): paragraphs, under the underlined titles between them."""

from __future__ import annotations

import re
from collections.abc import Iterator

from waybill_worker.sources.excerpts import Block, Kind

# Tried at the beginnings of lines alone: anywhere else, a line of nothing but blanks would cost its length squared.
PARAGRAPH = re.compile(r"^[^\n]*\S[^\n]*(?:\n[^\n]*\S[^\n]*)*", re.MULTILINE)
_UNDERLINED = re.compile(r"(?:([^\w\s])\1{2,}[^\S\n]*\n)?[^\S\n]*(\S[^\n]{0,150})\n([^\w\s])\3{2,}[^\S\n]*(?:\n|\Z)")
_HASH_TITLE = re.compile(r"#{1,6}[^\S\n]+(\S[^\n]{0,150})\Z")
_RULED = re.compile(r"[^\S\n]*(?:\+[-=+]{3,}|\|.*\||={2,}[^\S\n]+=)")


def blocks(text: str) -> Iterator[Block]:
    """The paragraphs in the order of the text. A title stands at the head of its paragraph or alone."""
    heading = ""
    literal = False
    for match in PARAGRAPH.finditer(text):
        start, paragraph = match.start(), match.group()
        title = _UNDERLINED.match(paragraph)
        if title:
            heading = title.group(2).strip()
            start += title.end()
        elif _HASH_TITLE.match(paragraph):
            heading = paragraph.lstrip("# ").strip()
            continue
        if start >= match.end():
            continue
        literal = literal and all(line[0].isspace() for line in paragraph.split("\n"))
        kind = Kind.CODE if literal else Kind.TABLE if _RULED.match(paragraph) else Kind.PROSE
        yield Block(kind, heading, start, match.end())
        literal = literal or paragraph.rstrip().endswith("::") or paragraph.lstrip().startswith(".. code")


def whole(text: str) -> Iterator[Block]:
    """A text that holds data, and no prose: one block of code."""
    yield Block(Kind.CODE, "", 0, len(text))
