"""Submitting: what callers hand in is checked, each submission on its own, and travels to the dispatcher in groups."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING

import grpc
from opentelemetry.context import Context
from opentelemetry.trace import Link

from waybill.api.v1 import dispatcher_pb2, gateway_pb2
from waybill.core.limits import MAX_BATCH_SUBMISSIONS
from waybill.errors import InvalidArgument, WaybillError
from waybill.rpc.refusals import refusal_of, refused_error
from waybill.rpc.status import from_rpc_error
from waybill.rpc.templates import is_made_from_template
from waybill.telemetry import conventions, tracing
from waybill.telemetry.tracing import current_traceparent
from waybill_gateway.caller import Caller
from waybill_gateway.grouping import MAX_GROUP_BYTES, SubmissionGroup
from waybill_gateway.submission import admitted_request_id

if TYPE_CHECKING:
    from waybill.api.v1.dispatcher_pb2_grpc import DispatcherServiceAsyncStub

_Outcome = gateway_pb2.SubmitResult | WaybillError


class Submitting:
    """Hands submissions of all callers to the dispatcher."""

    def __init__(self, dispatcher: DispatcherServiceAsyncStub) -> None:
        self._dispatcher = dispatcher
        self._group = SubmissionGroup(self._create_tasks)
        self._template_group = SubmissionGroup(self._create_tasks)  # these wait for the planner, and the others do not

    async def submit(self, caller: Caller, request: gateway_pb2.SubmitTaskRequest) -> gateway_pb2.SubmitTaskResponse:
        """Accept a task. Raises what it is refused with."""
        creation = dispatcher_pb2.CreateTasksRequest()
        _add(creation, caller.tenant, current_traceparent(), request)
        group = self._template_group if is_made_from_template(request.spec) else self._group
        (result,) = await group.submit(creation, caller.deadline)
        if result.HasField("refusal"):
            raise refused_error(result.refusal)
        return gateway_pb2.SubmitTaskResponse(task=result.task)

    async def submit_batch(
        self, caller: Caller, request: gateway_pb2.BatchSubmitTasksRequest
    ) -> gateway_pb2.BatchSubmitTasksResponse:
        """Accept or refuse each of many tasks. Raises only if the dispatcher answered for none of them."""
        count = len(request.requests)
        if not 1 <= count <= MAX_BATCH_SUBMISSIONS:
            allowed = f"must be 1 to {MAX_BATCH_SUBMISSIONS}; split the batch"
            raise InvalidArgument.of_field("requests", f"are {count} submissions, and {allowed}")
        batch = _Batch(caller, request)
        parts = [(self._group, part) for part in batch.plain] + [(self._template_group, part) for part in batch.made]
        answers = await asyncio.gather(
            *(group.submit(part.request, caller.deadline) for group, part in parts), return_exceptions=True
        )
        for (_, part), answer in zip(parts, answers, strict=True):
            batch.take(part, answer)
        return batch.response()

    async def _create_tasks(
        self, request: dispatcher_pb2.CreateTasksRequest, timeout_seconds: float
    ) -> dispatcher_pb2.CreateTasksResponse:
        try:
            response: dispatcher_pb2.CreateTasksResponse = await self._dispatcher.CreateTasks(
                request, timeout=timeout_seconds, wait_for_ready=True
            )
        except grpc.aio.AioRpcError as error:
            raise from_rpc_error(error) from error
        return response


class _Part:
    """Submissions of a batch that travel together, with their positions in the batch."""

    def __init__(self) -> None:
        self.request = dispatcher_pb2.CreateTasksRequest()
        self.positions: list[int] = []
        self.size_bytes = 0


class _Batch:
    """A batch: what passed the checks, in parts of a size that travels, and what became of each submission."""

    def __init__(self, caller: Caller, request: gateway_pb2.BatchSubmitTasksRequest) -> None:
        self.plain: list[_Part] = []
        self.made: list[_Part] = []
        self._outcomes: dict[int, _Outcome] = {}
        self._count = len(request.requests)
        is_large = request.ByteSize() > MAX_GROUP_BYTES
        traceparent = current_traceparent()
        own_traces = self._count > 1 and tracing.recording()
        link = tracing.link_to(traceparent) if own_traces else None
        links = [link] if link is not None else []
        for position, submission in enumerate(request.requests):
            parts = self.made if is_made_from_template(submission.spec) else self.plain
            size_bytes = submission.ByteSize() if is_large else 0
            if not parts or (parts[-1].positions and parts[-1].size_bytes + size_bytes > MAX_GROUP_BYTES):
                parts.append(_Part())
            try:
                _add(parts[-1].request, caller.tenant, traceparent, submission)
                if own_traces:
                    parts[-1].request.submissions[-1].traceparent = _own_trace(caller.tenant, links)
            except WaybillError as refused:
                self._outcomes[position] = refused
                continue
            parts[-1].positions.append(position)
            parts[-1].size_bytes += size_bytes
        self.plain = [part for part in self.plain if part.positions]
        self.made = [part for part in self.made if part.positions]

    def take(self, part: _Part, answer: Sequence[gateway_pb2.SubmitResult] | BaseException) -> None:
        """Note what became of a part. Raises what is no answer at all."""
        if isinstance(answer, WaybillError):
            self._outcomes.update(dict.fromkeys(part.positions, answer))
        elif isinstance(answer, BaseException):
            raise answer
        else:
            self._outcomes.update(zip(part.positions, answer, strict=True))

    def response(self) -> gateway_pb2.BatchSubmitTasksResponse:
        """One result for each submission, in their order. Raises Unavailable if none has any other."""
        outcomes = [self._outcomes[position] for position in range(self._count)]
        unanswered = [outcome for outcome in outcomes if _is_unavailable(outcome)]
        if len(unanswered) == self._count and isinstance(unanswered[0], WaybillError):
            raise unanswered[0]
        return gateway_pb2.BatchSubmitTasksResponse(
            results=[
                gateway_pb2.SubmitResult(refusal=refusal_of(outcome)) if isinstance(outcome, WaybillError) else outcome
                for outcome in outcomes
            ]
        )


def _add(
    creation: dispatcher_pb2.CreateTasksRequest,
    tenant: str,
    traceparent: str,
    request: gateway_pb2.SubmitTaskRequest,
) -> None:
    """Add a submission to what is to be created. Raises what it is refused with."""
    request_id = admitted_request_id(request)
    added = creation.submissions.add(tenant=tenant, request_id=request_id, traceparent=traceparent)
    added.spec.CopyFrom(request.spec)


def _own_trace(tenant: str, links: Sequence[Link]) -> str:
    """The context of a trace that one task of a batch has to itself, linked to the call that brought the batch."""
    span = tracing.begin(
        conventions.CREATE,
        attributes={conventions.MESSAGING_DESTINATION: conventions.TASKS, conventions.TENANT: tenant},
        parent=Context(),
        links=links,
    )
    span.end()
    return tracing.traceparent_of(span)


def _is_unavailable(outcome: _Outcome) -> bool:
    return isinstance(outcome, WaybillError) and outcome.code is grpc.StatusCode.UNAVAILABLE
