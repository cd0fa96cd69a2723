"""Steering through the gateway of a real suite: by the client, over HTTP, and from the command line."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from typing import Any

import httpx
import pytest

from waybill.client import Client
from waybill.core.task import EventType, StepState, TaskState
from waybill.errors import AlreadyExists, FailedPrecondition, InvalidArgument

FAILS_ONCE = {
    "steps": [
        {"name": "kept", "agent": "echo", "input": {"value": 1}},
        {"name": "tried", "agent": "flaky", "after": ["kept"], "retry": {"max_attempts": 1}},
        {"name": "last", "agent": "echo", "input": {"value": "${tried.attempt}"}},
    ]
}
TWO_SLOW = {
    "steps": [
        {"name": "first", "agent": "slow", "input": {"seconds": 0.5}},
        {"name": "second", "agent": "echo", "input": {"value": "done"}, "after": ["first"]},
    ]
}
ASKS = {
    "steps": [
        {"name": "draft", "agent": "echo", "input": {"value": "Hello"}},
        {
            "name": "approve",
            "input": {"text": "${draft.value}"},
            "question": {"prompt": "Shall it be sent?", "answer_schema": {"type": "boolean"}},
        },
        {"name": "send", "agent": "echo", "input": {"value": "${approve}"}},
    ]
}


async def waybill(suite: Any, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "waybill.cli.main", *arguments, "--address", suite.address]
    return await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, check=False)


async def ended(client: Client, task: Any) -> Any:
    async for _event in client.watch(task):
        pass
    return await client.get(task)


async def test_a_paused_task_starts_nothing_until_it_is_resumed(suite) -> None:
    async with Client(suite.address) as client:
        task = await client.submit(plan=TWO_SLOW)
        paused = await client.pause(task, request_id="pause-1")
        assert paused.state is TaskState.PAUSED
        assert (await client.pause(task, request_id="pause-1")).state is TaskState.PAUSED
        with pytest.raises(AlreadyExists):
            await client.resume(task, request_id="pause-1")
        while (await client.steps(task))[0].state is not StepState.SUCCEEDED:
            await asyncio.sleep(0.05)
        assert (await client.get(task)).state is TaskState.PAUSED
        assert (await client.steps(task))[1].state is not StepState.RUNNING
        await client.resume(task)
        types = [event.type async for event in client.watch(task)]
        assert types.count(EventType.TASK_PAUSED) == types.count(EventType.TASK_RESUMED) == 1
        with pytest.raises(FailedPrecondition):
            await client.pause(task)
    refused = await waybill(suite, "pause", task.id)
    assert refused.returncode == 2


async def test_a_failed_task_runs_again_from_what_failed_and_its_attempts_are_told(suite) -> None:
    async with Client(suite.address) as client:
        task = await client.submit(plan=FAILS_ONCE)
        first = [event async for event in client.watch(task)]
        assert (await client.get(task)).state is TaskState.FAILED
        assert (await client.retry(task, request_id="again")).state is TaskState.RUNNING
        rest = [event async for event in client.watch(task, len(first) + 1, after_digest=first[-1].digest)]
        assert rest[0].type is EventType.TASK_RETRIED
        assert "kept" not in {event.step for event in rest}
        assert (await client.get(task)).output["value"] == 2
        whole = [event async for event in client.watch(task)]
        assert whole == first + rest
        attempts = await client.attempts(task, "tried")
        assert [attempt.state for attempt in attempts] == [StepState.FAILED, StepState.SUCCEEDED]
        assert attempts[0].failure is not None
        assert all(attempt.worker and attempt.usage.input_tokens == 10 for attempt in attempts)
    shown = await waybill(suite, "show", task.id, "--attempts")
    assert shown.stdout.count("AGENT_ERROR") == 1
    async with httpx.AsyncClient(base_url=suite.http) as http:
        over_http = (await http.get(f"/v1/{task.name}/steps/tried/attempts")).json()["attempts"]
        assert [attempt["state"] for attempt in over_http] == ["failed", "succeeded"]
        seen = {"Last-Event-ID": str(whole[-1].sequence)}
        assert (await http.get(f"/v1/{task.name}/events", headers=seen)).status_code == 204


async def test_failed_tasks_are_listed_and_retried_in_bulk(suite) -> None:
    labels = {"batch": "bulk"}
    async with Client(suite.address) as client:
        tasks = [await client.submit(plan=FAILS_ONCE, labels=labels, template="daily") for _ in range(3)]
        await client.submit(plan=FAILS_ONCE, labels={"batch": "other"})
        for task in tasks:
            assert (await ended(client, task)).state is TaskState.FAILED
        wanted = {"labels": labels, "agent": "flaky", "template": "daily", "created_from": tasks[0].create_time}
        listed = [task.name async for task in client.list([TaskState.FAILED], **wanted)]
        assert listed == [task.name for task in reversed(tasks)]
        retried = await waybill(
            suite, "retry", "--failed", "--label", "batch=bulk", "--agent", "flaky", "--since", "1h"
        )
        assert retried.stdout.split() == listed
        for task in tasks:
            assert (await ended(client, task)).state is TaskState.SUCCEEDED
        assert [name async for name in client.retry_many([TaskState.FAILED], labels=labels)] == []


async def test_a_person_is_asked_and_answers(suite) -> None:
    async with Client(suite.address) as client:
        task = await client.submit(plan=ASKS)
        async for event in client.watch(task):
            if event.type is EventType.STEP_WAITING:
                assert (event.step, event.message) == ("approve", "Shall it be sent?")
                break
        step = (await client.steps(task))[1]
        assert (step.state, step.question_input) == (StepState.WAITING, {"text": "Hello"})
        shown = await waybill(suite, "show", task.id)
        assert "Shall it be sent?" in shown.stdout
        with pytest.raises(InvalidArgument):
            await client.answer(task, "approve", "yes")
        async with httpx.AsyncClient(base_url=suite.http) as http:
            refused = await http.post(f"/v1/{task.name}/steps/approve:answer", json={"answer": 5})
            assert refused.status_code == 400
            answered = await http.post(f"/v1/{task.name}/steps/approve:answer", json={"answer": True})
            assert answered.json()["output"] is True
        assert (await ended(client, task)).output["value"] is True
        with pytest.raises(FailedPrecondition):
            await client.answer(task, "approve", False)


async def test_an_agent_and_a_tenant_are_paused_and_resumed(suite) -> None:
    async with Client(suite.address, tenant="pausing") as client:
        assert (await client.pause_tenant()).paused
        task = await client.submit(plan=TWO_SLOW)
        assert (await client.steps(task))[0].state is StepState.READY
        resumed = await waybill(suite, "tenant", "resume", "--json", "--tenant", "pausing")
        assert json.loads(resumed.stdout) == {"name": "pausing", "paused": False}
        assert (await ended(client, task)).state is TaskState.SUCCEEDED
        paused = await waybill(suite, "agents", "pause", "slow")
        assert paused.stdout == "agents/slow paused\n"
        held = await client.submit(plan=TWO_SLOW)
        assert {agent.id: agent.paused for agent in await client.agents()}["slow"]
        assert (await client.steps(held))[0].state is StepState.READY
        assert not (await client.resume_agent("slow")).paused
        assert (await ended(client, held)).state is TaskState.SUCCEEDED
