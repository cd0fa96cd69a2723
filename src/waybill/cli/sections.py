"""Owns how the help of a group of commands is laid out: commands under headings, in plain text, without rich."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import typer.core


class Section(StrEnum):
    """Heading that a command stands under in `waybill --help`, in this order: pass it as `rich_help_panel`."""

    BEGIN = "Begin"
    TASKS = "Submit and follow tasks"
    STEER = "Steer tasks"
    PLANS = "Plans and schedules"
    SPENDING = "Money and limits"
    OPERATE = "Operate the suite"


class SectionedGroup(typer.core.TyperGroup):
    """A group whose help lists its commands by section; what names none comes first, under the usual heading."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write the commands with the first sentence of what each does, all in one column."""
        shown = [(name, command) for name, command in self.commands.items() if not command.hidden]
        width = max((len(name) for name, _ in shown), default=0)
        for heading in ("", *Section):
            rows = [
                (name.ljust(width), command.get_short_help_str(formatter.width - width - 6))
                for name, command in shown
                if _section_of(command) == heading
            ]
            if rows:
                with formatter.section(heading or "Commands"):
                    formatter.write_dl(rows)


def _section_of(command: Any) -> str:
    panel = getattr(command, "rich_help_panel", None)
    return str(panel) if panel in tuple(Section) else ""
