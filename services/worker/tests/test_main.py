"""The worker as a process: configured by its environment alone, and gone with all it started, however it ends."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

import grpc
import psutil
import pytest
from worker_process import StartProcess
from worker_tasks import ended, running, step, steps_of, submit

from waybill.agent import AgentDefinition
from waybill.api.v1 import worker_pb2, worker_pb2_grpc
from waybill.core.task import TaskState
from waybill.ledger.ledger import Ledger

Agents = dict[str, AgentDefinition]
Start = StartProcess


@pytest.fixture
def start(start_process: Start) -> Start:
    """Starts workers."""
    return start_process


@pytest.fixture
def ledger(live_ledger: Ledger) -> Ledger:
    """The ledger of these workers."""
    return live_ledger


async def all_gone(processes: list[psutil.Process]) -> None:
    _, alive = await asyncio.to_thread(psutil.wait_procs, processes, 20)
    assert not alive


async def test_given_running_steps_when_sigterm_comes_then_they_end_and_the_process_exits_with_zero(
    start: Start, ledger: Ledger, agents: Agents
) -> None:
    task_id = await submit(
        ledger, agents, step("wait", "sleeper", {"seconds": 0.5}), step("say", "printing", {"text": "HI"})
    )
    process = start()
    await running(ledger, task_id, "asleep")
    family = process.family()

    process.popen.send_signal(signal.SIGTERM)

    assert await process.exit_code() == 0
    assert (await steps_of(ledger, task_id))["wait"].output == b'"awake"'
    assert await ledger.workers() == []
    assert process.output() == b"", "what agents print goes to stderr"
    await all_gone(family)


@pytest.mark.parametrize(
    ("agent", "input"), [("deaf", {"times": 100}), ("blocked", {}), ("hanging", {}), ("sleeper", {})]
)
async def test_given_agents_that_do_not_end_when_sigterm_comes_then_the_process_does_and_hands_the_step_back(
    start: Start, ledger: Ledger, agents: Agents, agent: str, input: dict[str, int]
) -> None:
    task_id = await submit(ledger, agents, step("wait", agent, input))
    process = start(WAYBILL_WORKER_SHUTDOWN_GRACE_SECONDS="2")
    async with asyncio.timeout(60):
        while not any(event.message for event in await ledger.events(task_id, 1, 100)):
            await asyncio.sleep(0.02)
    family = process.family()

    process.popen.send_signal(signal.SIGTERM)

    assert await process.exit_code() == 0
    assert (await steps_of(ledger, task_id))["wait"].tries <= 1
    assert not (await ledger.task(task_id)).state.ended
    await all_gone(family)


async def test_given_agents_in_processes_when_the_worker_is_killed_then_none_outlives_it_and_another_goes_on(
    start: Start, ledger: Ledger, agents: Agents, tmp_path: Path
) -> None:
    note = tmp_path / "pids"
    doomed = await submit(ledger, agents, step("spin", "spinning", {"note": str(note)}))
    process = start()
    await running(ledger, doomed, "spinning")
    family = process.family()
    assert len(family) == 3, "the forker, the agent's process, and what the agent started"

    process.popen.kill()

    await all_gone(family)
    await ledger.cancel(doomed)
    task_id = await submit(ledger, agents, step("go", "pid-of-process"))
    start()
    assert (await ended(ledger, task_id)).state is TaskState.SUCCEEDED


async def test_given_a_second_process_of_the_same_name_when_the_first_died_then_its_step_runs_again_at_once(
    start: Start, ledger: Ledger, agents: Agents
) -> None:
    task_id = await submit(ledger, agents, step("wait", "sleeper", {"seconds": 1.0}))
    first = start("same")
    await running(ledger, task_id, "asleep")

    first.popen.kill()
    start("same")

    assert (await ended(ledger, task_id)).state is TaskState.SUCCEEDED
    assert (await steps_of(ledger, task_id))["wait"].attempt == 2


async def test_given_a_caller_when_it_asks_and_drains_then_the_worker_tells_and_takes_nothing_more(
    start: Start, ledger: Ledger, agents: Agents
) -> None:
    process = start(WAYBILL_WORKER_SLOTS="3")
    record = await process.record(ledger)
    async with grpc.aio.insecure_channel(record.address) as channel:
        stub = worker_pb2_grpc.WorkerServiceStub(channel)
        status = await stub.GetWorkerStatus(worker_pb2.GetWorkerStatusRequest())
        assert (status.worker, status.slots, status.running, status.draining) == (record.id, 3, 0, False)
        assert "echo" in status.agents

        await stub.DrainWorker(worker_pb2.DrainWorkerRequest())
        await stub.DrainWorker(worker_pb2.DrainWorkerRequest())

        status = await stub.GetWorkerStatus(worker_pb2.GetWorkerStatusRequest())
        assert status.draining
        async with asyncio.timeout(30):
            while await ledger.workers():
                await asyncio.sleep(0.05)
    process.popen.send_signal(signal.SIGTERM)
    assert await process.exit_code() == 0


async def test_given_a_module_that_does_not_exist_when_started_then_the_process_ends_and_names_it(
    start: Start,
) -> None:
    process = start(WAYBILL_WORKER_AGENTS="no_such_module")

    assert await process.exit_code() == 1
    assert "no_such_module" in process.log.read_text()


async def test_given_a_file_of_mcp_servers_that_will_not_do_when_started_then_the_process_ends_and_names_the_field(
    start: Start, tmp_path: Path
) -> None:
    file = tmp_path / "mcp.json"
    file.write_text('{"mcpServers": {"mail": {"command": "x", "recipient": {}}}}')
    process = start(WAYBILL_WORKER_MCP_CONFIG_FILE=str(file))

    assert await process.exit_code() == 1
    assert "mcpServers.mail.recipient" in process.log.read_text()


async def test_given_no_store_when_sigterm_comes_then_the_process_exits_with_zero(start: Start, ledger: Ledger) -> None:
    process = start(WAYBILL_REDIS_URL="redis://127.0.0.1:1/0")
    async with asyncio.timeout(60):
        while "waiting for it" not in process.log.read_text():
            await asyncio.sleep(0.05)

    process.popen.send_signal(signal.SIGTERM)

    assert await process.exit_code() == 0
