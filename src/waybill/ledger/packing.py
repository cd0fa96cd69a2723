"""The ledger's records as the flat arguments of its functions; `unpacking` has the way out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from waybill.core.budget import BudgetAction
from waybill.core.patch import LinkedPatch
from waybill.core.plan import FailurePolicy, Graph, LinkedStep, RetryPolicy
from waybill.core.task import Event, Usage
from waybill.ledger.connection import Part
from waybill.ledger.records import NewTask, QueueEntry, Settlement, StepRef

_PLAIN_RETRY = RetryPolicy()
_NO_USAGE = Usage()
_KEPT_PLANS, _KEPT_STEPS = 256, 64
_plans: dict[int, tuple[Graph, Sequence[Part]]] = {}
"""Arguments of plans by the identity of their graphs, which are kept with them so that it stays theirs."""

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


def plan_arguments(graph: Graph) -> Sequence[Part]:
    """What the functions' `Task.read_plan` reads: sinks, agents, failure policy (empty for the default), number of
    steps, then spec, input and number of dependencies of each.

    Tasks of one plan share it, so the arguments of small plans are kept while their graphs are in use.
    """
    known = _plans.get(id(graph))
    if known and known[0] is graph:
        return known[1]
    agents = sorted({linked.step.agent for linked in graph.steps} - {""})
    on_failure = "" if graph.failure_policy is FailurePolicy.STOP else graph.failure_policy.value
    arguments: list[Part] = [sinks(graph), _json.encode(agents), on_failure, len(graph.steps)]
    for linked in graph.steps:
        arguments += (packed_spec(linked), linked.step.input, len(linked.dependencies))
    if len(graph.steps) <= _KEPT_STEPS:
        if len(_plans) >= _KEPT_PLANS:
            _plans.clear()
        _plans[id(graph)] = (graph, arguments)
    return arguments


def _options(task: NewTask) -> list[Part]:
    """Names and values of what few tasks have all of; what is empty is not stored."""
    budget = task.budget
    found: list[Part] = []
    for name, value in (
        ("goal", task.goal.encode()),
        ("input", task.input if task.input != b"null" else b""),
        ("labels", _json.encode(task.labels) if task.labels else b""),
        ("paths", _json.encode(task.paths) if task.paths else b""),
        ("trace", task.traceparent),
        ("template", task.template),
        ("span", task.deadline_ms),
        ("budget", budget.max_cost_microusd if budget else 0),
        ("on_limit", budget.on_limit.value if budget and budget.on_limit is not BudgetAction.STOP else ""),
        ("policy", _json.encode(task.policy) if task.policy else b""),
    ):
        if value:
            found += (name, value)
    return found


def submit_arguments(tasks: Sequence[NewTask]) -> list[Part]:
    """Parts of `submit`, without the time: the plans, each once, and the tasks."""
    numbers: dict[int, int] = {}
    plans: list[Part] = []
    rows: list[Part] = []
    for task in tasks:
        plan = 0
        if task.graph is not None and task.graph.steps:
            plan = numbers.get(id(task.graph), 0)
            if not plan:
                plan = numbers[id(task.graph)] = len(numbers) + 1
                plans.extend(plan_arguments(task.graph))
        options = _options(task)
        rows += (task.id, task.tenant, task.request_id, task.fingerprint, task.priority.value, plan, task.start_ms)
        rows += (len(task.documents), len(options) // 2)
        for document in task.documents:
            rows.append(_msgpack.encode((document.name, document.media_type, document.data)))
        rows += options
    return [len(numbers), *plans, len(tasks), *rows]


def usage_arguments(usage: Usage) -> list[Part]:
    """Six numbers, in the order of the functions' `USAGE`."""
    return list(msgspec.structs.astuple(usage))


def _usage_text(usage: Usage) -> str:
    """The same numbers in one text, empty if all are 0."""
    return "" if usage == _NO_USAGE else " ".join(map(str, msgspec.structs.astuple(usage)))


def settlement_arguments(settlements: Sequence[Settlement]) -> list[Part]:
    """Number of settlements, then ten arguments each, and those of the patch that comes with it."""
    arguments: list[Part] = [len(settlements)]
    for item in settlements:
        arguments += (
            item.ref.task,
            item.ref.number,
            item.ref.attempt,
            item.outcome.value,
            item.output,
            _json.encode(item.failure) if item.failure else b"",
            _usage_text(item.usage),
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
