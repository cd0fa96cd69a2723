"""Between the ledger's records and the rows of the archive."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from sqlalchemy import RowMapping

from waybill.core.budget import Budget, TaskPolicy
from waybill.core.plan import FailurePolicy, Question
from waybill.core.task import CallState, Failure, Priority, StepState, TaskState, Usage
from waybill.ledger.call_records import CallRecord
from waybill.ledger.records import StepRecord, TaskRecord
from waybill_dispatcher.attempts import Attempt

Row = dict[str, Any]

_PLAIN_TASK = (
    *("id", "tenant", "goal", "template", "traceparent", "revision", "step_count", "ended_step_count"),
    *("last_sequence", "wait_ms", "run_ms", "created_ms", "planned_ms", "ended_ms", "deadline_at_ms"),
    "start_ms",
)
_PLAIN_STEP = (
    *("number", "name", "agent", "attempt", "tries", "deaths", "losses", "worker", "wait_ms", "run_ms"),
    *("ready_ms", "started_ms", "ended_ms", "input", "output", "plan_revision"),
)
_PLAIN_CALL = (
    *("step_number", "attempt", "number", "agent", "model", "endpoint", "started_ms", "ended_ms"),
    *("prompt", "response"),
)
_PLAIN_ATTEMPT = ("number", "worker", "started_ms", "ended_ms", "wait_ms", "run_ms")


@dataclass(frozen=True, slots=True)
class EndedTask:
    """All that the archive keeps of a task: its record, its input (JSON text), its steps with inputs and outputs, and
    their attempts by the number of the step, and its model calls with what was kept of their texts.
    """

    record: TaskRecord
    input: bytes
    steps: Sequence[StepRecord]
    attempts: Mapping[int, Sequence[Attempt]]
    calls: Sequence[CallRecord] = ()


def task_row(task: EndedTask) -> Row:
    """The row of a task itself."""
    record = task.record
    return {
        **{name: getattr(record, name) for name in _PLAIN_TASK},
        "state": record.state.value,
        "priority": record.priority.value,
        "labels": dict(record.labels),
        "paths": list(record.paths),
        "agents": list(record.agents),
        "failure_policy": record.failure_policy.value,
        "sinks": list(record.sinks),
        "input": task.input,
        "budget": msgspec.to_builtins(record.budget),
        "policy": msgspec.to_builtins(record.policy),
        **_failure_columns(record.failure),
        **_usage_columns(record.usage),
    }


def label_rows(record: TaskRecord) -> list[Row]:
    """The rows by which a task is found by its labels."""
    return [{"task_id": record.id, "key": key, "value": value} for key, value in record.labels.items()]


def agent_rows(record: TaskRecord) -> list[Row]:
    """The rows by which a task is found by its agents."""
    return [{"task_id": record.id, "agent": agent} for agent in record.agents]


def step_rows(task: EndedTask) -> list[Row]:
    """The rows of a task's steps."""
    return [
        {
            "task_id": task.record.id,
            **{name: getattr(step, name) for name in _PLAIN_STEP},
            "state": step.state.value,
            "dependencies": list(step.dependencies),
            "question": _question_json(step.question),
            "conditions": list(step.when),
            "allow_skipped": int(step.allow_skipped),
            "dropped": int(step.dropped),
            **_failure_columns(step.failure),
            **_usage_columns(step.usage),
        }
        for step in task.steps
    ]


def attempt_rows(task: EndedTask) -> list[Row]:
    """The rows of the attempts of a task's steps."""
    return [
        {
            "task_id": task.record.id,
            "step_number": step_number,
            **{name: getattr(attempt, name) for name in _PLAIN_ATTEMPT},
            "state": attempt.state.value,
            **_failure_columns(attempt.failure),
            **_usage_columns(attempt.usage),
        }
        for step_number, attempts in task.attempts.items()
        for attempt in attempts
    ]


def call_rows(task: EndedTask) -> list[Row]:
    """The rows of a task's model calls."""
    return [
        {
            "task_id": task.record.id,
            **{name: getattr(call, name) for name in _PLAIN_CALL},
            "state": call.state.value,
            **_usage_columns(call.usage),
        }
        for call in task.calls
    ]


def call_of_row(row: RowMapping) -> CallRecord:
    """An archived model call; without its texts if the row has none."""
    return CallRecord(
        **{name: row[name] for name in _PLAIN_CALL if name in row},
        state=CallState(row["state"]),
        usage=_usage_of(row),
    )


def task_of_row(row: RowMapping) -> TaskRecord:
    """The record of an archived task."""
    return TaskRecord(
        **{name: row[name] for name in _PLAIN_TASK},
        state=TaskState(row["state"]),
        priority=Priority(row["priority"]),
        labels=row["labels"],
        paths=tuple(row["paths"]),
        agents=tuple(row["agents"]),
        failure_policy=FailurePolicy(row["failure_policy"]),
        sinks=tuple(row["sinks"]),
        planning_note="",
        budget=msgspec.convert(row["budget"], Budget) if row["budget"] else None,
        policy=msgspec.convert(row["policy"], TaskPolicy) if row["policy"] is not None else None,
        failure=_failure_of(row),
        usage=_usage_of(row),
    )


def step_of_row(row: RowMapping) -> StepRecord:
    """The record of an archived step; without input and output if the row has none."""
    return StepRecord(
        **{name: row[name] for name in _PLAIN_STEP if name in row},
        state=StepState(row["state"]),
        dependencies=tuple(row["dependencies"]),
        question=_question_of(row["question"]),
        when=tuple(row["conditions"] or ()),
        allow_skipped=bool(row["allow_skipped"]),
        dropped=bool(row["dropped"]),
        failure=_failure_of(row),
        usage=_usage_of(row),
    )


def attempt_of_row(row: RowMapping) -> Attempt:
    """An archived attempt."""
    return Attempt(
        **{name: row[name] for name in _PLAIN_ATTEMPT},
        state=StepState(row["state"]),
        failure=_failure_of(row),
        usage=_usage_of(row),
    )


def _failure_columns(failure: Failure | None) -> Row:
    if failure is None:
        return {"failure_reason": None, "failure_message": None}
    return {"failure_reason": failure.reason, "failure_message": failure.message}


def _failure_of(row: RowMapping) -> Failure | None:
    if row["failure_reason"] is None:
        return None
    return Failure(row["failure_reason"], row["failure_message"])


def _usage_columns(usage: Usage) -> Row:
    return {name: getattr(usage, name) for name in Usage.__struct_fields__}


def _usage_of(row: RowMapping) -> Usage:
    return Usage(*(row[name] for name in Usage.__struct_fields__))


def _question_json(question: Question | None) -> Row | None:
    if question is None:
        return None
    return {
        "prompt": question.prompt,
        "answer_schema": question.answer_schema,
        "timeout_ms": question.timeout_ms,
        "default_answer": question.default_answer.decode(),
    }


def _question_of(stored: Row | None) -> Question | None:
    if stored is None:
        return None
    return Question(stored["prompt"], stored["answer_schema"], stored["timeout_ms"], stored["default_answer"].encode())
