"""The ledger's records from what is stored and what its functions reply; `packing` has the way in."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from waybill.core.budget import Budget, BudgetAction, TaskPolicy
from waybill.core.plan import FailurePolicy, Question
from waybill.core.task import Document, EffectState, Event, Failure, StepState, Usage
from waybill.ledger.records import Effect, Grant, StepRecord, StepRef, TaskRecord
from waybill.ledger.stored import core_of, old_core_of, record_of

STEP_STATES = tuple(StepState)
"""Step states by their number in the store, counted from 1."""
TASK_FIELDS = (
    "core",
    "goal",
    "labels",
    "paths",
    "sinks",
    "failure",
    "trace",
    "ended",
    "note",
    "template",
    "agents",
    "policy",
    "state",
)
USAGE_FIELDS = ("input_tokens", "output_tokens", "cost", "cached", "reasoning", "estimated")
"""The fields of `Usage`, in their order, as tasks, steps and calls keep them."""
BUDGET_QUESTION = Question(
    "a budget does not allow the next model call: how many micro-dollars may the task spend besides?",
    '{"type":"object","properties":{"add_microusd":{"type":"integer","minimum":0,"maximum":1000000000000}},'
    '"required":["add_microusd"],"additionalProperties":false}',
)
"""What a step asks whose next model call would cross a budget."""
_events = msgspec.json.Decoder(Event)
_failures = msgspec.json.Decoder(Failure)


def ref_of(written: bytes) -> StepRef:
    """The attempt that the ledger wrote."""
    task, number, attempt = written.decode().rsplit(":", 2)
    return StepRef(task, int(number), int(attempt))


def document_of(packed: bytes) -> Document:
    """A document as `submit_arguments` packed it."""
    name, media_type, data = msgspec.msgpack.decode(packed, type=tuple[str, str, bytes])
    return Document(name, media_type, data)


def event_of(data: bytes, sequence: int) -> Event:
    """A stored event with its number and digest (CRC-32, with 0 told as 1)."""
    event = _events.decode(data)
    event.sequence = sequence
    event.digest = zlib.crc32(data) or 1
    return event


def _text(data: bytes) -> str:
    """Text of a grant. What is damaged must not take its worker down: it does so to that step alone."""
    return data.decode("utf-8", "replace")


def named_outputs(names: Sequence[bytes], outputs: Sequence[bytes | None]) -> Mapping[str, bytes]:
    """Outputs by step name; goal and input of the task become one JSON object named `task`."""
    found = {_text(name): output or b"" for name, output in zip(names, outputs, strict=True)}
    if "task.goal" in found:
        found["task"] = task_root(found.pop("task.goal"), found.pop("task.input"))
    return found


def task_root(goal: bytes | None, input_: bytes | None) -> bytes:
    """What `task` stands for in a reference, JSON text."""
    return b'{"goal":' + msgspec.json.encode(_text(goal or b"")) + b',"input":' + (input_ or b"null") + b"}"


def grant_of(row: Sequence[Any], input_: bytes, inputs: Mapping[str, bytes]) -> Grant:
    """A grant from a row of the reply of `exchange`."""
    task, number, attempt, step, agent, _, run_timeout_ms, tenant, trace, wait_ms, suspect, *_ = row
    return Grant(
        ref=StepRef(task.decode(), number, attempt),
        step=_text(step),
        agent=_text(agent),
        input=input_,
        inputs=inputs,
        run_timeout_ms=run_timeout_ms,
        tenant=_text(tenant),
        traceparent=_text(trace or b""),
        wait_ms=wait_ms,
        suspect=bool(suspect),
    )


def effect_of(packed: bytes) -> Effect:
    """An effect as `effect.lua` stores it."""
    state, attempt, _, result = packed.split(b" ", 3)
    return Effect(EffectState(state.decode()), int(attempt), result)


def failure_of(data: bytes | None) -> Failure | None:
    """A failure as it is stored, or None where there is none."""
    return _failures.decode(data) if data else None


def is_old(values: Sequence[bytes | None]) -> bool:
    """Whether these are `TASK_FIELDS` of a task that an older release wrote: its `OLD_TASK_FIELDS` have the rest."""
    return values[0] is None and values[-1] is not None


def task_of(
    task_id: str, values: Sequence[bytes | None], last_sequence: int, old: Sequence[bytes | None] | None = None
) -> TaskRecord | None:
    """A task from the values of `TASK_FIELDS`, or None if it does not exist. Of one that an older release wrote `old`
    has those of `OLD_TASK_FIELDS`.
    """
    core, goal, labels, paths, sinks, failure, trace, ended, note, template, agents, policy, _ = values
    if core is None and old is None:
        return None
    row = core_of(core) if core is not None else old_core_of(old or ())
    steps = row["steps"]
    return TaskRecord(
        id=task_id,
        tenant=row["tenant"],
        state=row["state"],
        goal=(goal or b"").decode(),
        priority=row["priority"],
        labels=msgspec.json.decode(labels, type=dict[str, str]) if labels else {},
        paths=msgspec.json.decode(paths, type=tuple[str, ...]) if paths else (),
        revision=row["revision"],
        step_count=steps,
        ended_step_count=steps - row["open"],
        last_sequence=last_sequence,
        sinks=msgspec.json.decode(sinks, type=tuple[int, ...]) if sinks else (steps,) if steps else (),
        failure=failure_of(failure),
        traceparent=(trace or b"").decode(),
        usage=Usage(*(row[field] for field in USAGE_FIELDS)),
        wait_ms=row["wait"],
        run_ms=row["run"],
        created_ms=row["created"],
        planned_ms=row["planned"] or (row["created"] if steps else 0),
        ended_ms=int(ended or 0),
        planning_note=(note or b"").decode(),
        deadline_at_ms=row["deadline"],
        template=(template or b"").decode(),
        agents=msgspec.json.decode(agents, type=tuple[str, ...]) if agents else (),
        failure_policy=FailurePolicy(row["on_failure"] or FailurePolicy.STOP),
        budget=budget_of(row["budget"], row["on_limit"] or ""),
        reserved_microusd=row["reserved"],
        policy=policy_of(policy),
        revising=bool(row["revising"]),
        round=row["round"],
        start_ms=row["start"],
    )


def policy_of(data: bytes | None) -> TaskPolicy | None:
    """What a task may do, or None if it was given no policy."""
    return msgspec.json.decode(data, type=TaskPolicy) if data else None


def budget_of(max_cost_microusd: int, on_limit: str) -> Budget | None:
    """What a task may spend, or None if it was given no budget."""
    if not max_cost_microusd and not on_limit:
        return None
    return Budget(max_cost_microusd, BudgetAction(on_limit or BudgetAction.STOP))


_UNDECODABLE = Failure("UNDECODABLE", "the stored step cannot be decoded")


def step_of(number: int, run: bytes, spec: bytes, failure: bytes | None) -> StepRecord:
    """A step from its stored record, spec and failure, without input and output.

    For what cannot be decoded it says what the functions do: that it is READY to be given up, or what they made of it.
    """
    try:
        return _step_of(number, run, spec, failure)
    except (msgspec.DecodeError, struct.error, ValueError, TypeError, LookupError, AttributeError):
        return _stand_in(number, run, failure)


def state_of(run: bytes) -> StepState:
    """The state in a step's stored record; READY for one that cannot be decoded."""
    try:
        state: int = record_of(run)["state"]
        return STEP_STATES[state - 1]
    except (msgspec.DecodeError, struct.error, LookupError, TypeError, ValueError):
        return StepState.READY


