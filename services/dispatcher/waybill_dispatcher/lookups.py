"""The ledger with the few reads that the dispatcher alone needs."""

from __future__ import annotations

import msgspec

from waybill.core.task import StepState
from waybill.errors import NotFound
from waybill.ledger.ledger import Ledger
from waybill.ledger.packing import STEP_STATES
from waybill.ledger.records import Request, TaskRecord

_STEPS_A_READ = 1_000


class DispatcherLedger(Ledger):
    """The ledger as the dispatcher uses it. All methods raise Unavailable while the store is away."""

    async def task_input(self, task_id: str) -> bytes:
        """The input that a task was submitted with, JSON text."""
        (found,) = await self._fields(task_id, ["input"])
        return found or b"null"

    async def step_states(self, task: TaskRecord) -> list[StepState]:
        """The states of all steps of a task, in the order of their numbers; reads nothing else of them."""
        states: list[StepState] = []
        for first in range(1, task.step_count + 1, _STEPS_A_READ):
            last = min(first + _STEPS_A_READ - 1, task.step_count)
            for run in await self._fields(task.id, [f"run:{number}" for number in range(first, last + 1)]):
                if run is None:
                    raise NotFound(f"there is no task {task.id}")
                states.append(STEP_STATES[msgspec.msgpack.decode(run)[0] - 1])
        return states

    async def is_known(self, request: Request) -> bool:
        """Whether a call was made under this request id within the time for which it is remembered."""
        return bool(await self._store.command("EXISTS", self._key("call", request.tenant, request.id)))

    async def has_policy(self) -> bool:
        """Whether settings are written; a store that lost its data has none."""
        return bool(await self._store.command("EXISTS", self._key("policy")))
