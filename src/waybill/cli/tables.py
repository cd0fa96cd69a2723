"""Owns tasks, steps, attempts, effects, dead letters and agents as tables and lines for people."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime

from google.protobuf.timestamp_pb2 import Timestamp
from rich.table import Table
from rich.text import Text

from waybill.api.v1 import task_pb2
from waybill.attempts import Attempt, DeadLetter
from waybill.cli.layout import Column, cell_of, new_table, print_table, show_table, table_console
from waybill.cli.lines import output_text, printable, seconds_text, usage_text, usd_text
from waybill.core.task import Failure, StepState, TaskState
from waybill.resources import Step, Task, TaskMetrics
from waybill.rpc import conversion

_GOAL_CHARS = 80
_TASKS = (
    ("accepted", Column.NAME),
    ("task", Column.NAME),
    ("state", Column.STATE),
    ("steps", Column.NUMBER),
    ("goal", Column.CUT),
)
_STEPS = (
    ("step", Column.NAME),
    ("agent", Column.NAME),
    ("state", Column.STATE),
    ("attempt", Column.NUMBER),
    ("waited", Column.NUMBER),
    ("ran", Column.NUMBER),
    ("cost", Column.NUMBER),
    ("depends on", Column.TEXT),
    ("note", Column.TEXT),
)
_ATTEMPTS = (
    ("attempts of", Column.NAME),
    ("", Column.NUMBER),
    ("state", Column.STATE),
    ("worker", Column.TEXT),
    ("started", Column.NAME),
    ("waited", Column.NUMBER),
    ("ran", Column.NUMBER),
    ("used", Column.TEXT),
    ("error", Column.TEXT),
)
_EFFECTS = (
    ("step", Column.NAME),
    ("key", Column.NAME),
    ("state", Column.STATE),
    ("attempt", Column.NUMBER),
    ("result", Column.TEXT),
)
_LETTERS = (
    ("given up", Column.NAME),
    ("dead letter", Column.NAME),
    ("step", Column.NAME),
    ("agent", Column.NAME),
    ("deaths", Column.NUMBER),
    ("why", Column.TEXT),
)
_AGENTS = (
    ("agent", Column.NAME),
    ("live workers", Column.NUMBER),
    ("waiting steps", Column.NUMBER),
    ("queued batches", Column.NUMBER),
    ("state", Column.STATE),
    ("what it does", Column.CUT),
)


def print_tasks(tasks: Iterable[task_pb2.Task]) -> None:
    """Tasks of a list with when they were accepted, their state, how many of their steps have ended, and their goal."""
    print_table(
        _TASKS,
        (
            (
                short_time(task.create_time),
                task.name.removeprefix("tasks/"),
                conversion.TASK_STATE_FROM_PROTO[task.state].value,
                f"{task.ended_step_count}/{task.step_count}",
                printable(_goal_text(task), _GOAL_CHARS),
            )
            for task in tasks
        ),
    )


def _goal_text(task: task_pb2.Task) -> str:
    is_later = task.state == task_pb2.TASK_STATE_SCHEDULED
    return f"begins {short_time(task.start_time)}: {task.goal}" if is_later else task.goal


def short_time(time: Timestamp) -> str:
    """A time of a message, local, to the second."""
    return time.ToDatetime(UTC).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def print_task(
    task: Task, steps: Sequence[Step], metrics: TaskMetrics, attempts: Mapping[str, Sequence[Attempt]] | None = None
) -> None:
    """A task with its steps, the attempts of steps by name if there are any, and, at the end, what it returned."""
    console = table_console()
    facts = [
        ("state", task.state.value),
        ("goal", printable(task.goal, 1000)),
        ("labels", ", ".join(f"{key}={value}" for key, value in task.labels.items())),
        ("template", task.template),
        ("accepted", _time_text(task.create_time)),
        ("begins" if task.state is TaskState.SCHEDULED else "began", _time_text(task.start_time)),
        ("deadline", _time_text(task.deadline_time)),
        ("archived", "yes: the store has dropped it" if task.archived else ""),
        ("elapsed", f"{seconds_text(metrics.elapsed_ms)} (planning {seconds_text(metrics.planning_ms)})"),
        ("used", usage_text(task.usage)),
        ("budget", _budget_text(task)),
        ("reserved", f"{usd_text(task.reserved_microusd)} for calls under way" if task.reserved_microusd else ""),
        ("plan", f"revision {task.plan_revision}" if task.plan_revision > 1 else ""),
        ("waits", task.waiting_reason),
        ("failure", f"{task.failure.reason}: {printable(task.failure.message, 2000)}" if task.failure else ""),
    ]
    console.print(Text(task.name, style="bold"))
    for name, value in facts:
        if value:
            console.print(Text(f"  {name:<9}{value}"), soft_wrap=True)
    if steps:
        show_table(_steps_table(steps, metrics))
    if attempts:
        show_table(_attempts_table((step.id, attempts.get(step.id, ())) for step in steps))
    if task.output_json is not None:
        print(output_text(task.output))


def _budget_text(task: Task) -> str:
    if task.budget is None:
        return ""
    action = task.budget.on_limit.value.replace("_", " ")
    return f"{usd_text(task.budget.max_cost_microusd)}, at the limit: {action}"


def _steps_table(steps: Sequence[Step], metrics: TaskMetrics) -> Table:
    measured = {entry.step: entry for entry in metrics.steps}
    table = new_table(_STEPS)
    for step in steps:
        entry = measured.get(step.id)
        cells = (
            step.id,
            step.agent,
            step.state.value,
            str(step.attempt),
            seconds_text(entry.wait_ms) if entry else "",
            seconds_text(entry.run_ms) if entry else "",
            usd_text(step.usage.cost_microusd) if step.usage.cost_microusd else "",
            printable(", ".join(step.depends_on), 60),
            _step_note(step),
        )
        table.add_row(*(cell_of(cell, kind) for cell, (_, kind) in zip(cells, _STEPS, strict=True)))
    return table


def _step_note(step: Step) -> str:
    """What there is to know of a step: what it asks, why it does not go on, failed or was left out, what added it."""
    told = []
    if step.question is not None and step.state is StepState.WAITING:
        about = (step.question_input_json or b"").decode(errors="replace")
        schema = step.question.answer_schema
        told.append(
            printable(f"{step.question.prompt} {about}") + (f" (answer: {printable(schema)})" if schema else "")
        )
    elif step.waiting_reason:
        told.append(step.waiting_reason)
    elif step.failure is not None:
        told.append(_failure_text(step.failure))
    if step.dropped:
        told.append("dropped by a revision of the plan")
    elif step.when and step.state in (StepState.PENDING, StepState.SKIPPED):
        told.append(
            f"{'only if' if step.state is StepState.PENDING else 'skipped unless'} {printable(' and '.join(step.when))}"
        )
    if step.plan_revision > 1:
        told.append(f"added in revision {step.plan_revision}")
    return "; ".join(told)


def _attempts_table(attempts: Iterable[tuple[str, Sequence[Attempt]]]) -> Table:
    table = new_table(_ATTEMPTS)
    for step, made in attempts:
        for attempt in made:
            cells = (
                step,
                str(attempt.attempt),
                attempt.state.value,
                attempt.worker,
                _time_text(attempt.start_time),
                seconds_text(attempt.wait_ms),
                seconds_text(attempt.run_ms),
                usage_text(attempt.usage),
                _failure_text(attempt.failure),
            )
            table.add_row(*(cell_of(cell, kind) for cell, (_, kind) in zip(cells, _ATTEMPTS, strict=True)))
    return table


def print_effects(effects: Iterable[task_pb2.Effect]) -> None:
    """Effects with the attempt that set their state, and what they returned."""
    print_table(
        _EFFECTS,
        (
            (
                effect.step.rpartition("/")[2],
                printable(effect.key),
                conversion.EFFECT_STATE_FROM_PROTO[effect.state].value,
                effect.attempt,
                printable(effect.result.data.decode(errors="replace")) if effect.HasField("result") else "",
            )
            for effect in effects
        ),
    )


def print_letters(letters: Iterable[task_pb2.DeadLetter]) -> None:
    """Dead letters with their step, how many processes it killed, and why it was given up."""
    print_table(
        _LETTERS,
        (
            (
                short_time(letter.create_time),
                letter.name.removeprefix("deadLetters/"),
                letter.step.removeprefix("tasks/").replace("/steps/", "/"),
                letter.agent,
                letter.deaths,
                f"{letter.failure.reason}: {printable(letter.failure.message)}" if letter.HasField("failure") else "",
            )
            for letter in letters
        ),
    )


def print_letter(letter: DeadLetter) -> None:
    """A dead letter with its attempts and input."""
    console = table_console()
    facts = [
        ("step", letter.step),
        ("agent", letter.agent),
        ("given up", _time_text(letter.create_time)),
        ("deaths", str(letter.deaths)),
        ("failure", _failure_text(letter.failure)),
        ("input", printable((letter.input_json or b"").decode(errors="replace"), 1000)),
    ]
    console.print(Text(letter.name, style="bold"))
    for name, value in facts:
        if value:
            console.print(Text(f"  {name:<9}{value}"), soft_wrap=True)
    if letter.attempts:
        show_table(_attempts_table([(letter.step.rpartition("/")[2], letter.attempts)]))


def _time_text(time: datetime | None) -> str:
    return time.astimezone().isoformat(sep=" ", timespec="milliseconds") if time else ""


def _failure_text(failure: Failure | None) -> str:
    return f"{failure.reason}: {printable(failure.message)}" if failure else ""


def print_agents(agents: Iterable[task_pb2.Agent]) -> None:
    """The agents with their workers and backlog."""
    print_table(
        _AGENTS,
        (
            (
                agent.name.removeprefix("agents/"),
                agent.live_workers,
                agent.waiting_steps,
                agent.queued_batches,
                "paused" if agent.paused else ("running" if agent.live_workers else "away"),
                printable(agent.description.partition("\n")[0]),
            )
            for agent in agents
        ),
    )
