"""Waybill: multi-step agent tasks on Redis Streams, with nothing lost."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from waybill.agent import Context, agent
from waybill.chat import Message, Reply, Tool, ToolCall
from waybill.core.budget import Budget, BudgetAction, TaskPolicy
from waybill.once import NOT_DONE

if TYPE_CHECKING:
    from waybill.client import Client

__all__ = [
    "NOT_DONE",
    "Budget",
    "BudgetAction",
    "Client",
    "Context",
    "Message",
    "Reply",
    "TaskPolicy",
    "Tool",
    "ToolCall",
    "agent",
]


def __getattr__(name: str) -> Any:
    """Load the client when it is first asked for: agents need none of what it stands on."""
    if name == "Client":
        from waybill.client import Client

        return Client
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
