"""Owns progress bars: on stderr, only where a person watches a terminal, and gone once the work is done."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Advance = Callable[[str], None]
"""Tell that one more is done, and what is being done now."""


def can_show_bars() -> bool:
    """Whether somebody watches stderr on a terminal that can move its cursor."""
    return sys.stderr.isatty() and os.environ.get("TERM") != "dumb"


@contextmanager
def bar(title: str, total: int | None = None, *, shown: bool = True) -> Iterator[Advance]:
    """A bar that moves on with every call of what this yields; without a total it counts.

    `shown` is False where JSON was asked for. What is printed meanwhile stands above the bar.
    """
    if not shown or not can_show_bars():
        yield lambda _now: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[now]}", style="dim", markup=False),
    )
    # A stdout that is piped must not be drawn into the bar's terminal.
    progress = Progress(
        *columns, console=Console(stderr=True), transient=True, redirect_stdout=sys.stdout.isatty(), expand=False
    )
    with progress:
        task = progress.add_task(title, total=total, now="")
        yield lambda now: progress.update(task, advance=1, now=now)
