"""The ledger's records as the flat arguments of its functions; `unpacking` has the way out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from waybill.core.budget import Budget, BudgetAction
from waybill.core.patch import LinkedPatch
from waybill.core.plan import FailurePolicy, Graph, LinkedStep, RetryPolicy
from waybill.core.task import Event, Usage
from waybill.ledger.connection import Part
from waybill.ledger.records import NewTask, QueueEntry, Settlement, StepRef

_PLAIN_RETRY = RetryPolicy()

_msgpack = msgspec.msgpack.Encoder()
_json = msgspec.json.Encoder()


def member(ref: StepRef) -> str:
    """How the ledger writes an attempt of a step."""
    return f"{ref.task}:{ref.number}:{ref.attempt}"


def packed_spec(linked: LinkedStep) -> bytes:
    """A step's spec as the functions read it, msgpack: trailing defaults left out, texts never as bytes.

    What is absent in the middle is False: the functions may pack a spec again, and nil would end it there.
    """
    step, retry, question = linked.step, linked.step.retry, linked.step.question
    extra: tuple[Any, ...] = ()
    conditions = [
        (condition.path, condition.number, text) for condition, text in zip(linked.conditions, step.when, strict=True)
    ]
    if conditions or step.allow_skipped or step.limits:
        extra = (conditions, int(step.allow_skipped), step.limits)
    if extra or step.queue_timeout_ms or question or (retry.jitter, retry.final_reasons) != (_PLAIN_RETRY.jitter, ()):
        asked = question and (
            question.prompt,
            question.answer_schema,
            question.timeout_ms,
            question.default_answer.decode(),
        )
        extra = (step.queue_timeout_ms, retry.jitter, retry.final_reasons, asked or False, *extra)
    return _msgpack.encode(
        (
            step.name,
            step.agent,
            step.run_timeout_ms,
            retry.max_attempts,
            retry.initial_backoff_ms,
            retry.max_backoff_ms,
            retry.multiplier,
            linked.dependents,
            linked.dependencies,
            linked.references,
            *extra,
        )
    )


def sinks(graph: Graph) -> bytes:
    """The numbers of the steps that nothing depends on, as JSON: their outputs are what the task returns."""
    return _json.encode([number for number, linked in enumerate(graph.steps, 1) if not linked.dependents])


def plan_arguments(graph: Graph) -> list[Part]:
    """What the task keeps of its plan as a whole: sinks, agents and failure policy, each empty for the default."""
    agents = sorted({linked.step.agent for linked in graph.steps} - {""})
    on_failure = "" if graph.failure_policy is FailurePolicy.STOP else graph.failure_policy.value
    return [sinks(graph), _json.encode(agents), on_failure]


def graph_arguments(graph: Graph | None) -> list[Part]:
    """Number of steps, then spec, input and number of dependencies of each."""
    if graph is None:
        return [0]
    arguments: list[Part] = [len(graph.steps)]
    for linked in graph.steps:
        arguments += (packed_spec(linked), linked.step.input, len(linked.dependencies))
    return arguments


def budget_arguments(budget: Budget | None) -> list[Part]:
    """The limit and what happens at it, each empty for the default."""
    if budget is None:
        return [b"", b""]
    on_limit = "" if budget.on_limit is BudgetAction.STOP else budget.on_limit.value
    return [budget.max_cost_microusd or b"", on_limit]


def submit_arguments(task: NewTask) -> list[Part]:
    """Parts of `submit`, without the time; what is empty is not stored."""
    return [
        task.id,
        task.tenant,
        task.request_id,
        task.fingerprint,
        task.goal.encode(),
        task.input if task.input != b"null" else b"",
        _json.encode(task.labels) if task.labels else b"",
        _json.encode(task.paths) if task.paths else b"",
        task.priority.value,
        task.traceparent,
        task.template,
        task.deadline_ms or b"",
        *(plan_arguments(task.graph) if task.graph else (b"", b"", b"")),
        *budget_arguments(task.budget),
        _json.encode(task.policy) if task.policy else b"",
        task.start_ms or b"",
        len(task.documents),
        *(_msgpack.encode((document.name, document.media_type, document.data)) for document in task.documents),
        *graph_arguments(task.graph),
    ]


def usage_arguments(usage: Usage) -> list[Part]:
    """Six numbers, in the order of the functions' `USAGE`."""
    return list(msgspec.structs.astuple(usage))


def settlement_arguments(settlements: Sequence[Settlement]) -> list[Part]:
    """Number of settlements, then fifteen arguments each, and those of the patch that comes with it."""
    arguments: list[Part] = [len(settlements)]
    for item in settlements:
        arguments += (
            item.ref.task,
            item.ref.number,
            item.ref.attempt,
            item.outcome.value,
            item.output,
            _json.encode(item.failure) if item.failure else b"",
            *usage_arguments(item.usage),
            item.run_ms,
            item.retry_after_ms,
            *((1, *patch_arguments(item.patch)) if item.patch else (0,)),
        )
    return arguments


def patch_arguments(patch: LinkedPatch) -> list[Part]:
    """A patch as `Patch.read` of the functions reads it."""
    arguments: list[Part] = [patch.reason.encode(), patch.known, len(patch.steps)]
    for linked in patch.steps:
        arguments += (packed_spec(linked), linked.step.input)
    arguments += (len(patch.drop), *patch.drop, len(patch.substitutes))
    for old, new in patch.substitutes:
        arguments += (old, new)
    return arguments


def entry_arguments(entries: Sequence[QueueEntry]) -> list[Part]:
    """Number of entries, then four arguments each."""
    arguments: list[Part] = [len(entries)]
    for entry in entries:
        arguments += (entry.agent, entry.priority.value, entry.entry_id, entry.body)
    return arguments


def event_arguments(events: Iterable[Event]) -> list[Part]:
    """Each event as JSON, without the time and place that the ledger gives it."""
    return [_json.encode(msgspec.structs.replace(event, time_ms=0, sequence=0, digest=0)) for event in events]
