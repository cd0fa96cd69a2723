"""The verbs that steer tasks and steps: cancel, pause, resume, retry, answer, decide an effect."""

from __future__ import annotations

from typing import TYPE_CHECKING

from waybill.api.v1 import dispatcher_pb2, gateway_pb2, task_pb2
from waybill.core.limits import MAX_EFFECT_KEY_CHARS, MAX_EFFECT_RESULT_BYTES, MAX_INPUT_BYTES
from waybill.errors import InvalidArgument
from waybill.rpc.payloads import payload_defect
from waybill_gateway import fields
from waybill_gateway.asking import ask
from waybill_gateway.caller import Caller
from waybill_gateway.filters import check_retry_filter

if TYPE_CHECKING:
    from waybill.api.v1.dispatcher_pb2_grpc import DispatcherServiceAsyncStub


class Steering:
    """One method a verb. Each takes a caller and a request of the public API, and raises `WaybillError` alone."""

    def __init__(self, dispatcher: DispatcherServiceAsyncStub) -> None:
        self._dispatcher = dispatcher

    async def cancel_task(
        self, caller: Caller, request: gateway_pb2.CancelTaskRequest
    ) -> gateway_pb2.CancelTaskResponse:
        """Cancel a task."""
        task = await self._steer(caller, request.name, dispatcher_pb2.TASK_ACTION_CANCEL, request.request_id)
        return gateway_pb2.CancelTaskResponse(task=task)

    async def pause_task(self, caller: Caller, request: gateway_pb2.PauseTaskRequest) -> gateway_pb2.PauseTaskResponse:
        """Pause a task."""
        task = await self._steer(caller, request.name, dispatcher_pb2.TASK_ACTION_PAUSE, request.request_id)
        return gateway_pb2.PauseTaskResponse(task=task)

    async def resume_task(
        self, caller: Caller, request: gateway_pb2.ResumeTaskRequest
    ) -> gateway_pb2.ResumeTaskResponse:
        """Resume a task."""
        task = await self._steer(caller, request.name, dispatcher_pb2.TASK_ACTION_RESUME, request.request_id)
        return gateway_pb2.ResumeTaskResponse(task=task)

    async def retry_task(self, caller: Caller, request: gateway_pb2.RetryTaskRequest) -> gateway_pb2.RetryTaskResponse:
        """Run a task again from what did not succeed."""
        task = await self._steer(caller, request.name, dispatcher_pb2.TASK_ACTION_RETRY, request.request_id)
        return gateway_pb2.RetryTaskResponse(task=task)

    async def _steer(
        self, caller: Caller, name: str, action: dispatcher_pb2.TaskAction.ValueType, request_id: str
    ) -> task_pb2.Task:
        steering = dispatcher_pb2.SteerTaskRequest(
            name=fields.task_name("name", name), action=action, request_id=fields.request_id(request_id)
        )
        response: dispatcher_pb2.SteerTaskResponse = await ask(self._dispatcher.SteerTask, steering, caller)
        return response.task

    async def retry_tasks(
        self, caller: Caller, request: gateway_pb2.RetryTasksRequest
    ) -> gateway_pb2.RetryTasksResponse:
        """Retry a page of the tasks that a filter names."""
        check_retry_filter(request.filter)
        retrying = dispatcher_pb2.RetryManyRequest(
            filter=request.filter,
            page_size=fields.page_size(request.page_size),
            page_token=request.page_token,
            request_id=fields.request_id(request.request_id),
        )
        response = await ask(self._dispatcher.RetryMany, retrying, caller)
        return gateway_pb2.RetryTasksResponse(names=response.names, next_page_token=response.next_page_token)

    async def answer_step(
        self, caller: Caller, request: gateway_pb2.AnswerStepRequest
    ) -> gateway_pb2.AnswerStepResponse:
        """Answer a step that waits for a person."""
        name = fields.step_name("name", request.name)
        if not request.answer.data:
            raise InvalidArgument.of_field("answer", "is required; send JSON")
        _check_payload("answer", request.answer, MAX_INPUT_BYTES)
        answering = dispatcher_pb2.SubmitAnswerRequest(
            name=name, answer=request.answer, request_id=fields.request_id(request.request_id)
        )
        response = await ask(self._dispatcher.SubmitAnswer, answering, caller)
        return gateway_pb2.AnswerStepResponse(step=response.step)

    async def resolve_effect(
        self, caller: Caller, request: gateway_pb2.ResolveEffectRequest
    ) -> gateway_pb2.ResolveEffectResponse:
        """Decide an effect that nobody knows the end of."""
        step = fields.step_name("step", request.step)
        if not 1 <= len(request.key) <= MAX_EFFECT_KEY_CHARS:
            raise InvalidArgument.of_field("key", f"must have 1 to {MAX_EFFECT_KEY_CHARS} characters")
        if request.state not in (task_pb2.EFFECT_STATE_DONE, task_pb2.EFFECT_STATE_FAILED):
            raise InvalidArgument.of_field("state", "must be done, if it happened, or failed, if it did not")
        if request.state == task_pb2.EFFECT_STATE_FAILED and request.result.data:
            raise InvalidArgument.of_field("result", "is what a done effect returned; a failed one has none")
        _check_payload("result", request.result, MAX_EFFECT_RESULT_BYTES)
        deciding = dispatcher_pb2.DecideEffectRequest(
            step=step, key=request.key, state=request.state, request_id=fields.request_id(request.request_id)
        )
        if request.HasField("result"):
            deciding.result.CopyFrom(request.result)
        response = await ask(self._dispatcher.DecideEffect, deciding, caller)
        return gateway_pb2.ResolveEffectResponse(effect=response.effect)


def _check_payload(field: str, payload: task_pb2.Payload, max_bytes: int) -> None:
    defect = payload_defect(payload, max_bytes)
    if defect:
        raise InvalidArgument.of_field(field, defect)
