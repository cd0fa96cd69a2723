"""Worker processes with a model: killed in the middle of calls, and configured wrongly."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

import pytest
from model_server import Behaviour, ModelServer
from worker_models import assert_accounted
from worker_process import StartProcess
from worker_tasks import ended, step, submit

from waybill.agent import AgentDefinition
from waybill.core.budget import Budget
from waybill.core.task import CallState, TaskState
from waybill.ledger.ledger import Ledger

KEY = "sk-very-secret"
CONFIGURATION = """
[endpoints.default]
base_url = "{url}"
api_key_env = "PROVIDER_KEY"
[models.default]
endpoint = "default"
model = "test-model"
max_output_tokens = 100
input_usd_per_million = 2
output_usd_per_million = 8
"""


def configured(folder: Path, server: ModelServer, text: str = CONFIGURATION) -> dict[str, str]:
    """What a worker is told of its model."""
    file = folder / "models.toml"
    file.write_text(text.format(url=server.url))
    agents = "worker_sample_agents,worker_model_agents"
    return {"WAYBILL_LLM_CONFIG_FILE": str(file), "PROVIDER_KEY": KEY, "WAYBILL_WORKER_AGENTS": agents}


@pytest.mark.parametrize("agent", ["asker", "asker-in-process", "asker-in-thread"])
async def test_given_a_call_under_way_when_its_worker_is_killed_then_it_counts_at_its_worst_and_the_step_runs_again(
    start_process: StartProcess,
    live_ledger: Ledger,
    agents: dict[str, AgentDefinition],
    server: ModelServer,
    tmp_path: Path,
    agent: str,
) -> None:
    server.script.append(Behaviour(text="never ends", fault="stall"))
    budget = Budget(max_cost_microusd=100_000)
    task_id = await submit(live_ledger, agents, step("a", agent, {"stream": True}), budget=budget)
    environment = configured(tmp_path, server)
    process = start_process(**environment)
    async with asyncio.timeout(60):
        while not server.concurrent:
            assert process.popen.poll() is None, process.log.read_text()
            await asyncio.sleep(0.02)

    process.popen.send_signal(signal.SIGKILL)
    again = start_process(**environment)
    task = await ended(live_ledger, task_id)
    calls = await assert_accounted(live_ledger, server, task_id)

    assert task.state is TaskState.SUCCEEDED
    assert [(call.attempt, call.state) for call in calls] == [(1, CallState.ESTIMATED), (2, CallState.SETTLED)]
    assert len(server.requests) == 2
    assert all(request.headers["authorization"] == f"Bearer {KEY}" for request in server.requests)
    assert KEY not in process.log.read_text() + again.log.read_text()


async def test_given_a_call_under_way_when_its_worker_drains_then_the_call_is_accounted_before_it_ends(
    start_process: StartProcess,
    live_ledger: Ledger,
    agents: dict[str, AgentDefinition],
    server: ModelServer,
    tmp_path: Path,
) -> None:
    server.script.append(Behaviour(text="never ends", fault="stall"))
    task_id = await submit(live_ledger, agents, step("a", "asker"))
    process = start_process(**configured(tmp_path, server), WAYBILL_WORKER_SHUTDOWN_GRACE_SECONDS="0")
    async with asyncio.timeout(60):
        while not server.concurrent:
            assert process.popen.poll() is None, process.log.read_text()
            await asyncio.sleep(0.02)

    process.popen.send_signal(signal.SIGTERM)

    assert await process.exit_code() == 0
    (call,) = await live_ledger.calls(task_id)
    assert (call.state, call.attempt) == (CallState.ESTIMATED, 1)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (("[models.default]", "[model.default]"), "models"),
        (("PROVIDER_KEY", "NO_SUCH_KEY"), "NO_SUCH_KEY"),
        (('api_key_env = "PROVIDER_KEY"', f'api_key = "{KEY}"'), "api_key"),
    ],
)
async def test_given_a_wrong_configuration_when_started_then_the_process_ends_and_says_why_without_secrets(
    start_process: StartProcess, server: ModelServer, tmp_path: Path, change: tuple[str, str], told: str
) -> None:
    text = CONFIGURATION.format(url=server.url).replace(*change)

    process = start_process(**configured(tmp_path, server, text.replace("{", "{{")))

    assert await process.exit_code() != 0
    assert told in process.log.read_text()
    assert KEY not in process.log.read_text()
