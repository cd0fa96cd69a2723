"""Planning: tasks in PLANNING are leased, the planner is asked, and the plan is attached."""

from __future__ import annotations

import time

from waybill.api.v1 import planner_pb2
from waybill.core.task import Failure
from waybill.errors import InvalidArgument, Unavailable, WaybillError
from waybill.ledger.bells import PLANNING, Bells
from waybill.ledger.ledger import Ledger
from waybill.ledger.records import PlanningLease
from waybill.rpc.budgets import policy_to_proto
from waybill.telemetry import conventions, metrics, tracing
from waybill.telemetry.logs import get_logger
from waybill.telemetry.tracing import TaskTrace
from waybill_dispatcher.directory import AgentDirectory
from waybill_dispatcher.leasing import LEASE_MS, LeaseLost, Leasing, while_leased
from waybill_dispatcher.planner_account import MustWait
from waybill_dispatcher.planner_talk import Found, Job, PlannerTalk
from waybill_dispatcher.views import agent_message

log = get_logger(__name__)

AGENT_MISSING = "AGENT_MISSING"
WAITING_NOTE = "the planner waits for its model: the endpoint is at its limits, or what is left to spend is reserved"
_AGAIN_MS = 500


class Planning:
    """Plans the tasks that wait for it; `run` until cancelled."""

    def __init__(
        self, ledger: Ledger, bells: Bells, directory: AgentDirectory, talk: PlannerTalk, *, concurrency: int
    ) -> None:
        self._ledger = ledger
        self._directory = directory
        self._talk = talk
        self._leasing = Leasing(
            bells,
            PLANNING,
            lambda count: ledger.lease_planning(LEASE_MS, count),
            self._plan,
            concurrency=concurrency,
        )

    async def run(self) -> None:
        """Plan until cancelled; goals that are being planned then are planned by others later."""
        await self._leasing.run()

    async def _plan(self, lease: PlanningLease) -> None:
        started = time.monotonic()
        kept = TaskTrace.read(lease.traceparent)
        attributes = {
            conventions.TASK: lease.task,
            conventions.TENANT: lease.tenant,
            conventions.GEN_AI_CONVERSATION: lease.task,
        }
        with tracing.span(conventions.PLAN, attributes=attributes, parent=kept.context()) as span:
            try:
                outcome = await self._plan_once(lease)
            except LeaseLost:
                outcome = "stale"
            except Unavailable as error:
                # The store is away: the lease lapses, and the task is planned then.
                outcome = "unavailable"
                log.warning("planning interrupted", task=lease.task, error=error.message)
            if span.is_recording():
                span.set_attributes({conventions.OUTCOME: outcome, conventions.TASK_AGE_MS: kept.age_ms()})
                if outcome in ("failed", "declined", "unavailable"):
                    tracing.fail(span, outcome)
        metrics.PLANNING_SECONDS.labels(outcome).observe(time.monotonic() - started)
        log.info("planning", task=lease.task, status=outcome)

    async def _plan_once(self, lease: PlanningLease) -> str:
        try:
            found = await while_leased(
                self._ask(lease), lambda: self._ledger.postpone_planning(lease.task, LEASE_MS, "", lease.round)
            )
            graph = await self._directory.link(found.content, await self._ledger.task_policy(lease.task))
        except MustWait as wait:
            return await self._postpone(lease, wait.wait_ms, WAITING_NOTE)
        except Unavailable as error:
            return await self._postpone(lease, _AGAIN_MS, error.message)
        except WaybillError as error:
            if error.reason != AGENT_MISSING:
                return await self._fail(lease, error)
            return await self._postpone(lease, _AGAIN_MS, error.message)
        if found.failure is not None and not found.told:
            await self._talk.tell(_job(lease), "planned without the model", found.failure)
        return "planned" if await self._ledger.attach_plan(lease.task, 0, graph, lease.round) else "stale"

    async def _postpone(self, lease: PlanningLease, delay_ms: int, note: str) -> str:
        await self._ledger.postpone_planning(lease.task, delay_ms, note, lease.round)
        return "postponed"

    async def _ask(self, lease: PlanningLease) -> Found:
        agents = await self._directory.records()
        policy = await self._ledger.task_policy(lease.task)
        request = planner_pb2.StreamPlanRequest(
            goal=lease.goal,
            agents=[agent_message(record) for record in agents.values()],
            paths=lease.paths,
            policy=policy_to_proto(policy),
        )
        return await self._talk.plan(_job(lease), request)

    async def _fail(self, lease: PlanningLease, error: WaybillError) -> str:
        reason = error.reason if isinstance(error, InvalidArgument) else "PLANNING_FAILED"
        await self._ledger.fail_planning(lease.task, Failure(reason, error.message), lease.round)
        return "failed"


def _job(lease: PlanningLease) -> Job:
    return Job(lease.task, lease.tenant, lease.round)
