"""The results of many tasks, while the processes that hand them on are killed: each exactly once."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import aclosing
from datetime import UTC, datetime, timedelta

import httpx
import pytest
from httpx_sse import aconnect_sse

from waybill.client import Client
from waybill.core.task import TaskState
from waybill.resources import Submission, Task

TASKS = 200


def submissions(label: str) -> list[Submission]:
    """Tasks that each return their number; some fail."""
    echo, bad = {"name": "only", "agent": "echo"}, {"name": "only", "agent": "hopeless"}
    return [
        Submission(plan={"steps": [bad if at % 10 == 9 else {**echo, "input": {"value": at}}]}, labels={"batch": label})
        for at in range(TASKS)
    ]


async def submitted(client: Client, label: str) -> list[str]:
    tasks = await client.submit_many(submissions(label))
    return [task.name for task in tasks if isinstance(task, Task)]


@pytest.mark.parametrize("by_name", [False, True])
async def test_given_processes_that_are_killed_when_results_are_followed_then_each_comes_once(
    start, by_name: bool
) -> None:
    suite = start()
    async with Client(suite.address) as client:
        other = await client.submit(plan={"steps": [{"name": "only", "agent": "echo"}]})
        names = await submitted(client, "red")
        assert len(names) == TASKS
        told: list[str] = []
        wanted = client.results(names) if by_name else client.results(labels={"batch": "red"})
        async with asyncio.timeout(120), aclosing(wanted) as results:
            async for result in results:
                told.append(result.task.name)
                at = names.index(result.task.name)
                if at % 10 == 9:
                    assert (result.task.state, result.task.failure.reason) == (TaskState.FAILED, "AGENT_PERMANENT")
                else:
                    assert result.task.output == {"value": at, "attempt": result.task.output["attempt"]}
                if len(told) == 20:
                    suite.kill("gateway")
                if len(told) == 80:
                    suite.kill("dispatcher")
                if len(told) == TASKS and not by_name:
                    break
        assert Counter(told) == Counter(names)
        assert other.name not in told


async def test_given_a_cursor_of_a_stream_that_was_left_then_http_goes_on_after_it(start) -> None:
    suite = start()
    async with Client(suite.address) as client:
        names = await submitted(client, "blue")
        left, cursor = [], ""
        async with aclosing(client.results(labels={"batch": "blue"})) as results:
            async for result in results:
                left.append(result.task.name)
                cursor = result.cursor
                if len(left) == 50:
                    break
    url = f"{suite.http}/v1/tasks:watch?label=batch%3Dblue"
    async with (
        asyncio.timeout(60),
        httpx.AsyncClient(timeout=60) as http,
        aconnect_sse(http, "GET", url, headers={"Last-Event-ID": cursor}) as source,
    ):
        async for event in source.aiter_sse():
            if event.event == "task_result":
                left.append(event.json()["task"]["name"])
            if len(left) == TASKS:
                break
    assert Counter(left) == Counter(names)


async def test_given_tasks_that_begin_later_when_everything_is_killed_then_each_begins_once(start) -> None:
    suite = start()
    async with Client(suite.address) as client:
        begins = datetime.now(UTC) + timedelta(seconds=3)
        plan = {"steps": [{"name": "only", "agent": "echo", "input": {"value": 1}}]}
        tasks = [await client.submit(plan=plan, start_time=begins) for _ in range(5)]
        assert {task.state for task in tasks} == {TaskState.SCHEDULED}
        for victim in ("store", "dispatcher", "gateway"):
            suite.kill(victim)
        async with asyncio.timeout(60):
            results = [result.task async for result in client.results(tasks)]
        for task in results:
            assert task.state is TaskState.SUCCEEDED
            assert task.start_time is not None
            assert task.start_time >= begins - timedelta(milliseconds=1)
            started = [event async for event in client.watch(task) if event.type.value == "task_started"]
            assert len(started) == 1
