"""The ledger with the few reads that the dispatcher alone needs."""

from __future__ import annotations

from waybill.ledger.ledger import Ledger
from waybill.ledger.records import Request


class DispatcherLedger(Ledger):
    """The ledger as the dispatcher uses it. All methods raise Unavailable while the store is away."""

    async def task_input(self, task_id: str) -> bytes:
        """The input that a task was submitted with, JSON text."""
        (found,) = await self._fields(task_id, ["input"])
        return found or b"null"

    async def is_known(self, request: Request) -> bool:
        """Whether a call was made under this request id within the time for which it is remembered."""
        return bool(await self._store.command("EXISTS", self._key("call", request.tenant, request.id)))

    async def has_policy(self) -> bool:
        """Whether settings are written; a store that lost its data has none."""
        return bool(await self._store.command("EXISTS", self._key("policy")))
