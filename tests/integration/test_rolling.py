"""Rolling restarts of every service under load: no caller sees an error, and no task is lost."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from chaos.process import Process, ProcessSpec

from waybill import Client
from waybill.cli import probes
from waybill.cli.ports import LOOPBACK, free_ports
from waybill.core.task import Document, EventType, TaskState

AGENTS = Path(__file__).parent / "agents"
GRACE_SECONDS = 8.0
KINDS = ("gateway", "dispatcher", "planner", "worker")
TWICE = ("1", "2")
CHAIN = {
    "steps": [
        {"name": "first", "agent": "echo", "input": {"value": "${task.input}"}},
        {"name": "second", "agent": "slow", "input": {"seconds": 0.5}, "after": ["first"]},
        {"name": "last", "agent": "echo", "input": {"value": "${first.value}"}, "after": ["second"]},
    ]
}
NOTES = [Document("tides.md", "text/markdown", b"A tide is the rise and fall of the sea.")]
WATCHERS = 4
READERS = 2
START_SECONDS = 60.0


@dataclass
class Load:
    """What callers do, what they have been promised, and what went wrong for them."""

    target: str
    accepted: dict[str, object] = field(default_factory=dict)
    """Names of accepted tasks, and what the last step of each must return; None for a goal."""
    watched: int = 0
    reads: int = 0
    errors: list[str] = field(default_factory=list)
    stopping: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self, call: Callable[[Client, str], Awaitable[None]], name: str) -> None:
        """Make a call again and again; any error is one that a caller saw."""
        number = 0
        async with Client(self.target) as client:
            while not self.stopping.is_set():
                try:
                    await call(client, f"{name}-{number}")
                except Exception as error:
                    self.errors.append(f"{name}-{number}: {error!r}")
                number += 1

    async def submit_and_watch(self, client: Client, value: str) -> None:
        """Submit a chain of steps and watch it to its end."""
        task = await client.submit(plan=CHAIN, input=value, request_id=value)
        self.accepted[task.name] = value
        events = [event async for event in client.watch(task)]
        assert [event.sequence for event in events] == list(range(1, len(events) + 1)), "the stream has a gap"
        assert events[-1].type is EventType.TASK_FINISHED, "the stream ended before the task did"
        self.watched += 1

    async def ask(self, client: Client, value: str) -> None:
        """Submit a goal, which has to be planned, and wait for its result."""
        task = await client.submit(goal="What is a tide?", documents=NOTES, request_id=value)
        self.accepted[task.name] = None
        assert "tide" in (await client.result(task))["report"]
        self.watched += 1

    async def read(self, client: Client, _value: str) -> None:
        """Read what there is."""
        async for task in client.list(page_size=5):
            assert (await client.get(task)).name == task.name
            await client.steps(task)
            await client.metrics(task)
            self.reads += 1
            if self.reads % 5 == 0:
                break
        await client.agents()
        await asyncio.sleep(0.05)


@dataclass
class Suite:
    """Two replicas of every service over one store."""

    processes: dict[str, Process]
    target: str

    async def ready(self, name: str) -> None:
        """Wait until a process does its work."""
        process = self.processes[name]
        async with asyncio.timeout(START_SECONDS):
            while not (process.running and await process.spec.ready()):
                await asyncio.sleep(0.05)

    async def restart(self, name: str) -> None:
        """SIGTERM, wait for the end, start again, wait until it works."""
        process = self.processes[name]
        assert await process.terminate(), f"{name} had to be killed; see {process.log}"
        assert process.exit_code == 0, f"{name} ended with {process.exit_code}; see {process.log}"
        process.start()
        await self.ready(name)


def targets(ports: list[int]) -> str:
    return "ipv4:" + ",".join(f"{LOOPBACK}:{port}" for port in ports)


def service(kind: str, number: str, port: int, environment: Mapping[str, str]) -> ProcessSpec:
    prefix = f"WAYBILL_{kind.upper()}"
    told = {
        f"{prefix}_GRPC_PORT": str(port),
        f"{prefix}_METRICS_PORT": "0",
        f"{prefix}_SHUTDOWN_GRACE_SECONDS": str(GRACE_SECONDS),
        **environment,
    }
    ready = probes.service_ready(f"{LOOPBACK}:{port}")
    return ProcessSpec(kind, f"{kind}-{number}", (sys.executable, "-m", f"waybill_{kind}"), ready, told)


@pytest.fixture
async def suite(embedded_url: str, tmp_path: Path) -> AsyncIterator[Suite]:
    """A suite that is ready; everything ends with the test."""
    ports = {kind: free_ports(2) for kind in KINDS}
    told = {
        "gateway": {"WAYBILL_GATEWAY_DISPATCHER_ADDRESS": targets(ports["dispatcher"])},
        "dispatcher": {"WAYBILL_DISPATCHER_PLANNER_ADDRESS": targets(ports["planner"])},
        "planner": {},
        "worker": {"WAYBILL_WORKER_AGENTS": "trial_agents", "PYTHONPATH": str(AGENTS)},
    }
    processes: dict[str, Process] = {}
    for kind in KINDS:
        for number, port in zip(TWICE, ports[kind], strict=True):
            own = {"WAYBILL_REDIS_URL": embedded_url, **told[kind]}
            if kind == "worker":
                own["WAYBILL_WORKER_NAME"] = f"worker-{number}"
            if kind == "gateway":
                own["WAYBILL_GATEWAY_HTTP_PORT"] = "0"
            spec = service(kind, number, port, own)
            processes[spec.name] = Process(spec, tmp_path / f"{spec.name}.log")
    running = Suite(processes, targets(ports["gateway"]))
    try:
        for process in processes.values():
            process.start()
        for name in processes:
            await running.ready(name)
        yield running
    finally:
        await asyncio.gather(*(process.kill() for process in processes.values()))


async def test_given_a_steady_load_when_every_replica_is_restarted_then_no_caller_sees_an_error(suite: Suite) -> None:
    load = Load(suite.target)
    work = [(load.submit_and_watch, f"watcher{number}") for number in range(WATCHERS)]
    work += [(load.read, f"reader{number}") for number in range(READERS)]
    work += [(load.ask, "asker")]
    callers = [asyncio.create_task(load.run(call, name)) for call, name in work]
    while load.watched < WATCHERS:
        await asyncio.sleep(0.05)
    for name in suite.processes:
        await suite.restart(name)
        before = load.watched
        while load.watched < before + WATCHERS and not load.errors:
            await asyncio.sleep(0.05)
    load.stopping.set()
    await asyncio.gather(*callers)
    assert load.errors == []
    assert load.reads > 0
    async with Client(suite.target) as client:
        for name, value in load.accepted.items():
            task = await client.get(name)
            assert task.state is TaskState.SUCCEEDED, (name, task.state, task.failure)
            assert value is None or task.output["value"] == value
