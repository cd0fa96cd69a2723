"""Fixtures of the worker's tests: agents to run, a fake ledger, and a worker in this process."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from model_server import ModelServer
from waybill_worker import frames, patience
from waybill_worker.pool import ProcessPool
from waybill_worker.worker import Worker
from worker_fake_ledger import FakeLedger
from worker_models import models_of
from worker_process import Process, StartProcess
from worker_runner import Runner
from worker_tasks import ticking

from waybill.agent import AgentDefinition, load_agents
from waybill.ledger.ledger import Ledger
from waybill.models import course
from waybill.models.client import ModelClient

SAMPLES = "worker_sample_agents"
TESTED = (SAMPLES, "worker_model_agents", "worker_adding_agents")


@pytest.fixture(scope="session")
def agents() -> dict[str, AgentDefinition]:
    """The sample agents."""
    return load_agents(TESTED, entry_points=False)


@pytest.fixture
async def pool() -> AsyncIterator[ProcessPool]:
    """Processes that know the sample agents."""
    opened = ProcessPool(frames.Setup(TESTED, tuple(sys.path), "WARNING"))
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
    monkeypatch.setattr(course, "FIRST_REST_SECONDS", 0.001)


@pytest.fixture
async def server() -> AsyncIterator[ModelServer]:
    """A server of models that does as it is told."""
    async with ModelServer() as started:
        yield started


@pytest.fixture
async def models(server: ModelServer) -> AsyncIterator[ModelClient]:
    """The client of a model on that server, at two micro-dollars for a token that is asked and eight for one told."""
    client = ModelClient(models_of(server))
    yield client
    await client.close()


@pytest.fixture
def runner(fake: FakeLedger, agents: dict[str, AgentDefinition], pool: ProcessPool) -> Runner:
    """Runs single attempts."""
    return Runner(fake, agents, pool)


@pytest.fixture
def modelled(fake: FakeLedger, agents: dict[str, AgentDefinition], pool: ProcessPool, models: ModelClient) -> Runner:
    """Runs single attempts that have a model."""
    return Runner(fake, agents, pool, models)


@pytest.fixture
async def worker(fake: FakeLedger, agents: dict[str, AgentDefinition], pool: ProcessPool) -> AsyncIterator[Worker]:
    """A worker with two slots that runs until the test ends."""
    made = Worker(fake, agents, pool, name="w", slots=2)
    running = asyncio.create_task(made.run("127.0.0.1:1"))
    yield made
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


@pytest.fixture
def start_process(embedded_url: str, tmp_path: Path) -> Iterator[StartProcess]:
    """Starts worker processes on the embedded store; whatever still runs at the end is killed."""
    started: list[Process] = []

    def begin(name: str = "w", **environment: str) -> Process:
        started.append(Process(embedded_url, tmp_path / f"{name}.log", name, **environment))
        return started[-1]

    yield begin
    for process in started:
        with process.popen:
            process.popen.kill()


@pytest.fixture
async def live_ledger(embedded_url: str) -> AsyncIterator[Ledger]:
    """A ledger on the store of the worker processes, where time goes by."""
    opened = Ledger(embedded_url)
    async with ticking(opened):
        yield opened
    await opened.close()
