"""What the dispatcher knows of agents: read from the ledger, kept for a second at most."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping

from waybill.api.v1 import task_pb2
from waybill.core.budget import TaskPolicy
from waybill.core.limits import KIB
from waybill.core.plan import AgentSchema, Graph
from waybill.errors import InvalidPlan
from waybill.ledger.ledger import Ledger
from waybill.ledger.records import AgentRecord
from waybill.rpc.linking import link_plan

_FRESH_SECONDS = 1.0
_LARGE_PLAN_STEPS = 100
_LARGE_PLAN_BYTES = 64 * KIB


class AgentDirectory:
    """The agents that workers have announced."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._records: dict[str, AgentRecord] = {}
        self._schemas: dict[str, AgentSchema] = {}
        self._read_at = -_FRESH_SECONDS
        self._reading = asyncio.Lock()

    async def records(self, *, newest: bool = False) -> Mapping[str, AgentRecord]:
        """Agents by name, with live workers and backlog; at most a second old. Raises Unavailable."""
        async with self._reading:
            if newest or time.monotonic() - self._read_at >= _FRESH_SECONDS:
                self._records = {record.name: record for record in await self._ledger.agents()}
                self._schemas = {
                    record.name: AgentSchema(
                        record.name, record.description, record.input_schema, record.output_schema, record.max_batch
                    )
                    for record in self._records.values()
                }
                self._read_at = time.monotonic()
            return self._records

    async def schemas(self) -> Mapping[str, AgentSchema]:
        """What plans are checked against; at most a second old. Raises Unavailable."""
        await self.records()
        return self._schemas

    async def link(self, plan: task_pb2.Plan, policy: TaskPolicy | None = None) -> Graph:
        """The plan with its edges, checked against the agents and its task's policy. Raises InvalidPlan or Unavailable.

        A plan is refused on the newest knowledge only: its agent may have been announced a moment ago.
        """
        await self.records()
        schemas = self._schemas
        try:
            return await _linked(plan, schemas, policy)
        except InvalidPlan:
            await self.records(newest=True)
            if self._schemas == schemas:
                raise
            return await _linked(plan, self._schemas, policy)


async def _linked(plan: task_pb2.Plan, schemas: Mapping[str, AgentSchema], policy: TaskPolicy | None) -> Graph:
    """What can take longer than a moment runs beside the loop."""
    is_small = len(plan.steps) < _LARGE_PLAN_STEPS and plan.ByteSize() < _LARGE_PLAN_BYTES
    if is_small and not any(step.HasField("question") for step in plan.steps):
        return link_plan(plan, schemas, policy)
    return await asyncio.to_thread(link_plan, plan, schemas, policy)
