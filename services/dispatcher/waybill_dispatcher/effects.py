"""Effects: what agents did to the world outside, and a person's word on those of which nobody knows the end."""

from __future__ import annotations

from dataclasses import replace

from waybill.api.v1 import task_pb2
from waybill.core.limits import MAX_EFFECT_KEY_CHARS, MAX_EFFECT_RESULT_BYTES, MAX_LISTED_EFFECTS_BYTES
from waybill.core.task import EffectState
from waybill.errors import InvalidArgument, NotFound
from waybill.ledger.ledger import Ledger
from waybill.ledger.records import Request
from waybill.rpc.payloads import payload_defect
from waybill_dispatcher import views
from waybill_dispatcher.history import History

_DECISIONS: dict[int, EffectState] = {
    task_pb2.EFFECT_STATE_DONE: EffectState.DONE,
    task_pb2.EFFECT_STATE_FAILED: EffectState.FAILED,
}


class Effects:
    """The effects of tasks."""

    def __init__(self, ledger: Ledger, history: History) -> None:
        self._ledger = ledger
        self._history = history

    async def of(self, tenant: str, task_id: str) -> list[task_pb2.Effect]:
        """The effects of a task, by step and key. Raises NotFound, also for an archived task: they are not kept there.

        Effects of a large plan need not name all its steps, so only those that have any are read. Results past
        `MAX_LISTED_EFFECTS_BYTES` in all are left out, so that the list can always be sent.
        """
        await self._history.stored(tenant, task_id)
        found = await self._ledger.effects(task_id)
        names: dict[int, str] = {}
        for number in {item.number for item in found}:
            (step,) = await self._ledger.steps(task_id, number, number, payloads=False)
            names[number] = step.name
        found.sort(key=lambda item: (item.number, item.key))
        left_bytes = MAX_LISTED_EFFECTS_BYTES
        shown = []
        for item in found:
            size = len(item.effect.result)
            effect = item.effect if size <= left_bytes else replace(item.effect, result=b"")
            left_bytes -= len(effect.result)
            shown.append(views.effect_message(task_id, names[item.number], item.key, effect))
        return shown

    async def decide(
        self, request: Request, task_id: str, step_name: str, key: str, state: int, result: task_pb2.Payload
    ) -> task_pb2.Effect:
        """Say what became of an effect that nobody knows the end of; the effect after the call. May be repeated under
        its request.

        Raises InvalidArgument, NotFound, AlreadyExists, and FailedPrecondition if the effect is not unknown.
        """
        decided = _DECISIONS.get(state)
        if decided is None:
            raise InvalidArgument.of_field("state", "must be DONE or FAILED")
        if not 1 <= len(key) <= MAX_EFFECT_KEY_CHARS:
            raise InvalidArgument.of_field("key", f"must have 1 to {MAX_EFFECT_KEY_CHARS} characters")
        if decided is EffectState.FAILED and result.data:
            raise InvalidArgument.of_field("result", "is for an effect that happened; leave it out for FAILED")
        defect = payload_defect(result, MAX_EFFECT_RESULT_BYTES)
        if defect:
            raise InvalidArgument.of_field("result", defect)
        given = (result.data or b"null") if decided is EffectState.DONE else b""
        record = await self._history.changeable(request.tenant, task_id)
        step = await self._history.numbered_step(record, step_name)
        await self._ledger.decide_effect(task_id, step.number, key, decided, given, request)
        for item in await self._ledger.effects(task_id):
            if (item.number, item.key) == (step.number, key):
                return views.effect_message(task_id, step_name, key, item.effect)
        raise NotFound(f"there is no task {task_id}")
