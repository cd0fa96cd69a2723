"""Fixtures of the worker's tests: agents to run, a fake ledger, and a worker in this process."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from waybill_worker import frames, guard, patience
from waybill_worker.attempt import Attempt
from waybill_worker.execution import Execution
from waybill_worker.pool import ProcessPool
from waybill_worker.worker import Worker
from worker_fake_ledger import FakeLedger, grant_of

from waybill.agent import AgentDefinition, load_agents
from waybill.ledger.records import Grant, Settlement

SAMPLES = "worker_sample_agents"


@pytest.fixture(scope="session")
def agents() -> dict[str, AgentDefinition]:
    """The sample agents."""
    return load_agents([SAMPLES], entry_points=False)


@pytest.fixture
async def pool() -> AsyncIterator[ProcessPool]:
    """Processes that know the sample agents."""
    opened = ProcessPool(frames.Setup((SAMPLES,), tuple(sys.path), "WARNING"))
    yield opened
    await opened.close()


@pytest.fixture
def fake() -> FakeLedger:
    """A ledger in memory that knows the worker."""
    return FakeLedger(known=True)


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Calls are made again at once."""
    monkeypatch.setattr(patience, "FIRST_WAIT_SECONDS", 0.001)
    monkeypatch.setattr(patience, "LONGEST_WAIT_SECONDS", 0.01)


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


@pytest.fixture
def runner(fake: FakeLedger, agents: dict[str, AgentDefinition], pool: ProcessPool) -> Runner:
    """Runs single attempts."""
    return Runner(fake, agents, pool)


@pytest.fixture
async def worker(fake: FakeLedger, agents: dict[str, AgentDefinition], pool: ProcessPool) -> AsyncIterator[Worker]:
    """A worker with two slots that runs until the test ends."""
    made = Worker(fake, agents, pool, name="w", slots=2)
    running = asyncio.create_task(made.run("127.0.0.1:1"))
    yield made
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
