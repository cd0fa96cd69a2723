"""The page of the command line: the help texts of all commands."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import typer.main
from typer.testing import CliRunner

from waybill.cli.main import app

_INTRODUCTION = """
# The command line

`make` puts the command into `.venv/bin`. Commands that speak to a gateway find it at `127.0.0.1:7400`, or where
`--address` or `WAYBILL_ADDRESS` says, and speak for the tenant `default`, or the one of `--tenant` or `WAYBILL_TENANT`.

- With `--json` a command prints the API's JSON: lists one object a line, `watch` one event a line, as in
  [events](events.md).
- What was asked for goes to stdout, messages and progress to stderr. Tables fit the terminal; elsewhere a row is one
  line. `NO_COLOR` takes the colours away. Bars and trees are drawn on terminals alone.
- `waybill --install-completion` lets your shell complete commands, options, states, and the tasks, steps and agents of
  a running suite.
- How commands end is told by their [exit code](exit-codes.md).
"""


def page() -> str:
    """The page."""
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    return _INTRODUCTION + f"\n```text\n{_text()}\n```\n" + "".join(_sections(commands))


def _sections(commands: Mapping[str, Any], *group: str) -> Iterator[str]:
    """The help of each command, and after that of a group the help of its own commands."""
    for name, command in commands.items():
        words = (*group, name)
        yield f"\n## waybill {' '.join(words)}\n\n```text\n{_text(*words)}\n```\n"
        yield from _sections(getattr(command, "commands", {}), *words)


def _text(*words: str) -> str:
    ran = CliRunner().invoke(app, [*words, "--help"], prog_name="waybill", terminal_width=100, max_content_width=100)
    return "\n".join(line.rstrip() for line in ran.output.strip().splitlines())
