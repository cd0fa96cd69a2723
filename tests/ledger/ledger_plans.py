"""Tasks and graphs for the ledger's tests."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from waybill.core.plan import AgentSchema, FailurePolicy, Graph, Plan, PlanStep, Question, RetryPolicy
from waybill.core.validation import link
from waybill.ledger.ledger import Ledger, new_task_id
from waybill.ledger.records import Accepted, NewTask

DIAMOND = {"a": [], "b": ["a"], "c": ["a"], "d": ["b", "c"]}
_numbers = itertools.count(1)


def graph(
    after: Mapping[str, Sequence[str]],
    *,
    agents: Mapping[str, str] | None = None,
    inputs: Mapping[str, bytes] | None = None,
    retry: RetryPolicy = RetryPolicy(),
    run_timeout_ms: int = 60_000,
    queue_timeout_ms: int = 0,
    questions: Mapping[str, Question] | None = None,
    on_failure: FailurePolicy = FailurePolicy.STOP,
) -> Graph:
    """The graph of steps by name and what each waits for; they run `echo` unless `agents` says otherwise, or ask a
    question.
    """
    asked = questions or {}
    steps = tuple(
        PlanStep(name, question=asked[name], input=(inputs or {}).get(name, b"{}"), after=tuple(needed))
        if name in asked
        else PlanStep(
            name=name,
            agent=(agents or {}).get(name, "echo"),
            input=(inputs or {}).get(name, b"{}"),
            after=tuple(needed),
            retry=retry,
            run_timeout_ms=run_timeout_ms,
            queue_timeout_ms=queue_timeout_ms,
        )
        for name, needed in after.items()
    )
    known = {step.agent: AgentSchema(step.agent, "", '{"type": "object"}') for step in steps if step.agent}
    return link(Plan(steps, on_failure), known)


def chain(length: int) -> dict[str, list[str]]:
    """Steps that follow one another."""
    return {f"s{at}": [f"s{at - 1}"] if at else [] for at in range(length)}


def fan_and_join(width: int) -> dict[str, list[str]]:
    """One step, `width` that wait for it, and one that waits for all of those."""
    middle = [f"m{at}" for at in range(width)]
    return {"first": [], **{name: ["first"] for name in middle}, "last": middle}


def side_by_side(width: int) -> dict[str, list[str]]:
    """Steps that wait for nothing."""
    return {f"p{at}": [] for at in range(width)}


def new_task(planned: Graph | None = None, **fields: Any) -> NewTask:
    """A task of tenant `acme` with a request id of its own."""
    given = {"tenant": "acme", "request_id": f"request-{next(_numbers)}", "fingerprint": "same", **fields}
    return NewTask(id=new_task_id(), graph=planned, **given)


async def accept(ledger: Ledger, planned: Graph | None = None, **fields: Any) -> str:
    """Submit a task, which must be accepted; its id."""
    (result,) = await ledger.submit([new_task(planned, **fields)])
    assert isinstance(result, Accepted), result
    return result.task
