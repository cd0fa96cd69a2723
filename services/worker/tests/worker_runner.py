"""Runs single attempts, without a worker around them."""

from __future__ import annotations

import asyncio

from waybill_worker import guard
from waybill_worker.attempt import Attempt
from waybill_worker.execution import Execution
from waybill_worker.pool import ProcessPool
from worker_fake_ledger import FakeLedger, grant_of

from waybill.agent import AgentDefinition
from waybill.ledger.records import Grant, Settlement
from waybill.models.client import ModelClient


class CountedSlot:
    """Counts how often the slot was given back, and how often it was not taken again."""

    def __init__(self) -> None:
        self.given = self.out = 0

    def give_back(self) -> None:
        """The attempt waits."""
        self.given += 1
        self.out += 1

    def take_again(self) -> None:
        """It waits no longer."""
        self.out -= 1


class Runner:
    """Runs single attempts that the ledger counts as held."""

    def __init__(
        self,
        fake: FakeLedger,
        agents: dict[str, AgentDefinition],
        pool: ProcessPool,
        models: ModelClient | None = None,
    ) -> None:
        self.ledger = fake
        self.slot = CountedSlot()
        self._execution = Execution(fake, "w.1", agents, pool, models)

    def start(self, grant: Grant) -> tuple[Attempt, asyncio.Future[Settlement | None]]:
        """The attempt, and what it comes to."""
        guard.install(asyncio.get_running_loop())
        self.ledger.held[grant.ref] = (grant, 1)
        ended: asyncio.Future[Settlement | None] = asyncio.get_running_loop().create_future()
        return Attempt(grant, self._execution, lambda _, settlement: ended.set_result(settlement), self.slot), ended

    async def run(self, agent: str, input: object = None, **options: object) -> Settlement:
        """What one attempt comes to."""
        _, ended = self.start(grant_of(agent, input, **options))  # type: ignore[arg-type]
        settlement = await asyncio.wait_for(ended, 30)
        assert settlement is not None
        return settlement
