"""What the dispatcher knows of agents: read from the ledger, kept for a second at most."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Mapping

from waybill.api.v1 import task_pb2
from waybill.core.budget import TaskPolicy
from waybill.core.limits import KIB
from waybill.core.plan import AgentSchema, Graph
from waybill.core.relinking import takes_other_inputs, with_inputs
from waybill.errors import InvalidPlan
from waybill.ledger.ledger import Ledger
from waybill.ledger.records import AgentRecord
from waybill.rpc.linking import link_plan
from waybill_dispatcher.linked_plans import Key, LinkedPlans

_FRESH_SECONDS = 1.0
_SHAPED_STEPS = 32
"""Plans of more steps are linked as a whole even if one of the same shape is known: their inputs are most of it."""
_LARGE_PLAN_STEPS = 100
_LARGE_PLAN_BYTES = 64 * KIB


class AgentDirectory:
    """The agents that workers have announced."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._records: dict[str, AgentRecord] = {}
        self._schemas: dict[str, AgentSchema] = {}
        self._linked = LinkedPlans()
        self._shapes = LinkedPlans()
        self._read_at = -_FRESH_SECONDS
        self._reading = asyncio.Lock()

    async def records(self, *, newest: bool = False) -> Mapping[str, AgentRecord]:
        """Agents by name, with live workers and backlog; at most a second old. Raises Unavailable."""
        if not newest and self._is_fresh():
            return self._records
        async with self._reading:
            if newest or not self._is_fresh():
                self._learn(await self._ledger.agents())
            return self._records

    async def schemas(self) -> Mapping[str, AgentSchema]:
        """What plans are checked against; at most a second old. Raises Unavailable."""
        await self.records()
        return self._schemas

    def has_linked(self, plan: task_pb2.Plan) -> bool:
        """Whether this very plan was linked a moment ago, for a task without a policy."""
        return self._linked.find((plan.SerializeToString(deterministic=True), None)) is not None

    async def link(self, plan: task_pb2.Plan, policy: TaskPolicy | None = None) -> Graph:
        """The plan with its edges, checked against the agents and its task's policy. Raises InvalidPlan or Unavailable.

        A plan is refused on the newest knowledge only: its agent may have been announced a moment ago.
        """
        if not self._is_fresh():
            await self.records()
        key = (plan.SerializeToString(deterministic=True), policy)
        known = self._linked.find(key)
        if known is not None:
            return known
        shape: Key | None = (_shape_of(plan), policy) if len(plan.steps) <= _SHAPED_STEPS else None
        schemas = self._schemas
        alike = self._shapes.find(shape) if shape else None
        graph = with_inputs(alike, [step.input.data or b"{}" for step in plan.steps], schemas) if alike else None
        try:
            return self._kept(key, shape, schemas, graph or await _linked(plan, schemas, policy))
        except InvalidPlan:
            await self.records(newest=True)
            schemas, refused_by = self._schemas, schemas
            if schemas == refused_by:
                raise
            return self._kept(key, shape, schemas, await _linked(plan, schemas, policy))

    def _kept(self, key: Key, shape: Key | None, schemas: Mapping[str, AgentSchema], graph: Graph) -> Graph:
        if schemas is self._schemas:  # else it was checked against agents that have changed meanwhile
            self._linked.keep(key, graph)
            if shape and takes_other_inputs(graph):
                self._shapes.keep(shape, graph)
        return graph

    def _is_fresh(self) -> bool:
        return time.monotonic() - self._read_at < _FRESH_SECONDS

    def _learn(self, records: Iterable[AgentRecord]) -> None:
        self._records = {record.name: record for record in records}
        schemas = {
            record.name: AgentSchema(
                record.name, record.description, record.input_schema, record.output_schema, record.max_batch
            )
            for record in self._records.values()
        }
        if schemas != self._schemas:
            self._schemas = schemas
            self._linked.clear()
            self._shapes.clear()
        self._read_at = time.monotonic()


def _shape_of(plan: task_pb2.Plan) -> bytes:
    """All of a plan but what its steps' inputs say."""
    shape = task_pb2.Plan()
    shape.CopyFrom(plan)
    for step in shape.steps:
        step.input.ClearField("data")
    return shape.SerializeToString(deterministic=True)


def takes_long(plan: task_pb2.Plan) -> bool:
    """Whether linking a plan can take longer than a moment: many steps, much text, or schemas that callers wrote."""
    is_small = len(plan.steps) < _LARGE_PLAN_STEPS and plan.ByteSize() < _LARGE_PLAN_BYTES
    return not is_small or any(step.HasField("question") for step in plan.steps)


async def _linked(plan: task_pb2.Plan, schemas: Mapping[str, AgentSchema], policy: TaskPolicy | None) -> Graph:
    """What can take longer than a moment runs beside the loop."""
    if not takes_long(plan):
        return link_plan(plan, schemas, policy)
    return await asyncio.to_thread(link_plan, plan, schemas, policy)
