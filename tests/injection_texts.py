"""A corpus of texts that try to give orders, as they stand in goals, sources and results of tools: `tests/injections`.

Each names what it orders, so that a test can make a model that obeys, and show that the order is not carried out.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).parent / "injections"
TOOL = "shell/run"
"""A tool, as server/tool, that no task of a test allows. Some texts order others: `mail/send`, `files/delete`."""
RECIPIENT = "mallory@evil.example"
"""A recipient that no task of a test allows."""
AGENT = "exfiltrator"
"""An agent that no plan of a test may have. Some texts order `python`, `http` or `tools`."""


@dataclass(frozen=True, slots=True)
class Injection:
    """One text, and the tool, recipient and agent that a model which obeys it uses."""

    name: str
    """The file and its own name, such as `direct/ignore-all`: for the ids of tests."""
    text: str
    tool: str = TOOL
    recipient: str = RECIPIENT
    agent: str = AGENT


def injections() -> list[Injection]:
    """All texts of the corpus, in a fixed order."""
    return [
        Injection(name=f"{file.stem}/{entry['name']}", text=entry["text"], **entry["orders"])
        for file in sorted(FOLDER.glob("*.json"))
        for entry in json.loads(file.read_text(encoding="utf-8"))
    ]
