"""What callers of the gateway see of a full store, with every service as a real process."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import httpx
import pytest
from full_stores import DurableServer, fill_hard, limit_memory, running
from store_servers import Server, binary_of

from waybill.cli.datadir import DataDirectory
from waybill.cli.suite import READY_TIMEOUT_SECONDS, REDIS_URL_VARIABLE, Suite, SuiteOptions, lay_out
from waybill.cli.supervisor import Supervisor
from waybill.client import Client
from waybill.errors import ResourceExhausted, Unavailable
from waybill.resources import Task

AGENTS = Path(__file__).parents[1] / "integration" / "agents"
PATIENCE_SECONDS = 60.0
BIG = "x" * 10_000
SLOW_CHAIN = {
    "steps": [
        {"name": "first", "agent": "slow", "input": {"seconds": 1}},
        {"name": "second", "agent": "echo", "input": {"value": "${first.attempt}"}},
    ]
}
OpenSuite = Callable[[Server], AbstractAsyncContextManager[Suite]]


@pytest.fixture
def open_suite(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> OpenSuite:
    """Starts the services on a store, with the trial agents."""

    @asynccontextmanager
    async def begin(server: Server) -> AsyncIterator[Suite]:
        monkeypatch.setenv(REDIS_URL_VARIABLE, server.url)
        monkeypatch.setenv("WAYBILL_WORKER_AGENTS", "trial_agents")
        monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(AGENTS), os.environ.get("PYTHONPATH", "")]))
        with DataDirectory(tmp_path / "suite") as data:
            suite = lay_out(SuiteOptions(), data)
            async with Supervisor(suite.specs, data.logs, print) as supervisor:
                await supervisor.ready(READY_TIMEOUT_SECONDS)
                yield suite

    return begin


async def submitted_at_last(client: Client, request_id: str) -> Task:
    """Submit until the store takes it."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            try:
                return await client.submit(plan=SLOW_CHAIN, request_id=request_id)
            except (ResourceExhausted, Unavailable):
                await asyncio.sleep(0.1)


async def test_given_full_memory_then_callers_are_told_and_running_tasks_end_and_room_is_used_at_once(
    tmp_path: Path, open_suite: OpenSuite
) -> None:
    with running(Server(binary_of("embedded"), tmp_path / "store")) as server:
        async with open_suite(server) as suite, Client(suite.grpc_address) as client:
            going_on = [await client.submit(plan=SLOW_CHAIN) for _ in range(3)]
            fill_hard(server)
            with pytest.raises(ResourceExhausted) as refused:
                await client.submit(plan=SLOW_CHAIN, request_id="mine")
            assert refused.value.reason == "STORE_FULL"
            assert "try again" in refused.value.message
            async with httpx.AsyncClient() as http:
                answer = await http.post(f"{suite.http_address}/v1/tasks", json={"plan": SLOW_CHAIN})
            assert answer.status_code == 429
            assert "STORE_FULL" in answer.text
            for task in going_on:
                assert (await client.result(task))["value"] == 1
            assert {task.name async for task in client.list()} == {task.name for task in going_on}
            limit_memory(server, 0)
            assert (await client.result(await submitted_at_last(client, "mine")))["value"] == 1


async def test_given_a_full_disk_then_callers_are_told_and_nothing_accepted_is_lost(
    tmp_path: Path, open_suite: OpenSuite
) -> None:
    options = ("--appendfsync", "always")
    with running(DurableServer(binary_of("embedded"), tmp_path / "store", options)) as server:
        async with open_suite(server) as suite:
            server.fill_disk(room_bytes=256 * 1024)
            accepted: list[Task] = []
            refused: dict[str, Unavailable] = {}
            async with Client(suite.grpc_address, patience_seconds=0.1) as client:
                while not server.ended:
                    request_id = f"request-{len(accepted) + len(refused)}"
                    try:
                        accepted.append(await client.submit(plan=SLOW_CHAIN, input=BIG, request_id=request_id))
                    except Unavailable as error:
                        refused[request_id] = error
            assert accepted
            assert all("try again" in error.message for error in refused.values())
            server.start()
            async with Client(suite.grpc_address) as client:
                repeated = [
                    await client.submit(plan=SLOW_CHAIN, input=BIG, request_id=request_id) for request_id in refused
                ]
                for task in [*accepted, *repeated]:
                    assert (await client.result(task))["value"] == 1
                names = {task.name async for task in client.list()}
            assert names == {task.name for task in [*accepted, *repeated]}