def step_name_of(number: int, spec: bytes) -> str:
    """The name in a step's stored spec; that of the stand-in for one that cannot be decoded."""
    try:
        name = msgspec.msgpack.decode(spec, type=list[Any])[0]
        return name if isinstance(name, str) else _stand_in_name(number)
    except (msgspec.DecodeError, LookupError):
        return _stand_in_name(number)


def _stand_in_name(number: int) -> str:
    return f"undecodable-{number}"


def _stand_in(number: int, run: bytes, failure: bytes | None) -> StepRecord:
    return StepRecord(
        number=number,
        name=_stand_in_name(number),
        agent="",
        state=state_of(run),
        attempt=0,
        tries=0,
        deaths=0,
        losses=0,
        dependencies=(),
        worker="",
        failure=_UNDECODABLE if failure is None else failure_of(failure),
        usage=Usage(),
        wait_ms=0,
        run_ms=0,
        ready_ms=0,
        started_ms=0,
        ended_ms=0,
    )


def _step_of(number: int, run: bytes, spec: bytes, failure: bytes | None) -> StepRecord:
    record = record_of(run)
    name, agent, *_ = fields = msgspec.msgpack.decode(spec, type=list[Any])
    if not isinstance(name, str) or not isinstance(agent, str):
        raise ValueError("a spec begins with the names of the step and its agent")
    step_state = STEP_STATES[record["state"] - 1]
    return StepRecord(
        number=number,
        name=name,
        agent=agent,
        state=step_state,
        attempt=record["attempt"],
        tries=record["tries"],
        deaths=record["deaths"],
        losses=record["losses"],
        dependencies=tuple(fields[8]),
        worker=record["worker"],
        failure=None if step_state is StepState.SUCCEEDED else failure_of(failure),
        usage=Usage(*(record[field] for field in USAGE_FIELDS)),
        wait_ms=record["wait"],
        run_ms=record["run"],
        ready_ms=record["ready"],
        started_ms=record["started"],
        ended_ms=record["ended"],
        question=BUDGET_QUESTION if record["broke"] else _question(fields),
        plan_revision=record["added_by"] or 1,
        when=tuple(text for _, _, text in fields[14]) if len(fields) > 14 else (),
        allow_skipped=len(fields) > 15 and bool(fields[15]),
        dropped=bool(record["dropped"]),
    )


def _question(fields: Sequence[Any]) -> Question | None:
    if len(fields) < 14 or not fields[13]:
        return None
    prompt, answer_schema, timeout_ms, default_answer = fields[13]
    return Question(prompt, answer_schema, timeout_ms, default_answer.encode())
