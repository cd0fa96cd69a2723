"""What tests of the agent `tools` share: attempts with a scripted model and a real MCP server."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mcp_test_servers import effects_of, write_config
from waybill_worker.agents.tools import tools

from waybill import ToolCall
from waybill.core.budget import TaskPolicy
from waybill.testing import AgentRun, ScriptedModel, run_agent


@dataclass
class Bench:
    """Runs attempts with the server, configured under two names."""

    config: Path
    entry: dict[str, Any]
    effects: Path

    def configure(self, **settings: Any) -> None:
        """Write the operator's file: the server as `mail` with these settings, and as `shell`."""
        write_config(self.config, mail={**self.entry, **settings}, shell=self.entry)

    def done(self) -> list[tuple[str, Any]]:
        """What really happened, as tool and one argument that tells calls apart."""
        return [(name, next(iter(arguments.values()), None)) for name, arguments in effects_of(self.effects)]

    async def run(self, model: ScriptedModel, policy: TaskPolicy | None = None, **options: Any) -> AgentRun:
        """One attempt. `input` adds to the step's input."""
        given = {"goal": "pay the bill", "servers": ["mail"], **options.pop("input", {})}
        return await run_agent(tools, given, model=model, policy=policy, **options)


def calls(*wanted: tuple[str, Any]) -> list[ToolCall]:
    """A turn of the model: calls of tools of `mail`, or of another server as `shell__run`."""
    return [
        ToolCall(f"c{number}", name if "__" in name else f"mail__{name}", json.dumps(arguments))
        for number, (name, arguments) in enumerate(wanted)
    ]


def told(model: ScriptedModel, request: int = -1) -> list[str]:
    """What the model was told of its calls."""
    return [message.content for message in model.requests[request].messages if message.role == "tool"]
