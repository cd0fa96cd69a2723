"""Owns tasks, steps and agents as tables and lines for people."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from datetime import UTC

from rich.console import Console
from rich.table import Table
from rich.text import Text

from waybill.api.v1 import task_pb2
from waybill.cli.lines import printable, seconds_text, usage_text
from waybill.resources import Step, Task, TaskMetrics
from waybill.rpc import conversion

_GOAL_CHARS = 80
_PIPED_COLUMNS = 200
"""Width of a table when no terminal sets one; rich would wrap at 80."""


def task_line(task: task_pb2.Task) -> str:
    """A task of a list on one line: time, name, state, ended steps, goal."""
    time = task.create_time.ToDatetime(UTC).astimezone().strftime("%Y-%m-%d %H:%M:%S")
    state = conversion.TASK_STATE_FROM_PROTO[task.state].value
    steps = f"{task.ended_step_count}/{task.step_count}"
    return f"{time}  {task.name}  {state:<10} {steps:>7}  {printable(task.goal, _GOAL_CHARS)}".rstrip()


def print_task(task: Task, steps: Sequence[Step], metrics: TaskMetrics) -> None:
    """A task with its steps and, at the end, what it returned."""
    console = _console()
    facts = [
        ("state", task.state.value),
        ("goal", printable(task.goal, 1000)),
        ("labels", ", ".join(f"{key}={value}" for key, value in task.labels.items())),
        (
            "accepted",
            task.create_time.astimezone().isoformat(sep=" ", timespec="milliseconds") if task.create_time else "",
        ),
        ("elapsed", f"{seconds_text(metrics.elapsed_ms)} (planning {seconds_text(metrics.planning_ms)})"),
        ("used", usage_text(task.usage)),
        ("waits", task.waiting_reason),
        ("failure", f"{task.failure.reason}: {printable(task.failure.message, 2000)}" if task.failure else ""),
    ]
    console.print(Text(task.name, style="bold"))
    for name, value in facts:
        if value:
            console.print(Text(f"  {name:<9}{value}"), soft_wrap=True)
    if steps:
        console.print(_steps_table(steps, metrics))
    if task.output_json is not None:
        output = task.output
        report = output.get("report") if isinstance(output, dict) else None
        print(report if isinstance(report, str) else json.dumps(output, indent=2, ensure_ascii=False))


def _steps_table(steps: Sequence[Step], metrics: TaskMetrics) -> Table:
    measured = {entry.step: entry for entry in metrics.steps}
    table = Table(box=None, header_style="bold")
    for title in ("step", "agent", "state", "attempt", "waited", "ran", "depends on", "note"):
        table.add_column(title, justify="right" if title in ("attempt", "waited", "ran") else "left", overflow="fold")
    for step in steps:
        entry = measured.get(step.id)
        failure = f"{step.failure.reason}: {printable(step.failure.message)}" if step.failure else ""
        cells = (
            step.id,
            step.agent,
            step.state.value,
            str(step.attempt),
            seconds_text(entry.wait_ms) if entry else "",
            seconds_text(entry.run_ms) if entry else "",
            printable(", ".join(step.depends_on), 60),
            step.waiting_reason or failure,
        )
        table.add_row(*(Text(cell) for cell in cells))
    return table


def print_agents(agents: Iterable[task_pb2.Agent]) -> None:
    """The agents with their workers and backlog."""
    table = Table(box=None, header_style="bold")
    for title in ("agent", "live workers", "waiting steps", "queued batches", "what it does"):
        table.add_column(title, justify="left" if title in ("agent", "what it does") else "right", overflow="fold")
    for agent in agents:
        counts = (agent.live_workers, agent.waiting_steps, agent.queued_batches)
        first_line = printable(agent.description.partition("\n")[0])
        cells = (agent.name.removeprefix("agents/"), *map(str, counts), first_line)
        table.add_row(*(Text(cell) for cell in cells))
    _console().print(table)


def _console() -> Console:
    console = Console()
    return console if console.is_terminal else Console(width=_PIPED_COLUMNS)
