"""The main job with a model: planner, analyst and writer use it, each call is paid for once, and a fault of it is fatal
only to what cannot be done without it.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest
from model_plans import KEY, PLAN, calls_of, environment_of, kind_of, rule
from model_server import Behaviour, ModelServer

from waybill.client import Client
from waybill.core.task import EventType, TaskState

GOAL = "What are tides?"
NOTES = {"name": "tides.md", "text": "# Tides\n\nTides are the rise and fall of sea levels caused by the Moon.\n"}


async def ended(suite, **spec: Any) -> tuple[dict[str, Any], list, list[dict[str, Any]]]:
    """A task at its end, its events, and its model calls."""
    async with httpx.AsyncClient(base_url=suite.http) as http, Client(suite.address) as client:
        accepted = await http.post("/v1/tasks", json={"goal": GOAL, "documents": [NOTES], **spec})
        assert accepted.status_code in (200, 201), accepted.text
        name = accepted.json()["name"]
        events = [event async for event in client.watch(name)]
        return (await http.get(f"/v1/{name}")).json(), events, await calls_of(http, name)


def told(events: list) -> list[str]:
    """Why the planner went on without the model."""
    kind = EventType.PLANNING_PROGRESS
    return [event.failure.reason for event in events if event.type is kind and event.failure is not None]


def names_of(calls: list[dict[str, Any]], steps: list[str]) -> list[str]:
    """What the provider was told of calls: of the planner (step 0), or of these steps."""
    found = []
    for call in calls:
        _, task, *step = call["step"].split("/")
        number = steps.index(step[1]) + 1 if step else 0
        found.append(f"{task}/{number}/{call['attempt']}/{call['call']}")
    return sorted(found)


def by_planner(calls: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [call for call in calls if "/steps/" not in call["step"]]


def tokens(bill: list) -> tuple[int, int]:
    return sum(item.prompt_tokens for item in bill), sum(item.completion_tokens for item in bill)


async def test_make_run_uses_the_model_and_its_json_says_what_that_used(tmp_path: Path) -> None:
    (tmp_path / "tides.md").write_text(NOTES["text"])
    async with ModelServer(rule(), api_key=KEY) as server:
        command = [sys.executable, "-m", "waybill.cli.main", "run", "--json", "--goal", GOAL]
        options = ["--sources", str(tmp_path / "tides.md"), "--data-dir", str(tmp_path / "data")]
        process = await asyncio.create_subprocess_exec(
            *command,
            *options,
            env={**os.environ, **environment_of(server)},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        async with asyncio.timeout(120):
            out, err = await process.communicate()
        assert process.returncode == 0, err.decode()
        (line,) = out.decode().splitlines()
        summary = json.loads(line)
        assert summary["state"] == "succeeded"
        assert "This report was written with a model" in summary["report"]
        used = summary["usage"]
        assert (used["input_tokens"], used["output_tokens"]) == tokens(server.bill)
        assert used["cost_microusd"] > 0
        assert [kind_of(request) for request in server.requests].count("plan") == 1
        assert b"planning_progress" in err
        assert KEY.encode() not in out + err
        logs = "".join(path.read_text() for path in (tmp_path / "data" / "logs").iterdir())
        assert KEY not in logs


async def test_each_call_of_a_task_is_in_the_ledger_as_the_provider_billed_it(modelled_suite, model_port: int) -> None:
    async with ModelServer(rule(), port=model_port, api_key=KEY) as server:
        task, events, calls = await ended(modelled_suite)
        assert task["state"] == "succeeded", task
        assert told(events) == []
        assert names_of(calls, [step["name"] for step in PLAN]) == sorted(item.call for item in server.bill)
        assert len(by_planner(calls)) == 1
        used = {(call["usage"]["input_tokens"], call["usage"]["output_tokens"]) for call in calls}
        assert used == {(item.prompt_tokens, item.completion_tokens) for item in server.bill}
        assert sum(call["usage"]["cost_microusd"] for call in calls) == task["usage"]["cost_microusd"]
        for kind, given in (("planner", True), ("worker", True), ("gateway", False), ("dispatcher", False)):
            assert ("WAYBILL_LLM_API_KEY" in modelled_suite.environment_of(kind)) is given


async def test_given_a_model_that_is_down_then_the_goal_is_planned_and_its_agents_fail_clearly(
    start, unused_port
) -> None:
    suite = start(environment=environment_of(f"http://127.0.0.1:{unused_port()}/v1"), workers=1)
    task, events, calls = await ended(suite)
    assert told(events) == ["MODEL_UNAVAILABLE"]
    assert (task["state"], task["failure"]["reason"]) == ("failed", "MODEL_UNAVAILABLE")
    assert "default cannot be reached" in task["failure"]["message"]
    retried = [event.step for event in events if event.type is EventType.STEP_RETRIED]
    assert retried == ["analyse-1", "analyse-1"]
    assert task["usage"]["cost_microusd"] == 0
    assert all(call["usage"]["cost_microusd"] == 0 for call in calls)


@pytest.mark.parametrize("text", ["no JSON", json.dumps({"steps": [{"name": "x", "agent": "python", "input": {}}]})])
async def test_given_plans_that_cannot_be_used_then_it_is_planned_without_the_model_and_the_rest_uses_it(
    modelled_suite, model_port: int, text: str
) -> None:
    async with ModelServer(rule(Behaviour(text=text)), port=model_port, api_key=KEY) as server:
        task, events, calls = await ended(modelled_suite)
        assert task["state"] == "succeeded"
        assert told(events) == ["MODEL_PLAN_INVALID"]
        assert len(by_planner(calls)) == 3
        assert (task["usage"]["input_tokens"], task["usage"]["output_tokens"]) == tokens(server.bill)


async def test_given_a_budget_of_nothing_then_no_call_is_made(modelled_suite, model_port: int) -> None:
    async with ModelServer(rule(), port=model_port, api_key=KEY) as server:
        task, events, calls = await ended(modelled_suite, budget={"max_cost_microusd": 1})
        assert told(events) == ["BUDGET_EXHAUSTED"]
        assert (task["state"], task["failure"]["reason"]) == ("failed", "BUDGET_EXHAUSTED")
        assert (server.bill, calls) == ([], [])
        assert TaskState(task["state"]) is TaskState.FAILED
