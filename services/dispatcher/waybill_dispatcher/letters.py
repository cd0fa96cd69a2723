"""Dead letters: steps that were given up because they kill whatever runs them, or cannot be read."""

from __future__ import annotations

from waybill.api.v1 import dispatcher_pb2, task_pb2
from waybill.errors import FailedPrecondition, InvalidArgument
from waybill.ledger.ledger import Ledger
from waybill.ledger.reads import ListPosition
from waybill.ledger.records import Request
from waybill_dispatcher import views
from waybill_dispatcher.attempts import folded
from waybill_dispatcher.history import History


class Letters:
    """The dead letters of a tenant."""

    def __init__(self, ledger: Ledger, history: History) -> None:
        self._ledger = ledger
        self._history = history

    async def page(
        self, tenant: str, limit: int, after: ListPosition | None
    ) -> tuple[list[task_pb2.DeadLetter], ListPosition | None]:
        """A page of letters, newest first, and where the next one starts, or None at the end."""
        letters, position = await self._ledger.dead_letters(tenant, limit, after)
        return [views.letter_message(letter) for letter in letters], position

    async def read(self, tenant: str, letter_id: str) -> task_pb2.DeadLetter:
        """A letter with its history. Raises NotFound."""
        letter = await self._ledger.dead_letter(tenant, letter_id)
        record = await self._history.stored(tenant, letter.task)
        (step,) = await self._ledger.steps(letter.task, letter.number, letter.number)
        attempts = (await folded(self._ledger, record)).of(step.name)
        return views.letter_message(letter, attempts, step.input)

    async def settle(self, request: Request, letter_id: str, task_id: str, action: int) -> task_pb2.Task:
        """Retry the task of a letter, or drop the letter alone; the task after the call. May be repeated under its
        request, though the letter is gone by then.

        Raises InvalidArgument, NotFound, AlreadyExists, ResourceExhausted, and FailedPrecondition for a retry while
        the task has not ended.
        """
        if action not in (dispatcher_pb2.DEAD_LETTER_ACTION_RETRY, dispatcher_pb2.DEAD_LETTER_ACTION_DROP):
            raise InvalidArgument.of_field("action", f"is {action}, which names nothing to do with a dead letter")
        await self._history.changeable(request.tenant, task_id)
        if action == dispatcher_pb2.DEAD_LETTER_ACTION_DROP:
            await self._ledger.drop_letter(request.tenant, letter_id, request)
        else:
            await self._retry(request, letter_id, task_id)
        return await self._history.task(request.tenant, task_id)

    async def _retry(self, request: Request, letter_id: str, task_id: str) -> None:
        # A call that is repeated finds no letter any more, and perhaps the next one of the same step.
        if not await self._ledger.is_known(request):
            await self._ledger.dead_letter(request.tenant, letter_id)
            state = (await self._history.stored(request.tenant, task_id)).state
            if not state.ended:
                raise FailedPrecondition(f"the task has not ended yet: it is {state}; cancel it, or wait for its end")
        await self._ledger.retry(task_id, request)
