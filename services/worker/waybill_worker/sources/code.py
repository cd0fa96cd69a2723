"""The blocks of source code: its comments and docstrings, which are prose, and the code between them."""

from __future__ import annotations

import io
import re
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass

from waybill_worker.sources.excerpts import Block, Kind, Lines
from waybill_worker.sources.formats import Format
from waybill_worker.sources.plain import PARAGRAPH

_LINE_COMMENT = {
    Format.PYTHON: r"#",
    Format.HASH_COMMENTS: r"#(?!!)",
    Format.SLASH_COMMENTS: r"//",
    Format.DASH_COMMENTS: r"--",
}
_BLOCK_COMMENT = {Format.SLASH_COMMENTS: ("/*", "*/"), Format.DASH_COMMENTS: ("--[[", "]]")}
_QUOTES = re.compile(r"[A-Za-z]{0,2}(\"\"\"|'''|\"|')")
_STARTS_LINE = (tokenize.INDENT, tokenize.DEDENT, tokenize.NEWLINE, tokenize.NL, tokenize.COMMENT, tokenize.ENCODING)


def blocks(text: str, kind: Format) -> Iterator[Block]:
    """The blocks in the order of the text: comments, docstrings, and the paragraphs of code between them."""
    prose = sorted([*_docstrings(text, kind), *_comments(text, kind)], key=lambda block: (block.start, -block.end))
    position = 0
    for block in prose:
        if block.start < position:
            continue
        yield from _code(text, position, block.start)
        yield block
        position = block.end
    yield from _code(text, position, len(text))


def _code(text: str, start: int, end: int) -> Iterator[Block]:
    for match in PARAGRAPH.finditer(text, start, end):
        yield Block(Kind.CODE, "", match.start(), match.end())


def _comments(text: str, kind: Format) -> Iterator[Block]:
    line = rf"^[^\S\n]*{_LINE_COMMENT[kind]}[^\n]*"
    for match in re.finditer(rf"{line}(?:\n{line[1:]})*", text, re.MULTILINE):
        yield Block(Kind.COMMENT, "", match.start(), match.end())
    if kind not in _BLOCK_COMMENT:
        return
    opening, closing = _BLOCK_COMMENT[kind]
    position = 0
    for match in re.finditer(rf"^[^\S\n]*{re.escape(opening)}", text, re.MULTILINE):
        if match.start() < position:
            continue
        closed = text.find(closing, match.end())
        if closed < 0:
            return
        position = closed + len(closing)
        yield Block(Kind.COMMENT, "", match.start(), position)


@dataclass(slots=True)
class _Scope:
    indent: int
    name: str


def _docstrings(text: str, kind: Format) -> Iterator[Block]:
    """Strings that stand where a statement would, without their quotes, named by the class or function they are in."""
    if kind is not Format.PYTHON:
        return
    lines = Lines(text)
    scopes: list[_Scope] = []
    before = tokenize.ENCODING
    defining = False
    indent = depth = 0
    try:
        for token in tokenize.generate_tokens(io.StringIO(text).readline):
            if defining:
                scopes = [scope for scope in scopes if scope.indent < indent] + [_Scope(indent, token.string)]
                defining = False
            elif token.type == tokenize.NAME and token.string in ("def", "class"):
                defining, indent = True, len(token.line) - len(token.line.lstrip())
            elif token.type == tokenize.OP:
                depth += (token.string in "([{") - (token.string in ")]}")
            elif (
                token.type == tokenize.STRING
                and before in _STARTS_LINE
                and not depth
                and (quotes := _QUOTES.match(token.string))
            ):
                start = lines.starts[token.start[0] - 1] + token.start[1] + quotes.end()
                end = lines.starts[token.end[0] - 1] + token.end[1] - len(quotes.group(1))
                column = token.start[1]
                yield Block(Kind.PROSE, ".".join(s.name for s in scopes if s.indent < column), start, end)
            before = token.type
    except (tokenize.TokenError, SyntaxError):
        # Not the Python of this interpreter: what was found so far is right, and the rest is read as code.
        return
