"""Tables fit the terminal, and are plain lines elsewhere."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys

import pytest

CODE = """
from waybill.cli.layout import Column, print_table
columns = {"name": Column.NAME, "count": Column.NUMBER, "state": Column.STATE, "why": Column.TEXT, "what": Column.CUT}
row = ("a-name-to-be-copied", 5, "failed", "words " * 8, "[red]many more words[/red] " * 8)
print_table(tuple(columns.items()), [row, row])
"""
ESCAPE = re.compile(r"\x1b\[([\d;]*)m")


def shown_on_a_terminal(columns: int, **environment: str) -> list[str]:
    """The lines that come out at a terminal of this width."""
    ours, theirs = pty.openpty()
    try:
        subprocess.run(
            [sys.executable, "-c", CODE],
            stdout=theirs,
            check=True,
            timeout=60,
            env={**os.environ, "TERM": "xterm-256color", "COLUMNS": str(columns), **environment},
        )
        os.write(theirs, b"end\n")
        shown = b""
        while not shown.endswith(b"end\r\n"):
            shown += os.read(ours, 65536)
    finally:
        os.close(ours)
        os.close(theirs)
    return shown.decode().splitlines()[:-1]


@pytest.mark.parametrize("columns", [70, 100, 160])
def test_on_a_terminal_every_line_fits_and_what_is_to_be_copied_is_whole(columns: int) -> None:
    lines = [ESCAPE.sub("", line) for line in shown_on_a_terminal(columns)]
    assert [line for line in lines if len(line) > columns] == []
    assert sum("a-name-to-be-copied" in line for line in lines) == 2
    assert any(line.rstrip().endswith("…") for line in lines)


def test_states_have_colours_unless_they_are_not_wanted() -> None:
    def colours(lines: list[str]) -> set[str]:
        codes = {code for line in lines for found in ESCAPE.findall(line) for code in found.split(";")}
        return {code for code in codes if re.fullmatch("[349][0-7]|10[0-7]", code)}

    assert colours(shown_on_a_terminal(100)) == {"31"}
    assert colours(shown_on_a_terminal(100, NO_COLOR="1")) == set()


def test_elsewhere_a_row_is_one_line_and_nothing_is_taken_for_markup() -> None:
    ran = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True, timeout=60)
    titles, *rows = ran.stdout.splitlines()
    assert titles.split() == ["name", "count", "state", "why", "what"]
    assert len(rows) == 2
    assert rows[0].count("words") == 16
    assert rows[0].count("[red]") == 8
    assert rows[0] == rows[0].rstrip()
