"""What a test gives for a plan, a patch and the agents, in the forms that the rest works with."""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from waybill.agent import AgentDefinition
from waybill.core.budget import TaskPolicy
from waybill.core.patch import Patch
from waybill.core.plan import AgentSchema, Graph
from waybill.core.violations import closest, listing
from waybill.errors import InvalidArgument, InvalidPlan
from waybill.plan_file import read_plan_file
from waybill.resources import Submission
from waybill.rpc.linking import link_plan
from waybill.rpc.plans import steps_from_proto
from waybill.rpc.specs import plan_from_json


def graph_of(plan: Any, agents: Mapping[str, AgentSchema], policy: TaskPolicy | None) -> Graph:
    """The plan with its edges: whatever a submission takes for one, or the path of a plan file.

    Raises `InvalidPlan` with every violation, by its line in a file, and OSError for a file that cannot be read.
    """
    if not isinstance(plan, str | os.PathLike):
        return link_plan(Submission(plan=plan).spec().plan, agents, policy)
    path = Path(plan)
    file = read_plan_file(path.read_bytes(), path.name)
    try:
        return link_plan(file.plan, agents, policy)
    except InvalidPlan as error:
        raise file.invalid(error.violations) from error


def patch_of(patch: Patch | Mapping[str, Any]) -> Patch:
    """A patch, or `{"steps": [...], "drop": [...], "substitutes": {...}, "reason": ""}` with steps as in a plan.

    Raises `InvalidArgument` for what is neither.
    """
    if isinstance(patch, Patch):
        return patch
    if not isinstance(patch, Mapping) or patch.keys() - {"steps", "drop", "substitutes", "reason"}:
        raise InvalidArgument.of_field("patch", "must be a Patch, or have steps, drop, substitutes and reason alone")
    steps = plan_from_json({"steps": patch.get("steps", [])}).steps
    return Patch(
        steps=steps_from_proto(steps),
        drop=tuple(patch.get("drop", ())),
        substitutes=dict(patch.get("substitutes", {})),
        reason=str(patch.get("reason", "")),
    )


def definitions_of(agents: Iterable[AgentDefinition | ModuleType | str]) -> dict[str, AgentDefinition]:
    """Agents by name. Raises ValueError for a module without agents and for two agents of one name, TypeError for what
    is neither, and ImportError.
    """
    found: dict[str, AgentDefinition] = {}
    for given in [agents] if isinstance(agents, str | ModuleType | AgentDefinition) else agents:
        for definition in _agents_in(given):
            if found.setdefault(definition.name, definition) is not definition:
                raise ValueError(f"two agents are named {definition.name}: give the one that the test is about")
    return found


def _agents_in(given: AgentDefinition | ModuleType | str) -> list[AgentDefinition]:
    if isinstance(given, AgentDefinition):
        return [given]
    module = importlib.import_module(given) if isinstance(given, str) else given
    if not isinstance(module, ModuleType):
        raise TypeError(f"{given!r} is no agent: decorate the function with @waybill.agent, or give its module")
    found = [value for value in vars(module).values() if isinstance(value, AgentDefinition)]
    if not found:
        raise ValueError(f"module {module.__name__} defines no agent: decorate a function with @waybill.agent")
    return found


def check_answered_steps(graph: Graph, answers: Mapping[str, Any]) -> None:
    """Raises ValueError for answers to steps that ask nothing."""
    asking = [linked.step.name for linked in graph.steps if linked.step.question is not None]
    for name in answers:
        if name not in asking:
            raise ValueError(
                f"answers: no step {name!r} asks anything{closest(name, asking)}; it is: {listing(asking)}"
            )
