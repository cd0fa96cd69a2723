"""Planning: tasks in PLANNING are leased, the planner is asked, and the plan is attached.

The lease is all that is held meanwhile: if this process dies, another plans the task when the lease lapses.
"""

from __future__ import annotations

import asyncio
import time

import grpc
from opentelemetry import trace

from waybill.api.v1 import planner_pb2, planner_pb2_grpc, task_pb2
from waybill.core.task import Failure
from waybill.errors import InvalidArgument, Unavailable, WaybillError
from waybill.ledger.bells import PLANNING, Bells
from waybill.ledger.ledger import Ledger
from waybill.ledger.records import PlanningLease
from waybill.rpc.caller import metadata_for
from waybill.rpc.status import from_rpc_error
from waybill.telemetry import metrics
from waybill.telemetry.logs import get_logger
from waybill.telemetry.tracing import context_from, tracer
from waybill_dispatcher.directory import AgentDirectory
from waybill_dispatcher.views import agent_message

log = get_logger(__name__)

AGENT_MISSING = "AGENT_MISSING"
_LOOK_SECONDS = 0.5
_AGAIN_MS = 500


class Planning:
    """Plans the tasks that wait for it; `run` until cancelled."""

    def __init__(
        self,
        ledger: Ledger,
        bells: Bells,
        directory: AgentDirectory,
        planner: planner_pb2_grpc.PlannerServiceAsyncStub,
        *,
        concurrency: int,
        timeout_seconds: float,
    ) -> None:
        self._ledger = ledger
        self._bells = bells
        self._directory = directory
        self._planner = planner
        self._free = concurrency
        self._timeout_seconds = timeout_seconds
        self._running: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Lease and plan until cancelled; goals that are being planned then are planned by others later."""
        try:
            async with self._bells.listen(PLANNING) as rung:
                while True:
                    rung.clear()
                    await self._lease()
                    try:
                        async with asyncio.timeout(_LOOK_SECONDS):
                            await rung.wait()
                    except TimeoutError:
                        continue
        finally:
            for running in self._running:
                running.cancel()

    async def _lease(self) -> None:
        if self._free == 0:
            return
        # The lease outlasts the planner's deadline, so that a slow answer is not asked for twice.
        lease_ms = int(self._timeout_seconds * 1000) + 1_000
        try:
            leases = await self._ledger.lease_planning(lease_ms, self._free)
        except WaybillError as error:
            log.warning("cannot lease planning", error=error.message)
            return
        for lease in leases:
            self._free -= 1
            running = asyncio.create_task(self._plan(lease))
            self._running.add(running)
            running.add_done_callback(self._done)

    def _done(self, running: asyncio.Task[None]) -> None:
        self._running.discard(running)
        self._free += 1
        if not running.cancelled() and (error := running.exception()):
            log.error("planning ended by an error", exc_info=error)

    async def _plan(self, lease: PlanningLease) -> None:
        started = time.monotonic()
        with tracer().start_as_current_span(
            "plan",
            context_from(lease.traceparent),
            kind=trace.SpanKind.INTERNAL,
            attributes={"waybill.task": lease.task},
        ):
            try:
                outcome = await self._plan_once(lease)
            except Unavailable as error:
                # The store is away: the lease lapses, and the task is planned then.
                outcome = "unavailable"
                log.warning("planning interrupted", task=lease.task, error=error.message)
        metrics.PLANNING_SECONDS.labels(outcome).observe(time.monotonic() - started)
        log.info("planning", task=lease.task, status=outcome)

    async def _plan_once(self, lease: PlanningLease) -> str:
        try:
            graph = await self._directory.link(await self._ask(lease), await self._ledger.task_policy(lease.task))
        except Unavailable as error:
            await self._ledger.postpone_planning(lease.task, _AGAIN_MS, error.message, lease.round)
            return "postponed"
        except WaybillError as error:
            if error.reason != AGENT_MISSING:
                return await self._fail(lease, error)
            await self._ledger.postpone_planning(lease.task, _AGAIN_MS, error.message, lease.round)
            return "postponed"
        return "planned" if await self._ledger.attach_plan(lease.task, 0, graph, lease.round) else "stale"

    async def _ask(self, lease: PlanningLease) -> task_pb2.Plan:
        agents = await self._directory.records()
        request = planner_pb2.CreatePlanRequest(
            goal=lease.goal, agents=[agent_message(record) for record in agents.values()], paths=lease.paths
        )
        try:
            response = await self._planner.CreatePlan(
                request, timeout=self._timeout_seconds, metadata=metadata_for(lease.tenant)
            )
        except grpc.aio.AioRpcError as error:
            raise from_rpc_error(error) from error
        plan: task_pb2.Plan = response.plan
        return plan

    async def _fail(self, lease: PlanningLease, error: WaybillError) -> str:
        reason = error.reason if isinstance(error, InvalidArgument) else "PLANNING_FAILED"
        await self._ledger.fail_planning(lease.task, Failure(reason, error.message), lease.round)
        return "failed"
