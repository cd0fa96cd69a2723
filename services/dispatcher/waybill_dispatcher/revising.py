"""Revising: tasks whose plan has to change are leased, the planner is asked for a patch, and the plan is patched.

Where there is no model, or it finds no patch that fits, the task stops as if its plan had no other way.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

from waybill.api.v1 import task_pb2
from waybill.core.limits import MAX_FAILURE_MESSAGE_CHARS
from waybill.core.patching import link_patch
from waybill.core.task import Failure, TaskState
from waybill.errors import FailedPrecondition, InvalidPlan, Unavailable, WaybillError
from waybill.ledger.bells import REVISIONS, Bells
from waybill.ledger.ledger import Ledger
from waybill.ledger.records import RevisionLease, StepRecord
from waybill.rpc.patches import patch_from_proto
from waybill.telemetry import conventions, metrics, tracing
from waybill.telemetry.logs import get_logger
from waybill.telemetry.tracing import TaskTrace
from waybill_dispatcher.directory import AgentDirectory
from waybill_dispatcher.leasing import LEASE_MS, LeaseLost, Leasing, while_leased
from waybill_dispatcher.plan_standing import failed_numbers, known_steps, read_steps, revision_request
from waybill_dispatcher.planner_account import MustWait
from waybill_dispatcher.planner_talk import Job, PlannerTalk
from waybill_dispatcher.planning import WAITING_NOTE

log = get_logger(__name__)

MAX_CONFLICTS = 3
"""How often a patch may be refused for what has changed while it was made."""
_AGAIN_MS = 500
_NO_MODEL = "the planner has no model to revise it with"


class Revising:
    """Revises the plans that wait for it; `run` until cancelled."""

    def __init__(
        self, ledger: Ledger, bells: Bells, directory: AgentDirectory, talk: PlannerTalk, *, concurrency: int
    ) -> None:
        self._ledger = ledger
        self._directory = directory
        self._talk = talk
        self._leasing = Leasing(
            bells,
            REVISIONS,
            lambda count: ledger.lease_revisions(LEASE_MS, count),
            self._revise,
            concurrency=concurrency,
        )

    async def run(self) -> None:
        """Revise until cancelled; plans that are being revised then are revised by others later."""
        await self._leasing.run()

    async def _revise(self, lease: RevisionLease) -> None:
        started = time.monotonic()
        kept = TaskTrace.read(lease.traceparent)
        attributes = {
            conventions.TASK: lease.task,
            conventions.TENANT: lease.tenant,
            conventions.GEN_AI_CONVERSATION: lease.task,
        }
        with tracing.span(conventions.REVISE, attributes=attributes, parent=kept.context()) as span:
            try:
                outcome = await self._revise_once(lease)
            except LeaseLost:
                outcome = "stale"
            except Unavailable as error:
                outcome = "unavailable"
                log.warning("revising interrupted", task=lease.task, error=error.message)
            if span.is_recording():
                span.set_attributes({conventions.OUTCOME: outcome, conventions.TASK_AGE_MS: kept.age_ms()})
                if outcome in ("failed", "declined", "unavailable"):
                    tracing.fail(span, outcome)
        metrics.REVISION_SECONDS.labels(outcome).observe(time.monotonic() - started)
        log.info("revising", task=lease.task, status=outcome)

    async def _revise_once(self, lease: RevisionLease) -> str:
        try:
            return await while_leased(
                self._until_settled(lease),
                lambda: self._ledger.postpone_revision(lease.task, lease.round, LEASE_MS, ""),
            )
        except MustWait as wait:
            return await self._postpone(lease, wait.wait_ms, WAITING_NOTE)
        except Unavailable as error:
            return await self._postpone(lease, _AGAIN_MS, error.message)
        except WaybillError as error:
            steps = await read_steps(self._ledger, lease.task)
            return await self._decline(lease, steps, error.message)

    async def _postpone(self, lease: RevisionLease, delay_ms: int, note: str) -> str:
        await self._ledger.postpone_revision(lease.task, lease.round, delay_ms, note)
        return "postponed"

    async def _until_settled(self, lease: RevisionLease) -> str:
        """Ask for patches until one is applied, or there is none."""
        steps: Sequence[StepRecord] = ()
        for _ in range(MAX_CONFLICTS):
            steps = await read_steps(self._ledger, lease.task)
            agents, policy = await self._directory.records(), await self._ledger.task_policy(lease.task)
            request = revision_request(lease, steps, list(agents.values()), policy)
            found = await self._talk.revise(Job(lease.task, lease.tenant, lease.round), request)
            if found.content is None:
                why = found.failure.message if found.failure else "" if found.has_model else _NO_MODEL
                return await self._decline(lease, steps, why or "the model found no other way")
            outcome = await self._patch(lease, failed_numbers(steps), found.content)
            if outcome:
                return outcome
        return await self._decline(lease, steps, "it changed each time before a patch could be applied")

    async def _patch(self, lease: RevisionLease, failed: Sequence[int], message: task_pb2.PlanPatch) -> str:
        """Apply a patch to the plan as it stands now; "" if it does not fit that any more."""
        record = await self._ledger.task(lease.task)
        if not record.revising or record.round != lease.round:
            raise LeaseLost
        if record.state is TaskState.PAUSED:
            return await self._postpone(lease, _AGAIN_MS, "the task is paused")
        steps, policy = await read_steps(self._ledger, lease.task), await self._ledger.task_policy(lease.task)
        schemas = await self._directory.schemas()
        try:
            patch = patch_from_proto(message)
            linked = await asyncio.to_thread(link_patch, patch, known_steps(steps), schemas, policy)
            applied = await self._ledger.patch_plan(lease.task, record.revision, lease.round, failed, linked)
        except (InvalidPlan, FailedPrecondition) as error:
            log.info("a patch does not fit any more", task=lease.task, why=error.message)
            return ""
        return "revised" if applied else ""

    async def _decline(self, lease: RevisionLease, steps: Sequence[StepRecord], why: str) -> str:
        """Stop the task for the failure that the revision was to make up for."""
        failures = [step.failure for step in steps if step.number in lease.failed and step.failure is not None]
        first = failures[0] if failures else Failure("REPLAN", "a step asked for another plan")
        message = f"{first.message}; the plan was not revised: {why}"[:MAX_FAILURE_MESSAGE_CHARS]
        declined = await self._ledger.decline_revision(lease.task, lease.round, Failure(first.reason, message))
        return "declined" if declined else "stale"
