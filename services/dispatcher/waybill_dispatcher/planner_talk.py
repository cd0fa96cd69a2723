"""Talking to the planner: what it is allowed, what it tells on the way, and what it comes to."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import grpc

from waybill.api.v1 import planner_pb2, planner_pb2_grpc
from waybill.core.limits import MAX_EVENT_MESSAGE_CHARS, MAX_FAILURE_MESSAGE_CHARS
from waybill.core.task import Event, EventType, Failure
from waybill.errors import InvalidArgument, Unavailable, WaybillError
from waybill.ledger.ledger import Ledger
from waybill.rpc.caller import metadata_for
from waybill.rpc.events import failure_from_proto
from waybill.rpc.status import OUT_OF_TIME, from_rpc_error
from waybill.telemetry.logs import get_logger
from waybill_dispatcher.leasing import LeaseLost
from waybill_dispatcher.planner_account import PlannerAccount

log = get_logger(__name__)

Request = planner_pb2.StreamPlanRequest | planner_pb2.RevisePlanRequest


@dataclass(frozen=True, slots=True)
class Job:
    """A task that the planner works on, in a round."""

    task: str
    tenant: str
    round: int


@dataclass(frozen=True, slots=True)
class Found:
    """What the planner came to: a plan or a patch, or none. `failure` is why its model came to nothing, `told` whether
    that stands in the history already, and `has_model` whether it has one.
    """

    content: Any = None
    failure: Failure | None = None
    told: bool = False
    has_model: bool = True


class PlannerTalk:
    """The planner, for all who need it. `timeout_seconds` is for answers without a model, the other for those with."""

    def __init__(
        self,
        ledger: Ledger,
        planner: planner_pb2_grpc.PlannerServiceAsyncStub,
        *,
        timeout_seconds: float,
        model_timeout_seconds: float,
    ) -> None:
        self._ledger = ledger
        self._planner = planner
        self._timeout_seconds = timeout_seconds
        self._model_timeout_seconds = model_timeout_seconds

    async def plan(self, job: Job, request: planner_pb2.StreamPlanRequest) -> Found:
        """A plan, without the model if it cannot be asked. Raises MustWait, LeaseLost and WaybillError."""
        found = await self._ask_model(job, request)
        if found.content is not None:
            return found
        request.max_cost_microusd = 0
        plan = await self._stream(job, request, self._timeout_seconds, None)
        return Found(plan.content, found.failure, found.told)

    async def revise(self, job: Job, request: planner_pb2.RevisePlanRequest) -> Found:
        """A patch, if the model finds one. Raises MustWait, LeaseLost and WaybillError."""
        return await self._ask_model(job, request)

    async def tell(self, job: Job, message: str, failure: Failure | None = None) -> None:
        """Put what the planner tells into the task's history. Raises LeaseLost if the round is over."""
        if failure is not None:
            failure = Failure(failure.reason, failure.message[:MAX_FAILURE_MESSAGE_CHARS])
        event = Event(type=EventType.PLANNING_PROGRESS, message=message[:MAX_EVENT_MESSAGE_CHARS], failure=failure)
        try:
            if not await self._ledger.tell_planning(job.task, job.round, [event]):
                raise LeaseLost
        except Unavailable as error:
            log.warning("planning progress is lost", task=job.task, error=error.message)

    async def _ask_model(self, job: Job, request: Request) -> Found:
        model = await self._model(job)
        if not model.model:
            return Found(has_model=False)
        account = PlannerAccount(self._ledger, job.task, job.tenant, job.round)
        allowance = await account.open(model)
        if isinstance(allowance, Failure):
            return Found(failure=allowance)
        request.max_cost_microusd = allowance.cost_microusd
        request.budgeted = allowance.budgeted
        request.call_name = account.call_name
        request.first_call = allowance.first_call
        if isinstance(request, planner_pb2.StreamPlanRequest):
            request.document_names.extend(document.name for document in await self._ledger.documents(job.task))
        try:
            found = await self._stream(job, request, self._model_timeout_seconds, account)
        except InvalidArgument:
            await account.close()  # so it has ended in order, and told all calls
            raise
        except WaybillError as error:
            await account.lose()
            if error.reason != OUT_OF_TIME:
                raise
            return Found(failure=Failure("MODEL_UNAVAILABLE", "the planner's model has not come to an end in time"))
        await account.close()
        return found

    async def _model(self, job: Job) -> planner_pb2.GetPlannerModelResponse:
        try:
            model: planner_pb2.GetPlannerModelResponse = await self._planner.GetPlannerModel(
                planner_pb2.GetPlannerModelRequest(),
                timeout=self._timeout_seconds,
                metadata=metadata_for(job.tenant),
            )
        except grpc.aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.UNIMPLEMENTED:
                raise Unavailable("the planner is of an older release; replace it", reason="PLANNER_TOO_OLD") from error
            raise from_rpc_error(error) from error
        return model

    async def _stream(
        self, job: Job, request: Request, timeout_seconds: float, account: PlannerAccount | None
    ) -> Found:
        """The plan or patch at the end of the stream, if there is one, and what it told of its model on the way."""
        is_plan = isinstance(request, planner_pb2.StreamPlanRequest)
        rpc: Any = self._planner.StreamPlan if is_plan else self._planner.RevisePlan
        call = rpc(request, timeout=timeout_seconds, metadata=metadata_for(job.tenant))
        found, failure = None, None
        try:
            async for response in _messages(call):
                match response.WhichOneof("content"):
                    case "progress":
                        told = response.progress
                        why = failure_from_proto(told.failure) if told.HasField("failure") else None
                        failure = why or failure
                        await self.tell(job, told.message, why)
                    case "call" if account is not None:
                        await account.told(response.call)
                    case "plan" | "patch" as kind:
                        found = getattr(response, kind)
        finally:
            call.cancel()
        return Found(found, failure, told=True)


async def _messages(call: Any) -> AsyncIterator[Any]:
    try:
        async for response in call:
            yield response
    except grpc.aio.AioRpcError as error:
        raise from_rpc_error(error) from error
