"""What holds for every command of the line: how it is found, what it prints, and what it costs to start."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
import typer.main
from typer.testing import CliRunner

from waybill.cli.main import app
from waybill.cli.sections import Section

HEAVY = ("asyncio", "grpc", "google", "httpx", "mcp", "openai", "opentelemetry", "pydantic", "redis", "rich")
"""What no help text needs."""


def commands_of(group: Any, *words: str) -> Iterator[tuple[str, Any]]:
    """Every command that does something, with the words that call it."""
    subcommands: Mapping[str, Any] = getattr(group, "commands", {})
    if not subcommands or group.invoke_without_command:
        yield " ".join(words), group
    for name, command in subcommands.items():
        yield from commands_of(command, *words, name)


ROOT = typer.main.get_command(app)
COMMANDS = dict(commands_of(ROOT))
every_command = pytest.mark.parametrize("name", COMMANDS)


@every_command
def test_every_command_prints_json_if_asked(name: str) -> None:
    options = {option for parameter in COMMANDS[name].params for option in parameter.opts}
    assert "--json" in options


@every_command
def test_every_command_says_what_it_and_all_its_parameters_are_for(name: str) -> None:
    assert COMMANDS[name].help
    assert [parameter.name for parameter in COMMANDS[name].params if not parameter.help] == []


@every_command
def test_options_say_what_their_value_is_and_not_of_which_type(name: str) -> None:
    shown = CliRunner().invoke(app, [*name.split(), "--help"], terminal_width=100).output
    assert re.findall(r"^ +--[a-z-]+ <(?:str|int|path|float)[^>]*>", shown, re.MULTILINE) == []


def test_the_help_names_every_command_under_a_heading_and_cuts_no_sentence() -> None:
    _, *shown = CliRunner().invoke(app, ["--help"], terminal_width=78).output.strip().splitlines()
    assert [name for name, command in ROOT.commands.items() if command.rich_help_panel not in tuple(Section)] == []  # type: ignore[attr-defined]
    assert [line for line in shown if line.endswith("...")] == []
    for name in ROOT.commands:  # type: ignore[attr-defined]
        assert [line for line in shown if line.startswith(f"  {name} ")]


def test_given_only_help_is_asked_for_then_nothing_heavy_is_imported() -> None:
    code = (
        "import json, sys; from waybill.cli.main import app; app(['--help'], standalone_mode=False); "
        "print(json.dumps(sorted(sys.modules)), file=sys.stderr)"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = json.loads(ran.stderr)
    assert "typer" in loaded
    assert [name for name in loaded if name in HEAVY or name.startswith(tuple(f"{each}." for each in HEAVY))] == []
