"""Testing agents and whole plans in memory: no worker, no store, the same rules. See `run_agent` and `run_plan`."""

from waybill.models.scripted import ScriptedModel
from waybill.testing.agents import AgentRun, run_agent
from waybill.testing.context import MemoryContext, Progress
from waybill.testing.effects import Crashed, MemoryEffects
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
