"""Testing agents and whole plans in memory: no worker, no store, the same rules. See `run_agent` and `run_plan`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from waybill.models.scripted import ScriptedModel
from waybill.testing.agents import AgentRun, run_agent
from waybill.testing.context import MemoryContext, Progress
from waybill.testing.effects import Crashed, MemoryEffects

if TYPE_CHECKING:
    from waybill.testing.plan_people import Asked, Revision
    from waybill.testing.plan_result import PlanFailed, PlanRun, PlanStuck, StepRun
    from waybill.testing.plan_run import run_plan

__all__ = [
    "AgentRun",
    "Asked",
    "Crashed",
    "MemoryContext",
    "MemoryEffects",
    "PlanFailed",
    "PlanRun",
    "PlanStuck",
    "Progress",
    "Revision",
    "ScriptedModel",
    "StepRun",
    "run_agent",
    "run_plan",
]

_HOMES = {
    "Asked": "plan_people",
    "PlanFailed": "plan_result",
    "PlanRun": "plan_result",
    "PlanStuck": "plan_result",
    "Revision": "plan_people",
    "StepRun": "plan_result",
    "run_plan": "plan_run",
}
"""Where names live that are loaded when they are first asked for: tests of agents need none of what checks plans."""


def __getattr__(name: str) -> Any:
    """Load a name from its home, once."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value = globals()[name] = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    return value
