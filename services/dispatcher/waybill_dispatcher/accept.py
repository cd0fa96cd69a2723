"""Accepting tasks: a submission becomes a task in the ledger, or a refusal."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from waybill.api.v1 import dispatcher_pb2, gateway_pb2, task_pb2
from waybill.core.limits import REQUEST_ID
from waybill.core.task import Document
from waybill.errors import InvalidArgument, NotFound, Unavailable, WaybillError
from waybill.ledger.ledger import Ledger, new_task_id
from waybill.ledger.records import Accepted, NewTask
from waybill.rpc.budgets import budget_from_proto, budget_violations, policy_from_proto, policy_violations
from waybill.rpc.caller import checked_tenant
from waybill.rpc.enums import PRIORITY_FROM_PROTO
from waybill.rpc.refusals import refusal_of
from waybill.rpc.templates import is_made_from_template
from waybill.telemetry import metrics
from waybill_dispatcher.directory import AgentDirectory
from waybill_dispatcher.templates import PLANNER_TOO_OLD, PLANNER_UNAVAILABLE, Templates
from waybill_dispatcher.views import accepted_task, task_message

_OF_THE_PLANNER = frozenset({PLANNER_UNAVAILABLE, PLANNER_TOO_OLD})


@dataclass(frozen=True, slots=True)
class Known:
    """A submission that was accepted before, as this task."""

    task: str


class Acceptance:
    """Turns submissions into stored tasks."""

    def __init__(self, ledger: Ledger, directory: AgentDirectory, templates: Templates) -> None:
        self._ledger = ledger
        self._directory = directory
        self._templates = templates

    async def accept(self, submissions: Sequence[dispatcher_pb2.Submission]) -> list[gateway_pb2.SubmitResult]:
        """Store each submission or refuse it, on its own. Raises Unavailable if the store is away: nothing is
        known then, and the same call may be repeated.
        """
        checked = await asyncio.gather(*(self._checked(submission) for submission in submissions))
        tasks = [task for task in checked if isinstance(task, NewTask)]
        stored = iter(await self._ledger.submit(tasks) if tasks else [])
        return [
            await self._result(task, next(stored)) if isinstance(task, NewTask) else await self._answer(task)
            for task in checked
        ]

    async def _checked(self, submission: dispatcher_pb2.Submission) -> NewTask | Known | WaybillError:
        try:
            return await self._known(submission) or await self.new_task(submission)
        except (InvalidArgument, NotFound) as error:
            return error
        except Unavailable as error:
            if error.reason not in _OF_THE_PLANNER:
                raise
            return error

    async def _known(self, submission: dispatcher_pb2.Submission) -> Known | None:
        """What was made from a template before: that may have changed since, or be gone, and is not asked for again."""
        if not is_made_from_template(submission.spec) or not REQUEST_ID.fullmatch(submission.request_id):
            return None
        tenant = checked_tenant(submission.tenant)
        task = await self._ledger.task_of_request(tenant, submission.request_id, fingerprint(submission.spec))
        return Known(task) if task else None

    async def new_task(self, submission: dispatcher_pb2.Submission) -> NewTask:
        """The task that a submission stands for, its plan made from the template if it names one, and checked.

        Raises InvalidArgument, or NotFound for a template, with all that is wrong; Unavailable if the store or the
        planner is away.
        """
        spec = submission.spec
        if not REQUEST_ID.fullmatch(submission.request_id):
            raise InvalidArgument.of_field("request_id", "must be 1 to 128 visible ASCII characters")
        if (spec.goal and spec.HasField("plan")) or not (spec.goal or spec.HasField("plan") or spec.template):
            raise InvalidArgument.of_field("spec", "give exactly one of goal, plan and template")
        found = budget_violations(spec.budget) if spec.HasField("budget") else []
        found += policy_violations(spec.policy) if spec.HasField("policy") else []
        if found:
            raise InvalidArgument("; ".join(f"{item.field}: {item.description}" for item in found[:3]), found)
        policy = policy_from_proto(spec.policy) if spec.HasField("policy") else None
        plan = spec.plan if spec.HasField("plan") else None
        if is_made_from_template(spec):
            plan = await self._templates.expand(checked_tenant(submission.tenant), spec)
        graph = await self._directory.link(plan, policy) if plan is not None else None
        return NewTask(
            id=new_task_id(),
            tenant=checked_tenant(submission.tenant),
            request_id=submission.request_id,
            fingerprint=fingerprint(spec),
            goal=spec.goal,
            input=spec.input.data or b"null",
            graph=graph,
            documents=tuple(Document(item.name, item.media_type or "text/plain", item.data) for item in spec.documents),
            paths=tuple(spec.paths),
            priority=PRIORITY_FROM_PROTO[spec.priority],
            labels=dict(spec.labels),
            traceparent=submission.traceparent,
            deadline_ms=spec.deadline_ms,
            template=spec.template,
            budget=budget_from_proto(spec.budget) if spec.HasField("budget") else None,
            policy=policy,
            start_ms=spec.start_time.ToMilliseconds() if spec.HasField("start_time") else 0,
        )

    async def _result(self, task: NewTask, stored: Accepted | WaybillError) -> gateway_pb2.SubmitResult:
        if isinstance(stored, WaybillError):
            return _refused(stored)
        if stored.repeated:
            return await self._answer(Known(stored.task))
        metrics.TASKS_ACCEPTED.inc()
        return gateway_pb2.SubmitResult(task=accepted_task(task, stored))

    async def _answer(self, outcome: Known | WaybillError) -> gateway_pb2.SubmitResult:
        if isinstance(outcome, WaybillError):
            return _refused(outcome)
        return gateway_pb2.SubmitResult(task=task_message(await self._ledger.task(outcome.task)))


def fingerprint(spec: task_pb2.TaskSpec) -> str:
    """What makes two submissions under one request id the same: 128 bits of the spec's canonical bytes."""
    return hashlib.sha256(spec.SerializeToString(deterministic=True)).hexdigest()[:32]


def _refused(error: WaybillError) -> gateway_pb2.SubmitResult:
    return gateway_pb2.SubmitResult(refusal=refusal_of(error))
