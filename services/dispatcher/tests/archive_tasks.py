"""Ended tasks as the archive gets them, without a store."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from waybill_dispatcher.archive_rows import EndedTask
from waybill_dispatcher.attempts import Attempt

from waybill.core.budget import Budget, BudgetAction, TaskPolicy
from waybill.core.plan import FailurePolicy, Question
from waybill.core.task import CallState, Failure, Priority, StepState, TaskState, Usage
from waybill.ledger.call_records import CallRecord
from waybill.ledger.records import StepRecord, TaskRecord

MONEY = 2**62
"""More than 32 bits, and than a float, can hold."""

TASK = TaskRecord(
    id="0-1",
    tenant="acme",
    state=TaskState.FAILED,
    goal="Why\x00 is 🜁 the sky blue?",
    priority=Priority.HIGH,
    labels={"kind": "q", "who": "Zo\x00ë"},
    paths=("notes", "a b"),
    revision=1,
    step_count=2,
    ended_step_count=2,
    last_sequence=MONEY,
    sinks=(2,),
    failure=Failure("AGENT_ERROR", "it\x00 broke"),
    traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    usage=Usage(MONEY, MONEY + 1, MONEY + 2, MONEY + 3, MONEY + 4, MONEY + 5),
    budget=Budget(10**12, BudgetAction.ASK),
    policy=TaskPolicy(allowed_tools=("crm/*",), max_revisions=7),
    wait_ms=MONEY,
    run_ms=MONEY,
    created_ms=1_700_000_000_000,
    start_ms=1_700_000_000_500,
    planned_ms=1_700_000_000_001,
    ended_ms=1_700_000_000_009,
    planning_note="",
    deadline_at_ms=MONEY,
    template="weekly",
    agents=("echo", "writer"),
    failure_policy=FailurePolicy.CONTINUE,
)

STEP = StepRecord(
    number=1,
    name="ask",
    agent="",
    state=StepState.SUCCEEDED,
    attempt=1,
    tries=0,
    deaths=0,
    losses=0,
    dependencies=(),
    worker="",
    failure=None,
    usage=Usage(),
    wait_ms=0,
    run_ms=0,
    ready_ms=1_700_000_000_001,
    started_ms=1_700_000_000_001,
    ended_ms=1_700_000_000_004,
    question=Question("May\x00 I?", '{"type": "boolean"}', 1_000, b"false"),
    input=b'{"about": "\\u0000"}',
    output=b"true",
    plan_revision=2,
    when=("${task.input}",),
    allow_skipped=True,
    dropped=True,
)

ATTEMPT = Attempt(1, StepState.SUCCEEDED, started_ms=1_700_000_000_001, ended_ms=1_700_000_000_004, run_ms=3)


CALLS = [
    CallRecord(
        *(number, 1, 1, CallState.SETTLED, agent, "gpt-x", "default", TASK.usage, 10 + number, 20),
        prompt=b'{"messages": []}',
        response=b"\x00cut",
    )
    for number, agent in ((0, "planner"), (2, "echo"))
]


def ended_task(**changes: Any) -> EndedTask:
    """An ended task whose record has these changes: a question, and a step that failed twice."""
    record = replace(TASK, **changes)
    failed = replace(
        STEP,
        number=2,
        name="run",
        agent="echo",
        state=StepState.FAILED,
        attempt=2,
        tries=2,
        dependencies=(1,),
        worker="hand.1",
        failure=record.failure,
        usage=record.usage,
        question=None,
        output=b"",
    )
    tries = [
        Attempt(number, StepState.FAILED, "hand.1", number, number + 1, Failure("R", "m"), Usage(number), 1, MONEY)
        for number in (1, 2)
    ]
    return EndedTask(record, b'{"topic": 1}', [STEP, failed], {1: [ATTEMPT], 2: tries}, CALLS)
