"""Tasks that are submitted and followed in one call, by both clients, on the whole suite and while parts of it die."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from waybill import Client, SyncClient
from waybill.core.task import EventType, StepState, TaskState
from waybill.testing import run_plan

AGENTS = Path(__file__).parent / "agents"
CHAIN = {
    "steps": [
        {"name": "first", "agent": "slow", "input": {"seconds": 1}},
        {"name": "last", "agent": "echo", "input": {"value": "done"}, "after": ["first"]},
    ]
}
EVERYTHING = {
    "failure_policy": "continue",
    "steps": [
        {"name": "tried", "agent": "flaky", "input": {"failures": 1}, "retry": {"initial_backoff_ms": 1}},
        {"name": "approve", "input": {"tried": "${tried}"}, "question": {"prompt": "Go on?"}},
        {"name": "map", "agent": "mapper", "input": {"items": [1, 2]}, "when": ["${approve}"]},
        {"name": "sum", "agent": "add", "input": {"values": "${map}"}},
        {"name": "never", "agent": "echo", "when": ["${task.input.never}"]},
        {"name": "known", "agent": "echo", "input": {"value": "${never}"}, "allow_skipped": True},
        {"name": "broken", "agent": "hopeless"},
        {"name": "lost", "agent": "echo", "after": ["broken"]},
    ],
}


@pytest.mark.parametrize("victim", ["store", "dispatcher", "gateway"])
async def test_given_a_run_when_a_process_is_killed_then_it_goes_on_without_a_gap(start, victim: str) -> None:
    suite = start()
    async with Client(suite.address) as client, client.run(plan=CHAIN) as run:
        seen = []
        async for event in run:
            seen.append(event.sequence)
            if event.type is EventType.STEP_STARTED and event.step == "first" and event.attempt == 1:
                suite.kill(victim)
        assert (await run.result())["value"] == "done"
        assert seen == list(range(1, run.task.last_sequence + 1))
        assert [task.id async for task in client.list()] == [run.task.id]


def test_given_a_waiting_client_when_the_gateway_is_killed_then_it_goes_on_too(start) -> None:
    suite = start()
    with SyncClient(suite.address) as client, client.run(plan=CHAIN) as run:
        fractions = []
        for progress in run.progress():
            fractions.append(progress.fraction)
            if "first" in progress.messages:
                suite.kill("gateway")
                break
        assert run.result()["value"] == "done"
        assert fractions[0] == 0.0
        assert run.task.state is TaskState.SUCCEEDED


def test_a_plan_comes_to_the_same_in_memory_and_on_the_suite(suite, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(AGENTS)
    memory = asyncio.run(run_plan(EVERYTHING, ["trial_agents"], answers={"approve": True}))
    with SyncClient(suite.address) as client:
        run = client.run(plan=EVERYTHING)
        last = None
        for event in run:
            if event.type is EventType.STEP_WAITING:
                client.answer(run.task, event.step, True)
            last = event
        steps = {step.id: step for step in client.steps(run.task)}
    assert last is not None
    assert last.type is EventType.TASK_FINISHED
    assert {name: step.state for name, step in memory.steps.items()} == {
        name: step.state for name, step in steps.items()
    }
    assert memory.steps["lost"].state is StepState.SKIPPED
    for name, step in memory.steps.items():
        told: Any = steps[name]
        assert (step.output, step.attempts, step.usage) == (told.output, told.attempt, told.usage), name
    assert (memory.state, memory.failure, memory.usage) == (run.task.state, run.task.failure, run.task.usage)
