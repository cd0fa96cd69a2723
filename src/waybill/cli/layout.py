"""Owns how tables look: columns that fit the width, colours of states, and plain lines where no terminal is.

On a terminal a table is as wide as the terminal at most, and long texts fold. Elsewhere a row is one line, however
long, so that other programs can read it. NO_COLOR takes the colours away.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from enum import Enum, auto
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

_PIPED_COLUMNS = 100_000
"""Wide enough that nothing is folded where no terminal sets a width."""
_STATE_STYLES = {
    "running": "blue",
    "planning": "blue",
    "scheduled": "cyan",
    "ready": "cyan",
    "succeeded": "green",
    "done": "green",
    "failed": "red",
    "unknown": "red",
    "cancelling": "yellow",
    "cancelled": "yellow",
    "backoff": "yellow",
    "paused": "magenta",
    "waiting": "magenta",
}


class Column(Enum):
    """What a column holds, which decides how it fits in."""

    NAME = auto()
    """Something to be copied: never folded."""
    NUMBER = auto()
    """Aligned at the right, never folded."""
    STATE = auto()
    """A state in its colour."""
    TEXT = auto()
    """Words, which fold where the width ends."""
    CUT = auto()
    """Words that are cut where the width ends, so that a row stays one line."""


def new_table(columns: Sequence[tuple[str, Column]]) -> Table:
    """An empty table of these columns."""
    table = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 2, 0, 0))
    for title, kind in columns:
        table.add_column(
            title,
            justify="right" if kind is Column.NUMBER else "left",
            no_wrap=kind not in (Column.TEXT, Column.CUT),
            overflow="fold",
        )
    return table


def print_table(columns: Sequence[tuple[str, Column]], rows: Iterable[Sequence[Any]]) -> None:
    """Print rows under their titles. Cells are made text; nothing in them is taken for markup."""
    table = new_table(columns)
    for row in rows:
        table.add_row(*(cell_of(value, kind) for value, (_, kind) in zip(row, columns, strict=True)))
    show_table(table)


def cell_of(value: Any, kind: Column = Column.TEXT) -> Text:
    """A value as a cell of such a column."""
    text = str(value)
    if kind is Column.CUT:  # by the cell: rich never narrows a column that must not wrap
        return Text(text, no_wrap=True, overflow="ellipsis")
    return Text(text, style=_STATE_STYLES.get(text, "") if kind is Column.STATE else "")


def show_table(table: Table) -> None:
    """Print a table on stdout."""
    console = table_console()
    if console.is_terminal:
        console.print(table)
        return
    with console.capture() as captured:
        console.print(table)
    sys.stdout.write("".join(f"{line.rstrip()}\n" for line in captured.get().splitlines()))


def table_console() -> Console:
    """Where tables go: as wide as the terminal, or wide enough that no row is folded."""
    console = Console(highlight=False)
    return console if console.is_terminal else Console(width=_PIPED_COLUMNS, highlight=False)
