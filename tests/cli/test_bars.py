"""Bars show where somebody watches a terminal, and nowhere else."""

from __future__ import annotations

import os
import pty
import subprocess
import sys

import pytest

CODE = """
import sys
from waybill.cli.bars import bar
with bar("counting", 3, shown=sys.argv[1:] != ["--json"]) as another:
    for name in ("one", "two", "three"):
        print(f"done {name}", flush=True)
        another(name)
"""


def ran_on_a_terminal(*arguments: str, **environment: str) -> tuple[str, str]:
    """What comes out at a piped stdout, and at a stderr that is a terminal."""
    ours, theirs = pty.openpty()
    try:
        with subprocess.Popen(
            [sys.executable, "-c", CODE, *arguments],
            stdout=subprocess.PIPE,
            stderr=theirs,
            text=True,
            env={**os.environ, "TERM": "xterm", **environment},
        ) as process:
            output, _ = process.communicate(timeout=60)
        os.write(theirs, b"\nend\n")
        shown = b""
        while not shown.endswith(b"end\r\n"):
            shown += os.read(ours, 65536)
    finally:
        os.close(ours)
        os.close(theirs)
    return output, shown.decode(errors="replace")


def test_a_bar_is_drawn_on_the_terminal_and_stdout_stays_clean() -> None:
    output, shown = ran_on_a_terminal()
    assert output == "done one\ndone two\ndone three\n"
    assert "counting" in shown
    assert "3/3" in shown


@pytest.mark.parametrize(("arguments", "environment"), [(("--json",), {}), ((), {"TERM": "dumb"})])
def test_given_json_or_a_terminal_that_cannot_then_no_bar_is_drawn(
    arguments: tuple[str, ...], environment: dict[str, str]
) -> None:
    output, shown = ran_on_a_terminal(*arguments, **environment)
    assert output == "done one\ndone two\ndone three\n"
    assert shown.strip() == "end"


def test_given_no_terminal_then_no_bar_is_drawn() -> None:
    ran = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True, timeout=60)
    assert (ran.stdout, ran.stderr) == ("done one\ndone two\ndone three\n", "")
