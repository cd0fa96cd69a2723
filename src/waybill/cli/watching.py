"""Owns following a task to its end, in the three ways of showing it: lines, JSON lines, a live tree."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from enum import Enum, auto
from typing import TextIO

from waybill.cli.lines import event_line
from waybill.client import Client
from waybill.core.task import Event, EventType, TaskState
from waybill.errors import WaybillError
from waybill.progress import TaskProgress
from waybill.rpc.conversion import event_to_json, event_to_proto

_REFRESHES_PER_SECOND = 8
_MARGIN_LINES = 5
_PLANS = (EventType.TASK_PLANNED, EventType.PLAN_REVISED)
"""Events after which the task has other steps."""
_MOST_EXPECTED_STEPS = 1_000
"""A larger plan is not asked for: its steps show as they come up."""


class Style(Enum):
    """How events are shown."""

    LINES = auto()
    JSON = auto()
    TREE = auto()

    @classmethod
    def for_stream(cls, out: TextIO, *, as_json: bool = False) -> Style:
        """What suits a stream: the tree on a terminal, lines elsewhere, JSON lines if asked for."""
        if as_json:
            return cls.JSON
        return cls.TREE if out.isatty() else cls.LINES


async def follow(
    client: Client, name: str, out: TextIO, style: Style, *, goal: str = "", from_sequence: int = 1
) -> TaskProgress:
    """Show a task's events on `out` until it has ended; what they add up to. Raises as `Client.watch`."""
    task = TaskProgress(name=name, goal=goal)
    with _display(task, out, style) as show:
        async with contextlib.aclosing(client.watch(name, from_sequence)) as events:
            async for event in events:
                task.apply(event)
                if event.type in _PLANS and style is Style.TREE:
                    await _expect_steps(client, task)
                if event.state is TaskState.SCHEDULED and style is Style.TREE:
                    await _note_start(client, task)
                show(event)
    return task


def succeeded(task: TaskProgress) -> bool:
    """Whether the task ended well."""
    return task.state is TaskState.SUCCEEDED


async def _note_start(client: Client, task: TaskProgress) -> None:
    with contextlib.suppress(WaybillError):  # the tree is only less complete without it
        task.note = (await client.get(task.name)).waiting_reason


async def _expect_steps(client: Client, task: TaskProgress) -> None:
    if task.step_count <= _MOST_EXPECTED_STEPS:
        with contextlib.suppress(WaybillError):  # the tree is only less complete without them
            task.expect([(step.id, step.agent) for step in await client.steps(task.name)])


@contextlib.contextmanager
def _display(task: TaskProgress, out: TextIO, style: Style) -> Iterator[Callable[[Event], None]]:
    if style is not Style.TREE:
        yield lambda event: print(_text_of(event, style), file=out, flush=True)
        return
    from rich.console import Console
    from rich.live import Live

    from waybill.cli.tree import task_tree

    console = Console(file=out)
    with Live(
        console=console,
        refresh_per_second=_REFRESHES_PER_SECOND,
        get_renderable=lambda: task_tree(task, console.height - _MARGIN_LINES),
    ):
        yield lambda _event: None


def _text_of(event: Event, style: Style) -> str:
    if style is Style.JSON:
        return json.dumps(event_to_json(event_to_proto(event)), ensure_ascii=False)
    return event_line(event)
