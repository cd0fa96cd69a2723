"""What a task may spend and do: data that its author gives with it, and that everyone who acts for it asks."""

from __future__ import annotations

from enum import StrEnum
from fnmatch import fnmatchcase

import msgspec


class BudgetAction(StrEnum):
    """What becomes of a step whose next model call would cross a budget."""

    STOP = "stop"
    CHEAPER_MODEL = "cheaper_model"
    ASK = "ask"


class Budget(msgspec.Struct, frozen=True):
    """Most that all model calls of a task may cost together, in millionths of a US dollar; 0 for no limit of its own.
    `on_limit` holds at the limits of its tenant too.
    """

    max_cost_microusd: int = 0
    on_limit: BudgetAction = BudgetAction.STOP


class TaskPolicy(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a task may do; an empty list allows all that the operator does."""

    allowed_agents: tuple[str, ...] = ()
    allowed_tools: tuple[str, ...] = ()
    allowed_hosts: tuple[str, ...] = ()
    allowed_recipients: tuple[str, ...] = ()
    max_revisions: int = 3
    max_added_steps: int = 1_000

    def allows_agent(self, name: str) -> bool:
        """Whether its steps may run the agent."""
        return not self.allowed_agents or name in self.allowed_agents

    def allows_tool(self, server: str, tool: str) -> bool:
        """Whether its steps may call the tool of the server."""
        names = (f"{server}/{tool}", f"{server}/*")
        return not self.allowed_tools or any(name in self.allowed_tools for name in names)

    def allows_host(self, host: str) -> bool:
        """Whether its steps may fetch from the host. `*.example.org` means what is below it, not itself."""
        return not self.allowed_hosts or any(
            fnmatchcase(host.lower(), allowed.lower()) for allowed in self.allowed_hosts
        )

    def allows_recipient(self, recipient: str) -> bool:
        """Whether its tools may send to the recipient."""
        return not self.allowed_recipients or recipient in self.allowed_recipients
