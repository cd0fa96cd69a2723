"""What operators and clients ask of tasks that exist: to stop, pause, go on, run again, be answered, be decided.

Each call names a `Request`, under which it may be repeated: after `Unavailable` make it again. A request id that stands
for another call is refused with AlreadyExists.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from waybill.core.task import EffectState, StepState, TaskState
from waybill.errors import AlreadyExists, FailedPrecondition, InvalidArgument, NotFound, ResourceExhausted
from waybill.ledger.connection import Part
from waybill.ledger.feed import FeedReads
from waybill.ledger.records import Request

ANYBODY = Request("", "")
"""A request without an id: the call is made as often as it is sent."""
REUSED = "request_id was used before for another call; choose a new one"


class PauseKind(StrEnum):
    """What else than a task can be paused."""

    AGENT = "agent"
    TENANT = "tenant"


class Steering(FeedReads):
    """The calls that steer one partition's tasks."""

    async def cancel(self, task_id: str, request: Request = ANYBODY) -> TaskState:
        """Stop a task; the state after the call. Raises NotFound, and FailedPrecondition if it ended otherwise."""
        return await self._steer("cancel", task_id, request)

    async def pause(self, task_id: str, request: Request = ANYBODY) -> TaskState:
        """Start nothing more of a running task. Raises NotFound, and FailedPrecondition unless it runs or is paused."""
        return await self._steer("pause_task", task_id, request)

    async def resume(self, task_id: str, request: Request = ANYBODY) -> TaskState:
        """Let a paused task go on. Raises NotFound, and FailedPrecondition unless it runs or is paused."""
        return await self._steer("resume_task", task_id, request)

    async def retry(self, task_id: str, request: Request = ANYBODY) -> TaskState:
        """Run a failed or cancelled task again from what did not succeed; one that runs again already is left alone.

        Raises NotFound, FailedPrecondition if it succeeded, is stopping or has yet to begin, ResourceExhausted if the
        store is full.
        """
        return await self._steer("retry_task", task_id, request)

    async def answer(self, task_id: str, number: int, answer: bytes, request: Request = ANYBODY) -> TaskState:
        """Give step `number` its answer, JSON text; the state of the task after the call.

        Raises NotFound, FailedPrecondition if the step does not wait for an answer, and InvalidArgument if it waits for
        more money and the answer is no sum.
        """
        reply = await self._call("answer_step", task_id, request.tenant, request.id, number, answer)
        if reply[0] == b"garbled":
            raise InvalidArgument.of_field("answer", f'must be {{"add_microusd": n}}, n from 0 to {reply[1]}')
        if reply[0] == b"wrong":
            raise FailedPrecondition(f"the step does not wait for an answer: it is {StepState(reply[1].decode())}")
        return TaskState(_checked(reply, task_id).decode())

    async def decide_effect(
        self, task_id: str, number: int, key: str, state: EffectState, result: bytes, request: Request = ANYBODY
    ) -> None:
        """Say that an unknown effect of step `number` is DONE, with its result (JSON text), or FAILED.

        Raises NotFound, and FailedPrecondition if the effect is not unknown.
        """
        reply = await self._call("decide_effect", task_id, request.tenant, request.id, number, key, state.value, result)
        if reply[0] == b"wrong":
            raise FailedPrecondition(f"the effect is not unknown: it is {EffectState(reply[1].decode())}")
        _checked(reply, f"{task_id} with effect {key!r} of step {number}")

    async def set_paused(self, kind: PauseKind, name: str, paused: bool, request: Request = ANYBODY) -> None:
        """Start nothing more of an agent or a tenant, or let it go on."""
        reply = await self._call("set_paused", kind.value, name, int(paused), request.tenant, request.id)
        if reply == b"reused":
            raise AlreadyExists(REUSED)

    async def drop_letter(self, tenant: str, letter_id: str, request: Request = ANYBODY) -> None:
        """Remove a dead letter. Raises NotFound."""
        reply = await self._call("drop_letter", tenant, letter_id, request.tenant, request.id)
        if reply == b"reused":
            raise AlreadyExists(REUSED)
        if reply == b"missing":
            raise NotFound(f"there is no dead letter {letter_id}")

    async def _steer(self, function: str, task_id: str, request: Request, *arguments: Part) -> TaskState:
        reply = await self._call(function, task_id, request.tenant, request.id, *arguments)
        if reply[0] == b"wrong":
            raise FailedPrecondition(f"the state of the task does not allow that: it is {reply[1].decode()}")
        return TaskState(_checked(reply, task_id).decode())


def _checked(reply: Any, what: str) -> bytes:
    """The state that a reply tells. Raises what else it tells."""
    match reply[0]:
        case b"missing":
            raise NotFound(f"there is no task {what}")
        case b"reused":
            raise AlreadyExists(REUSED)
        case b"full":
            raise ResourceExhausted("the store is full; try again when tasks have ended or expired")
    state: bytes = reply[1]
    return state
