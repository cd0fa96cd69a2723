"""Owns the commands that speak to a running gateway. Each returns its exit code and raises `waybill.errors`."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import Any

from waybill.api.v1 import gateway_pb2, task_pb2
from waybill.cli import exits, tables
from waybill.cli.reading import Typed, submission
from waybill.cli.watching import Style, follow, succeeded
from waybill.client import Client
from waybill.core.task import TaskState
from waybill.rpc import conversion

CALL_PATIENCE_SECONDS = 3.0
"""Somebody sits in front of a command: it says soon that nothing answers."""
WATCH_PATIENCE_SECONDS = 120.0
"""A watch has been in contact, and bears with a restart."""


def _client(address: str, tenant: str, patience_seconds: float = CALL_PATIENCE_SECONDS) -> Client:
    return Client(address, tenant=tenant, patience_seconds=patience_seconds)


async def submit(address: str, tenant: str, typed: Typed, *, watch_it: bool, as_json: bool) -> int:
    """Submit a task and print its name, or watch it."""
    asked = submission(typed)
    request = gateway_pb2.SubmitTaskRequest(spec=asked.spec(), request_id=asked.chosen_request_id())
    async with _client(address, tenant) as client:
        task = (await client.call("SubmitTask", request)).task
    if watch_it:
        if not as_json:
            exits.say(f"submitted {task.name}")
        return await watch(address, tenant, task.name, 1, as_json=as_json, goal=asked.goal)
    print(_json(conversion.task_to_json(task)) if as_json else task.name)
    return exits.OK


async def watch(
    address: str, tenant: str, name: str, from_sequence: int, *, as_json: bool = False, goal: str = ""
) -> int:
    """Show a task's events until it has ended. Exit code 1 if it did not end well."""
    async with _client(address, tenant) as client:
        known = await client.get(name)
    style = Style.for_stream(sys.stdout, as_json=as_json)
    async with _client(address, tenant, WATCH_PATIENCE_SECONDS) as client:
        progress = await follow(
            client, known.name, sys.stdout, style, goal=goal or known.goal, from_sequence=from_sequence
        )
        state = progress.state if progress.state.ended else (await client.get(name)).state
    return exits.OK if succeeded(progress) or state is TaskState.SUCCEEDED else exits.FAILED


async def show(address: str, tenant: str, name: str, *, as_json: bool) -> int:
    """Print a task with its steps, times, cost and output."""
    async with _client(address, tenant) as client:
        task = await client.get(name)
        if as_json:
            print(_json(await _task_with_steps(client, task.name)))
            return exits.OK
        tables.print_task(task, await client.steps(task), await client.metrics(task))
    return exits.OK


async def _task_with_steps(client: Client, name: str) -> dict[str, Any]:
    task = (await client.call("GetTask", gateway_pb2.GetTaskRequest(name=name))).task
    metrics = (await client.call("GetTaskMetrics", gateway_pb2.GetTaskMetricsRequest(name=name))).metrics
    request = gateway_pb2.ListStepsRequest(parent=name)
    steps: list[dict[str, Any]] = []
    while True:
        page = await client.call("ListSteps", request)
        steps += (conversion.step_to_json(step) for step in page.steps)
        request.page_token = page.next_page_token
        if not page.next_page_token:
            break
    return {**conversion.task_to_json(task), "steps": steps, "metrics": conversion.metrics_to_json(metrics)}


async def list_tasks(address: str, tenant: str, states: Sequence[TaskState], limit: int, *, as_json: bool) -> int:
    """Print the newest tasks, one a line."""
    wanted = task_pb2.TaskFilter(states=[conversion.TASK_STATE_TO_PROTO[state] for state in states])
    request = gateway_pb2.ListTasksRequest(filter=wanted)
    left = limit
    async with _client(address, tenant) as client:
        while left > 0:
            request.page_size = min(left, 200)
            page = await client.call("ListTasks", request)
            for task in page.tasks:
                print(_json(conversion.task_to_json(task)) if as_json else tables.task_line(task))
            left -= len(page.tasks)
            request.page_token = page.next_page_token
            if not page.next_page_token:
                break
    return exits.OK


async def cancel(address: str, tenant: str, name: str) -> int:
    """Cancel a task and print the state it is in now."""
    async with _client(address, tenant) as client:
        task = await client.cancel(name)
    print(f"{task.name} {task.state.value}")
    return exits.OK


async def agents(address: str, tenant: str, *, as_json: bool) -> int:
    """Print the agents that workers have announced."""
    async with _client(address, tenant) as client:
        known = (await client.call("ListAgents", gateway_pb2.ListAgentsRequest())).agents
    if as_json:
        for agent in known:
            print(_json(conversion.agent_to_json(agent)))
    elif known:
        tables.print_agents(known)
    else:
        exits.say("no worker has announced an agent yet")
    return exits.OK


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
