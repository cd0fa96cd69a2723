"""Plans that adapt, for the ledger's tests: steps with conditions, patches, and a dispatcher's part in both."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from waybill.core.budget import TaskPolicy
from waybill.core.patch import LinkedPatch, Patch
from waybill.core.patching import KnownStep, link_patch
from waybill.core.plan import AgentSchema, FailurePolicy, Graph, Plan, PlanStep
from waybill.core.references import unmet
from waybill.core.validation import link
from waybill.ledger.ledger import Ledger
from waybill.ledger.records import StepRecord

ECHO = {"echo": AgentSchema("echo", "", '{"type": "object"}')}
UNBOUND = TaskPolicy()


def step(name: str, *after: str, **fields: Any) -> PlanStep:
    return PlanStep(name, "" if "question" in fields else "echo", after=after, **fields)


def plan(*steps: PlanStep, on_failure: FailurePolicy = FailurePolicy.STOP) -> Graph:
    return link(Plan(steps, on_failure), ECHO)


async def steps_of(ledger: Ledger, task: str) -> dict[str, StepRecord]:
    record = await ledger.task(task)
    return {found.name: found for found in await ledger.steps(task, 1, record.step_count)}


async def patch(
    ledger: Ledger,
    task: str,
    *steps: PlanStep,
    drop: tuple[str, ...] = (),
    substitutes: Mapping[str, str] | None = None,
    own_step: str = "",
    policy: TaskPolicy = UNBOUND,
) -> LinkedPatch:
    """A patch of the plan as it stands now."""
    known = [
        KnownStep(found.name, found.state, found.dependencies, found.dropped)
        for found in (await steps_of(ledger, task)).values()
    ]
    return link_patch(Patch(steps, drop, substitutes or {}, "better"), known, ECHO, policy, own_step)


async def decide_all(ledger: Ledger) -> int:
    """Look at all conditions that wait, as a dispatcher does; how many steps were decided."""
    leases = await ledger.lease_decisions(1_000, 1_000)
    for lease in leases:
        fits = all(not unmet(condition.path, lease.inputs[condition.number]) for condition in lease.conditions)
        assert await ledger.decide_step(lease.task, lease.number, lease.turn, fits)
    return len(leases)
