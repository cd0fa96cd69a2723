"""Cutting sources into excerpts: exact text, exact lines, the right kind."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from waybill_worker.sources.excerpts import MAX_EXCERPT_CHARS, Excerpt, Kind
from waybill_worker.sources.parser import Parser
from waybill_worker.sources.reading import read_source

NAMES = ["a.md", "a.txt", "a.py", "a.go", "a.yaml", "a.sql", "a.json", "a"]
PIECES = [
    "# Title", "Under it\n---", "---", "```", "~~~py", "| a | b |\n| --- | --- |\n| c | d |", "- item one is here",
    "1. first", "> quoted\n> text", "A sentence stands here. Another one follows it.", "    indented = code()",
    '"""A docstring with words."""', "def run():\n    '''Runs it.'''", "# a comment\n# goes on", "// so it goes",
    "/* block\n * comment */", "-- remark", "key: value", "\u4f60\u597d\u3002", "é\u0301 \u2028 x\x0cy\x0bz",
    "word " * 400, "x" * 2_000, "<!-- html -->", "[a]: http://b", "::", "====", "\\", "(", '"""', "'",
]  # fmt: skip
texts = st.builds("".join, st.lists(st.tuples(st.sampled_from(PIECES) | st.text(max_size=40), st.sampled_from(
    ["\n", "\n\n", "\r\n", "\r", " ", "\n\n    ", "\n- "])).map("".join), max_size=25))  # fmt: skip


def cut(text: str, name: str = "a.md") -> list[Excerpt]:
    return list(read_source(name, "", text.encode(), Parser()).excerpts)


@given(
    texts.filter(lambda text: text.strip() and "\0" not in text and text.lstrip("\ufeff").strip()),
    st.sampled_from(NAMES),
)
def test_every_excerpt_stands_exactly_where_it_says(text: str, name: str) -> None:
    lines = text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n").split("\n")
    last = 1
    for excerpt in cut(text, name):
        first_line, *others = excerpt.text.split("\n")
        at = lines[excerpt.line - 1 :]
        assert 0 < len(excerpt.text) <= MAX_EXCERPT_CHARS
        assert first_line in at[0]
        assert others[:-1] == at[1 : len(others)]
        assert not others or at[len(others)].startswith(others[-1])
        assert excerpt.line >= last
        last = excerpt.line


def test_markdown_is_cut_by_headings_and_kinds() -> None:
    text = """---
title: front matter
---
# Guide

Opening words.

## Setup

Do this first.

```sh
# not a heading
make run
```

| a | b |
| - | - |
| 1 | 2 |

> Quoted words
> go on.

Setext
------
- one
- two
"""
    assert [(e.kind, e.heading, e.line, e.text) for e in cut(text)] == [
        (Kind.PROSE, "Guide", 6, "Opening words."),
        (Kind.PROSE, "Guide > Setup", 10, "Do this first."),
        (Kind.CODE, "Guide > Setup", 12, "```sh\n# not a heading\nmake run\n```"),
        (Kind.TABLE, "Guide > Setup", 17, "| a | b |\n| - | - |\n| 1 | 2 |"),
        (Kind.COMMENT, "Guide > Setup", 21, "> Quoted words\n> go on."),
        (Kind.PROSE, "Guide > Setext", 26, "- one\n- two"),
    ]


def test_python_docstrings_and_comments_are_prose_and_the_rest_is_code() -> None:
    text = '''"""The module."""
import os

# Kept small
# on purpose.
LIMIT = 3


class Shelf:
    """A shelf holds books."""

    def add(self, names=("""no docstring""",)):
        r"""Adds one.

        Twice if asked.
        """
        return "plain string"
'''
    found = [(e.kind, e.heading, e.line, e.text) for e in cut(text, "a.py") if e.kind is not Kind.CODE]
    assert found == [
        (Kind.PROSE, "", 1, "The module."),
        (Kind.COMMENT, "", 4, "# Kept small\n# on purpose."),
        (Kind.PROSE, "Shelf", 10, "A shelf holds books."),
        (Kind.PROSE, "Shelf.add", 13, "Adds one.\n\n        Twice if asked."),
    ]


def test_comments_of_other_languages_are_found() -> None:
    go = "package a\n\n// Run starts it.\n// It blocks.\nfunc Run() {}\n\n/* Old\n * style. */\nvar x int\n"
    assert [(e.line, e.text) for e in cut(go, "a.go") if e.kind is Kind.COMMENT] == [
        (3, "// Run starts it.\n// It blocks."),
        (7, "/* Old\n * style. */"),
    ]


def test_plain_text_knows_underlined_titles_and_literal_blocks() -> None:
    text = "Title\n=====\n\nWords of it::\n\n    code()\n\nMore words.\n"
    assert [(e.kind, e.heading, e.line) for e in cut(text, "a.rst")] == [
        (Kind.PROSE, "Title", 4),
        (Kind.CODE, "Title", 6),
        (Kind.PROSE, "Title", 8),
    ]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_lines_are_counted_alike_for_every_line_end(end: str) -> None:
    assert [e.line for e in cut(end.join(["# A", "", "one", "", "# B", "", "two"]))] == [3, 7]


def test_a_long_paragraph_is_cut_after_a_sentence() -> None:
    text = " ".join(f"Sentence number {number} stands here." for number in range(200))
    pieces = cut(text)
    assert len(pieces) > 3
    assert all(piece.text.endswith("here.") and piece.text.startswith("Sentence") for piece in pieces)


HOSTILE = [
    " ",
    "a::\n\n    x  y\n",
    "/*\n",
    "--[[\n",
    '"""\n',
    "(",
    "# ",
    "\t\n ",
    "> ",
    "| a |\n| - |\n",
    "a ::\n   \t x\n",
]


@pytest.mark.parametrize("name", NAMES)
def test_no_text_makes_cutting_hang(name: str) -> None:
    for piece in HOSTILE:
        text = "a\n" + piece * (100_000 // len(piece))
        assert sum(len(excerpt.text) for excerpt in cut(text, name)) <= len(text)
