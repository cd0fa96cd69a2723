"""Accepting tasks: a submission becomes a task in the ledger, or a refusal."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Sequence
from dataclasses import dataclass

from waybill.api.v1 import dispatcher_pb2, task_pb2
from waybill.core.budget import TaskPolicy
from waybill.core.limits import REQUEST_ID
from waybill.core.task import Document
from waybill.errors import InvalidArgument, NotFound, Unavailable, WaybillError
from waybill.ledger.ledger import Ledger, new_task_id
from waybill.ledger.records import NewTask
from waybill.rpc.budgets import budget_from_proto, budget_violations, policy_from_proto, policy_violations
from waybill.rpc.caller import checked_tenant
from waybill.rpc.enums import PRIORITY_FROM_PROTO
from waybill.rpc.refusals import refusal_of
from waybill.rpc.templates import is_made_from_template
from waybill.telemetry import conventions, metrics, tracing
from waybill.telemetry.tracing import TaskTrace
from waybill_dispatcher.directory import AgentDirectory, takes_long
from waybill_dispatcher.templates import PLANNER_TOO_OLD, PLANNER_UNAVAILABLE, Templates
from waybill_dispatcher.views import task_message, tell_accepted

_OF_THE_PLANNER = frozenset({PLANNER_UNAVAILABLE, PLANNER_TOO_OLD})
_TURN_SECONDS = 0.005
"""How long a call checks submissions before others get their turn."""
_NOTHING = b"null"


@dataclass(frozen=True, slots=True)
class Known:
    """A submission that was accepted before, as this task."""

    task: str


Checked = NewTask | Known | WaybillError
"""What a submission turned out to stand for."""


class Acceptance:
    """Turns submissions into stored tasks."""

    def __init__(self, ledger: Ledger, directory: AgentDirectory, templates: Templates) -> None:
        self._ledger = ledger
        self._directory = directory
        self._templates = templates

    async def accept(self, submissions: Sequence[dispatcher_pb2.Submission]) -> dispatcher_pb2.CreateTasksResponse:
        """Store each submission or refuse it, on its own; one result for each, in their order. Raises Unavailable if
        the store is away: nothing is known then, and the same call may be repeated.
        """
        began_ns = time.time_ns()
        checked = await self._all_checked(submissions)
        tasks = [task for task in checked if isinstance(task, NewTask)]
        stored = iter(await self._ledger.submit(tasks) if tasks else [])
        response = dispatcher_pb2.CreateTasksResponse()
        accepted = 0
        for outcome in checked:
            told = response.results.add()
            found = next(stored) if isinstance(outcome, NewTask) else outcome
            if isinstance(found, WaybillError):
                told.refusal.CopyFrom(refusal_of(found))
            elif isinstance(found, Known) or found.repeated:
                told.task.CopyFrom(task_message(await self._ledger.task(found.task)))
            elif isinstance(outcome, NewTask):
                tell_accepted(told.task, outcome, found)
                accepted += 1
                if outcome.traceparent and tracing.is_sampled(outcome.traceparent):
                    _trace_sending(outcome, began_ns)
        metrics.TASKS_ACCEPTED.inc(accepted)
        return response

    async def _all_checked(self, submissions: Sequence[dispatcher_pb2.Submission]) -> list[Checked]:
        """What each submission stands for. Only those that may wait, for the planner or a thread, are checked as tasks
        of the loop, which gets its turn meanwhile.
        """
        checked: dict[int, Checked] = {}
        turn_ends = time.monotonic() + _TURN_SECONDS
        for position, submission in enumerate(submissions):
            if not self._may_wait(submission.spec):
                checked[position] = await self._checked(submission)
                if time.monotonic() > turn_ends:
                    await asyncio.sleep(0)
                    turn_ends = time.monotonic() + _TURN_SECONDS
        waiting = [position for position in range(len(submissions)) if position not in checked]
        if waiting:
            found = await asyncio.gather(*(self._checked(submissions[position]) for position in waiting))
            checked.update(zip(waiting, found, strict=True))
        return [checked[position] for position in range(len(submissions))]

    async def _checked(self, submission: dispatcher_pb2.Submission) -> Checked:
        try:
            if is_made_from_template(submission.spec):
                return await self._known(submission) or await self.new_task(submission)
            return await self.new_task(submission)
        except (InvalidArgument, NotFound) as error:
            return error
        except Unavailable as error:
            if error.reason not in _OF_THE_PLANNER:
                raise
            return error

    def _may_wait(self, spec: task_pb2.TaskSpec) -> bool:
        """Whether checking a submission may take longer than a moment."""
        if spec.HasField("plan"):
            return not self._directory.has_linked(spec.plan) and takes_long(spec.plan)
        return is_made_from_template(spec)

    async def _known(self, submission: dispatcher_pb2.Submission) -> Known | None:
        """What was made from a template before: that may have changed since, or be gone, and is not asked for again."""
        if not REQUEST_ID.fullmatch(submission.request_id):
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
        policy = _permitted(spec) if spec.HasField("budget") or spec.HasField("policy") else None
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
            input=(spec.input.data or _NOTHING) if spec.HasField("input") else _NOTHING,
            graph=graph,
            documents=tuple(map(_document, spec.documents)) if spec.documents else (),
            paths=tuple(spec.paths) if spec.paths else (),
            priority=PRIORITY_FROM_PROTO[spec.priority],
            labels=dict(spec.labels.items()) if spec.labels else {},
            traceparent=kept_trace(submission.traceparent),
            deadline_ms=spec.deadline_ms,
            template=spec.template,
            budget=budget_from_proto(spec.budget) if spec.HasField("budget") else None,
            policy=policy,
            start_ms=spec.start_time.ToMilliseconds() if spec.HasField("start_time") else 0,
        )


def _permitted(spec: task_pb2.TaskSpec) -> TaskPolicy | None:
    """The policy of a spec that has one. Raises InvalidArgument with what is wrong with that and with the budget."""
    found = budget_violations(spec.budget) if spec.HasField("budget") else []
    found += policy_violations(spec.policy) if spec.HasField("policy") else []
    if found:
        raise InvalidArgument("; ".join(f"{item.field}: {item.description}" for item in found[:3]), found)
    return policy_from_proto(spec.policy) if spec.HasField("policy") else None


def kept_trace(traceparent: str) -> str:
    """What the task keeps of its trace: of one that is recorded also when it came."""
    if not tracing.is_sampled(traceparent):
        return traceparent
    return TaskTrace(traceparent, time.time_ns() // 1_000_000).written()


def _trace_sending(task: NewTask, began_ns: int) -> None:
    """Tell the task's trace that it was stored, and with it its first entries of queues."""
    kept = TaskTrace.read(task.traceparent)
    if not kept.accepted_ms or not tracing.may_record(kept.traceparent):
        return
    tracing.begin(
        conventions.SEND,
        attributes={
            conventions.MESSAGING_DESTINATION: conventions.TASKS,
            conventions.MESSAGING_ID: task.id,
            conventions.TASK: task.id,
            conventions.TENANT: task.tenant,
        },
        parent=kept.context(),
        start_ns=began_ns,
    ).end()


def _document(document: task_pb2.Document) -> Document:
    return Document(document.name, document.media_type or "text/plain", document.data)


def fingerprint(spec: task_pb2.TaskSpec) -> str:
    """What makes two submissions under one request id the same: 128 bits of the spec's canonical bytes."""
    return hashlib.sha256(spec.SerializeToString(deterministic=True)).hexdigest()[:32]
