"""Submissions written as JSON: the body of an HTTP submission, and a plan file. Strict: unknown fields are errors."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, Raw, UnsetType, field

from waybill.api.v1 import gateway_pb2, task_pb2
from waybill.core.budget import BudgetAction
from waybill.core.limits import MAX_BUDGET_MICROUSD, MAX_DEADLINE_MS, MAX_PLAN_STEPS, MAX_REVISIONS
from waybill.core.task import Priority
from waybill.errors import InvalidArgument
from waybill.rpc.enums import BUDGET_ACTION_TO_PROTO, PRIORITY_TO_PROTO
from waybill.rpc.events import timestamp_of
from waybill.rpc.plan_forms import PlanForm, inline_payload, plan_of_form
from waybill.rpc.strict import Strict, read_json


class DocumentForm(Strict):
    """`Document` as JSON: exactly one of `text` and `data_base64`."""

    name: str
    media_type: str = ""
    text: str | None = None
    data_base64: bytes | None = None


class BudgetForm(Strict):
    """`Budget` as JSON."""

    max_cost_microusd: Annotated[int, Meta(ge=1, le=MAX_BUDGET_MICROUSD)]
    on_limit: BudgetAction = BudgetAction.STOP


class PolicyForm(Strict):
    """`TaskPolicy` as JSON."""

    allowed_agents: list[str] = field(default_factory=list)
    allowed_tools: list[str] = field(default_factory=list)
    allowed_hosts: list[str] = field(default_factory=list)
    allowed_recipients: list[str] = field(default_factory=list)
    max_revisions: Annotated[int, Meta(ge=0, le=MAX_REVISIONS)] | None = None
    max_added_steps: Annotated[int, Meta(ge=0, le=MAX_PLAN_STEPS)] | None = None


class SpecForm(Strict):
    """`TaskSpec` as JSON."""

    goal: str = ""
    plan: PlanForm | None = None
    input: Raw | UnsetType = UNSET
    documents: list[DocumentForm] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    priority: Priority = Priority.NORMAL
    labels: dict[str, str] = field(default_factory=dict)
    deadline_ms: Annotated[int, Meta(ge=0, le=MAX_DEADLINE_MS)] = 0
    template: str = ""
    parameters: Raw | UnsetType = UNSET
    budget: BudgetForm | None = None
    policy: PolicyForm | None = None
    start_time: Annotated[datetime, Meta(tz=True)] | None = None


class SubmissionForm(SpecForm):
    """The body of `POST /v1/tasks`: `TaskSpec` as JSON, with the request id."""

    request_id: str = ""


class BatchForm(Strict):
    """The body of `POST /v1/tasks:batch`."""

    requests: list[SubmissionForm]


def submission_from_json(body: bytes) -> gateway_pb2.SubmitTaskRequest:
    """The request that a JSON body describes. Raises `InvalidArgument` with the field that does not fit."""
    return _request(read_json(body, SubmissionForm), "")


def batch_from_json(body: bytes) -> gateway_pb2.BatchSubmitTasksRequest:
    """The requests of `{"requests": [...]}`. Raises `InvalidArgument` with the field that does not fit."""
    batch = read_json(body, BatchForm)
    requests = [_request(item, f"requests[{position}].") for position, item in enumerate(batch.requests)]
    return gateway_pb2.BatchSubmitTasksRequest(requests=requests)


def spec_from_json(spec: bytes | str | Mapping[str, Any]) -> task_pb2.TaskSpec:
    """The spec of a submission, as JSON text or decoded. Raises `InvalidArgument` with the field that does not fit."""
    return submission_from_json(_text(spec)).spec


def plan_from_json(plan: bytes | str | Mapping[str, Any]) -> task_pb2.Plan:
    """The plan of `{"steps": [...]}`, as JSON text or decoded. Raises `InvalidArgument` as above."""
    return plan_of_form(read_json(_text(plan), PlanForm))


def _text(value: bytes | str | Mapping[str, Any]) -> bytes:
    if isinstance(value, bytes):
        return value
    if isinstance(value, str):
        return value.encode("utf-8", errors="replace")
    try:
        return msgspec.json.encode(value)
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidArgument.of_field("body", f"has no JSON form: {error}") from error


def _request(submission: SubmissionForm, prefix: str) -> gateway_pb2.SubmitTaskRequest:
    return gateway_pb2.SubmitTaskRequest(spec=spec_of_form(submission, prefix), request_id=submission.request_id)


def spec_of_form(submission: SpecForm, prefix: str = "") -> task_pb2.TaskSpec:
    """The spec that a form stands for. Raises `InvalidArgument` with the field, after the prefix, that does not fit."""
    with InvalidArgument.unless_fitting(f"{prefix}start_time", "lies outside the years 1 to 9999 in UTC"):
        start_time = timestamp_of(submission.start_time) if submission.start_time is not None else None
    return task_pb2.TaskSpec(
        goal=submission.goal,
        plan=plan_of_form(submission.plan) if submission.plan is not None else None,
        input=inline_payload(submission.input),
        documents=[
            _document(document, f"{prefix}documents[{position}]")
            for position, document in enumerate(submission.documents)
        ],
        paths=submission.paths,
        priority=PRIORITY_TO_PROTO[submission.priority],
        labels=submission.labels,
        deadline_ms=submission.deadline_ms,
        template=submission.template,
        parameters=inline_payload(submission.parameters),
        budget=_budget(submission.budget),
        policy=_policy(submission.policy),
        start_time=start_time,
    )


def _budget(budget: BudgetForm | None) -> task_pb2.Budget | None:
    if budget is None:
        return None
    return task_pb2.Budget(max_cost_microusd=budget.max_cost_microusd, on_limit=BUDGET_ACTION_TO_PROTO[budget.on_limit])


def _policy(policy: PolicyForm | None) -> task_pb2.TaskPolicy | None:
    return None if policy is None else task_pb2.TaskPolicy(**msgspec.structs.asdict(policy))


def _document(document: DocumentForm, field: str) -> task_pb2.Document:
    match document.text, document.data_base64:
        case str() as text, None:
            data = text.encode()
        case None, bytes() as data:
            pass
        case _:
            raise InvalidArgument.of_field(field, "needs exactly one of text and data_base64")
    return task_pb2.Document(name=document.name, media_type=document.media_type, data=data)
