"""The verbs of dead letters: steps that were given up because they kill the process that runs them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from waybill.api.v1 import dispatcher_pb2, gateway_pb2, task_pb2
from waybill_gateway import fields
from waybill_gateway.asking import ask
from waybill_gateway.caller import Caller

if TYPE_CHECKING:
    from waybill.api.v1.dispatcher_pb2_grpc import DispatcherServiceAsyncStub


class Letters:
    """One method a verb. Each takes a caller and a request of the public API, and raises `WaybillError` alone."""

    def __init__(self, dispatcher: DispatcherServiceAsyncStub) -> None:
        self._dispatcher = dispatcher

    async def list_dead_letters(
        self, caller: Caller, request: gateway_pb2.ListDeadLettersRequest
    ) -> gateway_pb2.ListDeadLettersResponse:
        """List the caller's dead letters."""
        reading = dispatcher_pb2.ReadDeadLettersRequest(
            page_size=fields.page_size(request.page_size), page_token=request.page_token
        )
        response = await ask(self._dispatcher.ReadDeadLetters, reading, caller)
        return gateway_pb2.ListDeadLettersResponse(
            dead_letters=response.dead_letters, next_page_token=response.next_page_token
        )

    async def get_dead_letter(
        self, caller: Caller, request: gateway_pb2.GetDeadLetterRequest
    ) -> gateway_pb2.GetDeadLetterResponse:
        """Read a dead letter with its history."""
        reading = dispatcher_pb2.ReadDeadLetterRequest(name=fields.letter_name("name", request.name))
        response = await ask(self._dispatcher.ReadDeadLetter, reading, caller)
        return gateway_pb2.GetDeadLetterResponse(dead_letter=response.dead_letter)

    async def retry_dead_letter(
        self, caller: Caller, request: gateway_pb2.RetryDeadLetterRequest
    ) -> gateway_pb2.RetryDeadLetterResponse:
        """Remove a dead letter and retry its task."""
        task = await self._settle(caller, request.name, dispatcher_pb2.DEAD_LETTER_ACTION_RETRY, request.request_id)
        return gateway_pb2.RetryDeadLetterResponse(task=task)

    async def drop_dead_letter(
        self, caller: Caller, request: gateway_pb2.DropDeadLetterRequest
    ) -> gateway_pb2.DropDeadLetterResponse:
        """Remove a dead letter."""
        await self._settle(caller, request.name, dispatcher_pb2.DEAD_LETTER_ACTION_DROP, request.request_id)
        return gateway_pb2.DropDeadLetterResponse()

    async def _settle(
        self, caller: Caller, name: str, action: dispatcher_pb2.DeadLetterAction.ValueType, request_id: str
    ) -> task_pb2.Task:
        settling = dispatcher_pb2.SettleDeadLetterRequest(
            name=fields.letter_name("name", name), action=action, request_id=fields.request_id(request_id)
        )
        response: dispatcher_pb2.SettleDeadLetterResponse = await ask(
            self._dispatcher.SettleDeadLetter, settling, caller
        )
        return response.task
