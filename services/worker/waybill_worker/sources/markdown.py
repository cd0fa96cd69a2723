"""The blocks of a Markdown text: paragraphs and list items, quotations, tables, code, each under its headings."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from typing import TYPE_CHECKING

from waybill_worker.sources.excerpts import Block, Kind, Lines, enter

if TYPE_CHECKING:
    from markdown_it import MarkdownIt
    from markdown_it.token import Token

_FRONT_MATTER = re.compile(r"\A---[^\S\n]*\n.*?^(?:---|\.\.\.)[^\S\n]*$", re.DOTALL | re.MULTILINE)
_CODE = ("fence", "code_block", "html_block")


@cache
def _parser() -> MarkdownIt:
    from markdown_it import MarkdownIt

    parser = MarkdownIt("commonmark").enable("table")
    # Positions are known for blocks alone, so the text inside them is not parsed.
    parser.core.ruler.enableOnly(["normalize", "block"])
    return parser


def blocks(text: str, trail: dict[int, str] | None = None) -> Iterator[Block]:
    """The blocks in the order of the text. Headings and front matter are none; headings name what follows them.

    `trail` holds the headings, by level, that the text itself stands under, and is kept up to date.
    """
    lines = Lines(text)
    front_matter = _FRONT_MATTER.match(text)
    skipped = text.count("\n", 0, front_matter.end()) + 1 if front_matter else 0
    trail = {} if trail is None else trail
    quoted = 0
    table = False
    tokens = _parser().parse(text[lines.offset_of(skipped) :])
    for position, token in enumerate(tokens):
        if token.type == "heading_open":
            level = int(token.tag[1])
            enter(trail, level, tokens[position + 1].content.strip())
        elif token.type in ("blockquote_open", "blockquote_close"):
            quoted += token.nesting
        elif token.type in ("table_open", "table_close"):
            table = token.nesting > 0
        kind = _kind_of(token, quoted=quoted > 0, table=table)
        if kind is not None and token.map is not None:
            first, last = (skipped + number for number in token.map)
            yield Block(kind, " > ".join(trail.values()), lines.offset_of(first), lines.offset_of(last))


def _kind_of(token: Token, *, quoted: bool, table: bool) -> Kind | None:
    if token.type == "table_open":
        return Kind.TABLE
    if token.type in _CODE:
        return Kind.CODE
    if token.type == "paragraph_open" and not table:
        return Kind.COMMENT if quoted else Kind.PROSE
    return None
