"""Waybill: multi-step agent tasks on Redis Streams, with nothing lost."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from waybill.agent import Context, agent

if TYPE_CHECKING:
    from waybill.chat import Message, Reply, Tool, ToolCall
    from waybill.client import Client
    from waybill.core.budget import Budget, BudgetAction, TaskPolicy
    from waybill.once import NOT_DONE
    from waybill.plan_builder import PlanBuilder
    from waybill.sync_client import SyncClient

__all__ = [
    "NOT_DONE",
    "Budget",
    "BudgetAction",
    "Client",
    "Context",
    "Message",
    "PlanBuilder",
    "Reply",
    "SyncClient",
    "TaskPolicy",
    "Tool",
    "ToolCall",
    "agent",
]

_HOMES = {
    "NOT_DONE": "once",
    "Budget": "core.budget",
    "BudgetAction": "core.budget",
    "Client": "client",
    "Message": "chat",
    "PlanBuilder": "plan_builder",
    "Reply": "chat",
    "SyncClient": "sync_client",
    "TaskPolicy": "core.budget",
    "Tool": "chat",
    "ToolCall": "chat",
}
"""Where names live that are loaded when they are first asked for: every command imports this package at its start."""


def __getattr__(name: str) -> Any:
    """Load a name from its home, once."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value = globals()[name] = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    return value
