"""Owns the picture of a running task on a terminal: a tree of its steps with states and times."""

from __future__ import annotations

import time
from collections.abc import Sequence

from rich.console import RenderableType
from rich.text import Text
from rich.tree import Tree

from waybill.cli.lines import printable, seconds_text, usd_text
from waybill.core.task import StepState, TaskState
from waybill.progress import StepProgress, TaskProgress

_NOTE_CHARS = 80
_BAR_CHARS = 40
_STEP_LOOKS = {
    StepState.PENDING: ("·", "dim"),
    StepState.READY: ("○", "cyan"),
    StepState.RUNNING: ("▶", "bold blue"),
    StepState.BACKOFF: ("↻", "yellow"),
    StepState.SUCCEEDED: ("✔", "green"),
    StepState.FAILED: ("✘", "bold red"),
    StepState.CANCELLED: ("–", "dim"),
    StepState.SKIPPED: ("⤼", "dim"),
    StepState.WAITING: ("?", "bold magenta"),
}
_TASK_STYLES = {
    TaskState.SUCCEEDED: "bold green",
    TaskState.FAILED: "bold red",
    TaskState.CANCELLED: "yellow",
    TaskState.PAUSED: "bold magenta",
}
_MOVING = (StepState.RUNNING, StepState.WAITING, StepState.BACKOFF, StepState.FAILED)


def task_tree(task: TaskProgress, most_steps: int, now_ms: int | None = None) -> RenderableType:
    """The tree of a task with at most `most_steps` steps in it; what moves or failed is shown first if not all fit."""
    now = int(time.time() * 1000) if now_ms is None else now_ms
    tree = Tree(_headline(task, now), guide_style="dim")
    steps = list(task.steps.values())
    shown = _choose(steps, max(1, most_steps))
    for step in shown:
        tree.add(_step_line(step, now))
    if len(shown) < len(steps):
        tree.add(_rest_line(task, len(shown)))
    if task.failure is not None:
        tree.add(Text(f"{task.failure.reason}: {printable(task.failure.message)}", style="red"))
    return tree


def _rest_line(task: TaskProgress, shown: int) -> Text:
    """What is told of the steps that do not fit: how many, and a bar of how many of all have ended."""
    total, ended = len(task.steps), task.ended_steps
    filled = _BAR_CHARS * ended // total
    line = Text("━" * filled, style="green")
    line.append("━" * (_BAR_CHARS - filled), style="dim")
    line.append(f"  {ended} of {total} steps ended, {total - shown} of them not shown", style="dim")
    return line


def _choose(steps: Sequence[StepProgress], most: int) -> Sequence[StepProgress]:
    if len(steps) <= most:
        return steps
    order = sorted(range(len(steps)), key=lambda at: (steps[at].state not in _MOVING, steps[at].state.ended, at))
    return [steps[at] for at in sorted(order[:most])]


def _headline(task: TaskProgress, now_ms: int) -> Text:
    elapsed = task.elapsed_ms or (max(0, now_ms - task.counted_from_ms) if task.counted_from_ms else 0)
    line = Text(task.name, style="bold")
    line.append(f"  {task.state.value}", style=_TASK_STYLES.get(task.state, "bold blue"))
    line.append(f"  {seconds_text(elapsed)}", style="dim")
    if task.usage.cost_microusd:
        line.append(f"  {usd_text(task.usage.cost_microusd)}", style="dim")
    if task.revision > 1:
        line.append(f"  revision {task.revision}", style="yellow")
    if task.note:
        line.append(f"  {printable(task.note, _NOTE_CHARS)}", style="dim")
    if task.goal:
        line.append(f"\n{printable(task.goal)}", style="italic")
    return line


def _step_line(step: StepProgress, now_ms: int) -> Text:
    sign, style = _STEP_LOOKS[step.state]
    line = Text(f"{sign} {step.name}", style=style)
    if step.agent and step.agent != step.name:
        line.append(f"  {step.agent}", style="dim")
    if step.state is StepState.RUNNING:
        line.append(f"  {seconds_text(max(0, now_ms - step.started_ms))}")
    elif step.run_ms:
        line.append(f"  {seconds_text(step.run_ms)}", style="dim")
    if step.attempt > 1:
        line.append(f"  attempt {step.attempt}", style="yellow")
    if step.usage.cost_microusd:
        line.append(f"  {usd_text(step.usage.cost_microusd)}", style="dim")
    if step.fraction is not None:
        line.append(f"  {step.fraction:.0%}")
    if step.failure is not None and step.state in (StepState.BACKOFF, StepState.FAILED):
        line.append(f"  {printable(step.failure.message, _NOTE_CHARS)}", style="red")
    elif step.note:
        line.append(f"  {printable(step.note, _NOTE_CHARS)}", style="dim")
    return line
