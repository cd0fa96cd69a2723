"""Markdown tables from rows of cells."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def table(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table; the cells are Markdown, on one line each."""
    lines = [_line(titles), _line(["---"] * len(titles)), *(_line(row) for row in rows)]
    return "\n".join(lines) + "\n"


def code(text: str) -> str:
    """The text as code; nothing if it is empty."""
    return f"`{text}`" if text else ""


def one_line(text: str) -> str:
    """The text with its white space folded."""
    return " ".join(text.split())


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(one_line(cell).replace("|", "\\|") for cell in cells) + " |"
