"""The loop of the agent `tools` on a real ledger, in workers that are killed at any moment: no effect happens twice."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pytest
from mcp_test_servers import effects_of, stdio_entry, write_config
from model_answers import Behaviour, Request
from model_server import ModelServer
from worker_process import Process, StartProcess
from worker_tasks import ended, step, steps_of, submit

from waybill.agent import AgentDefinition, load_agents
from waybill.core.budget import TaskPolicy
from waybill.core.task import EffectState, TaskState
from waybill.ledger.ledger import Ledger
from waybill.ledger.records import TaskRecord

MODEL = {"WAYBILL_LLM_MODEL": "gpt-4o-mini", "WAYBILL_LLM_API_KEY": "key"}


@dataclass
class Scene:
    """Workers with one MCP server, what that has done, and what the model was asked."""

    ledger: Ledger
    model: ModelServer
    start_process: StartProcess
    agents: dict[str, AgentDefinition]
    folder: Path
    workers: list[Process] = field(default_factory=list)
    turns: list[Any] = field(default_factory=list)
    slow: set[int] = field(default_factory=set)
    """Turns for which the model takes for ever, the next time it is asked."""

    def start(self) -> Process:
        """A worker: the next one takes over at once what the one before it held."""
        self.workers.append(
            self.start_process(
                WAYBILL_WORKER_AGENTS="waybill_worker.agents.tools",
                WAYBILL_WORKER_MCP_CONFIG_FILE=str(self.folder / "mcp.json"),
                WAYBILL_LLM_BASE_URL=self.model.url,
                **MODEL,
            )
        )
        return self.workers[-1]

    async def submit(self, *turns: Any, policy: TaskPolicy | None = None) -> str:
        """A task of one step. Each turn of its model is a list of calls, each a tool and its arguments, or a text."""
        self.turns = list(turns)
        given = {"goal": "pay the bills", "servers": ["mail"], "max_turns": 20}
        return await submit(self.ledger, self.agents, step("pay", "tools", given), policy=policy)

    def answer(self, request: Request) -> Behaviour:
        """The rule of the model: what it says depends on how often it has spoken in this conversation."""
        turn = sum(message["role"] == "assistant" for message in request.body["messages"])
        wanted = self.turns[turn]
        late = 3600.0 if turn in self.slow else 0.0
        self.slow.discard(turn)
        if isinstance(wanted, str):
            return Behaviour(text=wanted, first_token_seconds=late)
        calls = tuple((f"mail__{name}", json.dumps(arguments)) for name, arguments in wanted)
        return Behaviour(tool_calls=calls, first_token_seconds=late)

    def paid(self) -> list[Any]:
        """The amounts that were really paid."""
        return [arguments.get("amount", arguments.get("key")) for _, arguments in effects_of(self.folder / "effects")]

    def asked(self) -> list[int]:
        """For which turns the model was asked."""
        return [sum(one["role"] == "assistant" for one in request.body["messages"]) for request in self.model.requests]

    def servers(self) -> list[psutil.Process]:
        """The server processes that run, and what they have started."""
        pids = (self.folder / "pids").read_text().split()
        return [psutil.Process(int(pid)) for pid in pids if psutil.pid_exists(int(pid))]

    async def until(self, paid: list[Any], asked: list[int] | None = None) -> None:
        """Return once so much was paid and asked."""
        async with asyncio.timeout(90):
            while self.paid() != paid or (asked is not None and self.asked() != asked):
                await asyncio.sleep(0.02)

    async def unknown(self, task_id: str) -> list[str]:
        """The keys of the effects of which nobody knows."""
        return [item.key for item in await self.ledger.effects(task_id) if item.effect.state is EffectState.UNKNOWN]

    async def ended(self, task_id: str) -> TaskRecord:
        """The task, once it has ended; no server outlives that for long."""
        record = await asyncio.wait_for(ended(self.ledger, task_id), 90)
        _, alive = await asyncio.to_thread(psutil.wait_procs, self.servers(), 20)
        assert not alive
        return record


@pytest.fixture
async def scene(live_ledger: Ledger, start_process: StartProcess, tmp_path: Path) -> AsyncIterator[Scene]:
    """A server that starts a process of its own, and whose word is trusted."""
    declared = {"send": ["to", "cc"]}
    pids = str(tmp_path / "pids")
    entry = stdio_entry(tmp_path / "effects", "--pids", pids, trust_annotations=True, recipients=declared)
    write_config(tmp_path / "mcp.json", mail=entry)
    agents = load_agents(["waybill_worker.agents.tools"], entry_points=False)
    async with ModelServer() as model:
        made = Scene(live_ledger, model, start_process, agents, tmp_path)
        model.rule = made.answer
        yield made


def pay(amount: int, wait: str = "") -> list[Any]:
    """A call of the model."""
    return ["pay", {"amount": amount, **({"wait": wait} if wait else {})}]


async def test_given_a_worker_killed_in_a_call_when_its_step_runs_again_then_a_person_decides_and_it_goes_on(
    scene: Scene,
) -> None:
    never = str(scene.folder / "never")
    task_id = await scene.submit([pay(1)], [pay(2, never), pay(3)], "all paid")
    scene.start()
    await scene.until([1, 2])

    scene.workers[0].popen.kill()
    scene.start()

    assert (await scene.ended(task_id)).state is TaskState.FAILED
    (record,) = (await steps_of(scene.ledger, task_id)).values()
    assert record.failure is not None
    assert record.failure.reason == "EFFECT_UNKNOWN"
    assert (scene.paid(), scene.asked()) == ([1, 2], [0, 1])
    (key,) = await scene.unknown(task_id)
    assert key.startswith("call:2.1:mail__pay:")

    await scene.ledger.decide_effect(task_id, 1, key, EffectState.DONE, b'"paid by hand"')
    await scene.ledger.retry(task_id)

    assert (await scene.ended(task_id)).state is TaskState.SUCCEEDED
    assert (scene.paid(), scene.asked()) == ([1, 2, 3], [0, 1, 2])
    output = json.loads((await steps_of(scene.ledger, task_id))["pay"].output)
    assert (output["text"], [use["failed"] for use in output["calls"]]) == ("all paid", [False] * 3)


async def test_given_a_worker_killed_between_calls_when_its_step_runs_again_then_it_goes_on_where_it_was(
    scene: Scene,
) -> None:
    scene.slow = {1}
    task_id = await scene.submit([pay(1), pay(2)], [pay(3)], "all paid")
    scene.start()
    await scene.until([1, 2], [0, 1])

    scene.workers[0].popen.kill()
    scene.start()

    assert (await scene.ended(task_id)).state is TaskState.SUCCEEDED
    assert (scene.paid(), scene.asked()) == ([1, 2, 3], [0, 1, 1, 2])


async def test_given_a_worker_killed_in_a_call_that_bears_repetition_when_its_step_runs_again_then_it_is_repeated(
    scene: Scene,
) -> None:
    gate = scene.folder / "gate"
    task_id = await scene.submit([pay(1), ["put", {"key": "k", "wait": str(gate)}]], "all put")
    scene.start()
    await scene.until([1, "k"])

    scene.workers[0].popen.kill()
    gate.touch()
    scene.start()

    assert (await scene.ended(task_id)).state is TaskState.SUCCEEDED
    assert scene.paid() == [1, "k", "k"]


async def test_given_a_task_cancelled_in_a_call_when_it_ends_then_its_server_is_gone_and_the_call_in_doubt(
    scene: Scene,
) -> None:
    task_id = await scene.submit([pay(1, str(scene.folder / "never"))], "all paid")
    scene.start()
    await scene.until([1])

    await scene.ledger.cancel(task_id)

    assert (await scene.ended(task_id)).state is TaskState.CANCELLED
    assert len(await scene.unknown(task_id)) == 1
    assert scene.paid() == [1]


async def test_given_a_policy_when_a_worker_runs_the_step_then_it_holds_and_watchers_are_told(scene: Scene) -> None:
    policy = TaskPolicy(allowed_tools=("mail/send", "mail/search"), allowed_recipients=("ann@example.org",))
    sendings = [["send", {"to": ["ann@example.org"], "cc": to}] for to in ("mallory@evil.example", "ann@example.org")]
    task_id = await scene.submit([pay(1), *sendings], "sent", policy=policy)
    scene.start()

    assert (await scene.ended(task_id)).state is TaskState.SUCCEEDED
    assert [arguments["cc"] for _, arguments in effects_of(scene.folder / "effects")] == ["ann@example.org"]
    told = [event.message for event in await scene.ledger.events(task_id, 1, 100)]
    assert "refused mail/send: the task may not send to 'mallory@evil.example'" in told
    tools = scene.model.requests[0].body["tools"]
    assert [tool["function"]["name"] for tool in tools] == ["mail__search", "mail__send"]


@pytest.mark.parametrize("seed", range(3))
async def test_given_workers_killed_at_any_moment_when_the_task_has_succeeded_then_each_effect_happened_once(
    scene: Scene, seed: int
) -> None:
    chance = random.Random(seed)
    turns = [[pay(10 * turn + call) for call in range(3)] for turn in range(3)]
    task_id = await scene.submit(*turns, "all paid")

    async def kill_and_start() -> None:
        for _ in range(2):
            scene.start()
            seen = len(scene.paid())
            while len(scene.paid()) == seen and (await scene.ledger.task(task_id)).state is not TaskState.SUCCEEDED:
                await asyncio.sleep(0.01)
            await asyncio.sleep(chance.uniform(0, 0.02))
            scene.workers[-1].popen.kill()
        scene.start()

    killing = asyncio.create_task(kill_and_start())
    while True:
        record = await scene.ended(task_id)
        if record.state is TaskState.SUCCEEDED:
            break
        (key,) = await scene.unknown(task_id)  # a person looks what has happened, and says so
        turn, call = map(int, key.split(":")[1].split("."))
        happened = 10 * (turn - 1) + call - 1 in scene.paid()
        state, result = (EffectState.DONE, b'"paid"') if happened else (EffectState.FAILED, b"")
        await scene.ledger.decide_effect(task_id, 1, key, state, result)
        await scene.ledger.retry(task_id)
    await killing

    assert scene.paid() == [amount for turn in range(3) for amount in range(10 * turn, 10 * turn + 3)]
    calls = await scene.ledger.calls(task_id)
    known = {f"{task_id}/{call.step_number}/{call.attempt}/{call.number}" for call in calls}
    assert {billed.call for billed in scene.model.bill} <= known
