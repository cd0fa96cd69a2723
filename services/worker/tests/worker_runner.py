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


class Runner:
    """Runs single attempts that the ledger counts as held."""

    def __init__(self, fake: FakeLedger, agents: dict[str, AgentDefinition], pool: ProcessPool) -> None:
        self.ledger = fake
        self._execution = Execution(fake, "w.1", agents, pool)

    def start(self, grant: Grant) -> tuple[Attempt, asyncio.Future[Settlement | None]]:
        """The attempt, and what it comes to."""
        guard.install(asyncio.get_running_loop())
        self.ledger.held[grant.ref] = (grant, 1)
        ended: asyncio.Future[Settlement | None] = asyncio.get_running_loop().create_future()
        return Attempt(grant, self._execution, lambda _, settlement: ended.set_result(settlement)), ended

    async def run(self, agent: str, input: object = None, **options: object) -> Settlement:
        """What one attempt comes to."""
        _, ended = self.start(grant_of(agent, input, **options))  # type: ignore[arg-type]
        settlement = await asyncio.wait_for(ended, 30)
        assert settlement is not None
        return settlement
