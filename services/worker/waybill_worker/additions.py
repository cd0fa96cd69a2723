"""The steps that a successful attempt adds to its plan: checked against the plan as it stands, and linked to it.

The ledger checks once more what may have changed until the attempt is settled.
"""

from __future__ import annotations

import asyncio

from waybill.adding import AddedSteps, patch_invalid
from waybill.core.patch import LinkedPatch
from waybill.core.patching import KnownStep, link_patch
from waybill.core.plan import AgentSchema
from waybill.errors import InvalidPlan
from waybill.ledger.records import Grant
from waybill_worker.ledger_port import WorkerLedger


async def linked_additions(ledger: WorkerLedger, grant: Grant, added: AddedSteps) -> LinkedPatch | None:
    """What an attempt adds, linked; None if it adds nothing.

    Raises Permanent (PATCH_INVALID) with every violation, and Unavailable.
    """
    patch = added.patch(grant.step)
    if patch is None:
        return None
    task = await ledger.task(grant.ref.task)
    known = [
        KnownStep(step.name, step.state, step.dependencies, step.dropped)
        for step in await ledger.steps(task.id, 1, task.step_count, payloads=False)
    ]
    agents = {
        agent.name: AgentSchema(agent.name, agent.description, agent.input_schema, agent.output_schema, agent.max_batch)
        for agent in await ledger.agents()
    }
    policy = await ledger.task_policy(task.id)
    try:
        # Large patches take long to check: not on the loop, which has a heartbeat to send.
        return await asyncio.to_thread(link_patch, patch, known, agents, policy, grant.step)
    except InvalidPlan as error:
        shown = "; ".join(f"{violation.field}: {violation.description}" for violation in error.violations)
        raise patch_invalid(shown) from error
