"""Owns the command that follows the results of many tasks."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from waybill.api.v1 import gateway_pb2
from waybill.cli import exits
from waybill.cli.bars import bar
from waybill.cli.gateway import WATCH_PATIENCE_SECONDS, client_of, json_line
from waybill.cli.lines import printable
from waybill.cli.reading import TypedFilter, task_filter
from waybill.core.task import TaskState
from waybill.errors import InvalidArgument
from waybill.resources import Task
from waybill.results import TaskResult
from waybill.rpc import conversion
from waybill.steering import task_name

_SHOWN_CHARS = 200


@dataclass(frozen=True)
class Followed:
    """Which results are wanted, as typed."""

    tasks: Sequence[str] = ()
    wanted: TypedFilter = TypedFilter()
    cursor: str = ""
    from_now: bool = False


async def follow_results(address: str, tenant: str, followed: Followed, *, as_json: bool) -> int:
    """Print a line for each task that has ended, until all named ones have; without names until Ctrl-C.

    Exit code 1 if a named task failed or was cancelled. Raises `InvalidArgument` and what `Client.results` raises.
    """
    if followed.tasks and followed.wanted != TypedFilter():
        raise InvalidArgument.of_field("TASK", "cannot be given together with options that choose tasks")
    request = gateway_pb2.WatchTasksRequest(
        names=[task_name(name) for name in followed.tasks],
        filter=task_filter(followed.wanted).message(),
        cursor=followed.cursor,
        from_now=followed.from_now,
    )
    all_well = True
    async with (
        client_of(address, tenant, WATCH_PATIENCE_SECONDS) as client,
        contextlib.aclosing(client.result_messages(request)) as results,
    ):
        with bar("ended", len(followed.tasks), shown=bool(followed.tasks) and not as_json) as another:
            async for result in results:
                ended = TaskResult.of(result)
                all_well = all_well and ended.task.state is TaskState.SUCCEEDED
                line = json_line(conversion.result_to_json(result)) if as_json else result_line(ended.task)
                print(line, flush=True)
                another(ended.task.name)
    return exits.OK if all_well else exits.FAILED


def result_line(task: Task) -> str:
    """An ended task on one line: when it ended, its name and state, and what it returned or why it failed."""
    return f"{_ended(task.end_time)}  {task.name}  {task.state:<9}  {_told(task)}".rstrip()


def _ended(time: datetime | None) -> str:
    return time.astimezone().strftime("%Y-%m-%d %H:%M:%S") if time else ""


def _told(task: Task) -> str:
    if task.failure is not None:
        return printable(f"{task.failure.reason}: {task.failure.message}", _SHOWN_CHARS)
    return printable((task.output_json or b"").decode(errors="replace"), _SHOWN_CHARS)
