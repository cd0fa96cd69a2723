"""Owns the commands that submit, watch and read tasks. Each returns its exit code and raises `waybill.errors`."""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from typing import Any

from waybill.api.v1 import gateway_pb2, task_pb2
from waybill.cli import exits, tables
from waybill.cli.gateway import WATCH_PATIENCE_SECONDS, client_of, json_line
from waybill.cli.lines import output_text, printable
from waybill.cli.reading import Typed, TypedFilter, plan_file, submission, task_filter
from waybill.cli.templates import typed_parameters
from waybill.cli.watching import Style, follow
from waybill.client import Client
from waybill.core.task import TaskState
from waybill.errors import InvalidArgument, InvalidPlan
from waybill.resources import Task
from waybill.rpc import conversion


@dataclass(frozen=True)
class Watching:
    """How a task is followed: its events on stdout, or, with `result`, on stderr, and what it returned on stdout."""

    as_json: bool = False
    result: bool = False
    from_sequence: int = 1
    goal: str = ""


async def submit(address: str, tenant: str, typed: Typed, shown: Watching | None, *, as_json: bool) -> int:
    """Submit a task and print its name, or follow it as `shown` says."""
    plan = plan_file(typed)
    asked = submission(typed, plan, await typed_parameters(address, tenant, typed))
    request = gateway_pb2.SubmitTaskRequest(spec=asked.spec(), request_id=asked.chosen_request_id())
    try:
        async with client_of(address, tenant) as client:
            task = (await client.call("SubmitTask", request)).task
    except InvalidArgument as error:
        if plan is None or error.reason != InvalidPlan.reason or not error.violations:
            raise
        raise plan.invalid(error.violations) from error
    if shown is not None:
        if not shown.as_json:
            exits.say(f"submitted {task.name}")
        return await watch(address, tenant, task.name, replace(shown, goal=asked.goal))
    print(json_line(conversion.task_to_json(task)) if as_json else task.name)
    return exits.OK


async def watch(address: str, tenant: str, name: str, shown: Watching) -> int:
    """Show a task's events until it has ended. Exit code 1 if it did not end well."""
    async with client_of(address, tenant) as client:
        known = await client.get(name)
    state = known.state
    if known.archived:
        exits.say(f"{known.name} {known.state.value}: it is in the archive, which keeps no events")
    else:
        out = sys.stderr if shown.result else sys.stdout
        style = Style.for_stream(out, as_json=shown.as_json and not shown.result)
        async with client_of(address, tenant, WATCH_PATIENCE_SECONDS) as client:
            goal = shown.goal or known.goal
            progress = await follow(client, known.name, out, style, goal=goal, from_sequence=shown.from_sequence)
            state = progress.state if progress.state.ended else (await client.get(name)).state
    if shown.result:
        await _print_result(address, tenant, known.name, as_json=shown.as_json)
    return exits.OK if state is TaskState.SUCCEEDED else exits.FAILED


async def _print_result(address: str, tenant: str, name: str, *, as_json: bool) -> None:
    async with client_of(address, tenant) as client:
        task = (await client.call("GetTask", gateway_pb2.GetTaskRequest(name=name))).task
    if as_json:
        print(json_line(conversion.task_to_json(task)))
    elif task.HasField("output"):
        print(output_text(Task.of(task).output))
    elif task.HasField("failure"):
        exits.say(f"the task failed ({task.failure.reason}): {printable(task.failure.message, 2000)}")


async def show(address: str, tenant: str, name: str, *, attempts: bool, as_json: bool) -> int:
    """Print a task with its steps, times, cost and output, and with every attempt if asked for."""
    async with client_of(address, tenant) as client:
        task = await client.get(name)
        if as_json:
            print(json_line(await _task_with_steps(client, task.name, attempts=attempts)))
            return exits.OK
        steps = await client.steps(task)
        made = {step.id: await client.attempts(task, step.id) for step in steps if attempts and step.attempt}
        tables.print_task(task, steps, await client.metrics(task), made)
    return exits.OK


async def _task_with_steps(client: Client, name: str, *, attempts: bool) -> dict[str, Any]:
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
    for step in steps if attempts else ():
        asked = gateway_pb2.ListAttemptsRequest(parent=step["name"])
        made = (await client.call("ListAttempts", asked)).attempts if step["attempt"] else ()
        step["attempts"] = [conversion.attempt_to_json(attempt) for attempt in made]
    return {**conversion.task_to_json(task), "steps": steps, "metrics": conversion.metrics_to_json(metrics)}


async def list_tasks(address: str, tenant: str, typed: TypedFilter, limit: int, *, as_json: bool) -> int:
    """Print the newest tasks."""
    request = gateway_pb2.ListTasksRequest(filter=task_filter(typed).message())
    found: list[task_pb2.Task] = []
    async with client_of(address, tenant) as client:
        while len(found) < limit:
            request.page_size = min(limit - len(found), 200)
            page = await client.call("ListTasks", request)
            found += page.tasks
            request.page_token = page.next_page_token
            if not page.next_page_token:
                break
    if as_json:
        for task in found:
            print(json_line(conversion.task_to_json(task)))
    elif found:
        tables.print_tasks(found)
    else:
        exits.say(f"tenant {tenant} has no such task" if typed != TypedFilter() else f"tenant {tenant} has no task yet")
    return exits.OK
