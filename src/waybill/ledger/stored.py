"""How tasks and steps lie in the store: the fields that every one has one after the other, then msgpack of the rest.

`task.lua` and `step.lua` write it. In the release before this one each field of a task stood by itself, and a step was
msgpack.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any

import msgspec

from waybill.core.task import Priority, TaskState

TASK_STATES = tuple(
    TaskState(state)
    for state in (
        "scheduled",
        "planning",
        "running",
        "paused",
        "cancelling",
        "succeeded",
        "failed",
        "cancelled",
    )
)
"""States of tasks by their number in the store, counted from 1."""
PRIORITIES = (Priority.HIGH, Priority.NORMAL, Priority.LOW)
"""Priorities by their number in the store, counted from 1."""
CORE_FIELDS = ("state", "priority", "created", "steps", "open", "running", "wait", "run", "tenant")
"""What every task's core has, in the order of `CORE` in `task.lua`."""
TAIL_FIELDS = (
    *("revision", "outcome", "planned", "deadline", "start"),
    *("input_tokens", "output_tokens", "cost", "cached", "reasoning", "estimated"),
    *("round", "budget", "on_limit", "on_failure", "reserved", "open_calls", "revising"),
)
"""What follows in a task's core, in the order of `TAIL` in `task.lua`; a stored one may have less or more."""
OLD_TASK_FIELDS = (*CORE_FIELDS, *TAIL_FIELDS)
"""What the release before this one stored of a task as fields of their own."""
RECORD_FIELDS = (
    *("state", "attempt", "blockers"),
    *("ready", "started", "ended", "granted", "wait", "run", "last_wait"),
    "worker",
)
"""What every step's record has, in the order of `RECORD` in `step.lua`."""
STEP_TAIL_FIELDS = (
    *("tries", "deaths", "said", "losses", "suspect"),
    *("input_tokens", "output_tokens", "cost", "cached", "reasoning", "estimated"),
    *("parked", "open_calls", "broke", "turn", "skipped", "dropped", "added_by", "replan", "permits"),
)
"""What follows in a step's record, in the order of `STEP_TAIL` in `step.lua`; a stored one may have less or more."""
OLD_STEP_FIELDS = (
    *(
        "state",
        "attempt",
        "tries",
        "deaths",
        "blockers",
        "ready",
        "started",
        "ended",
        "worker",
        "granted",
        "wait",
        "run",
    ),
    *(
        "input_tokens",
        "output_tokens",
        "cost",
        "last_wait",
        "said",
        "losses",
        "suspect",
        "parked",
        "cached",
        "reasoning",
    ),
    *("estimated", "open_calls", "broke", "turn", "skipped", "dropped", "added_by", "replan", "permits"),
)
"""A step's record of the release before this one; an older one's is shorter."""
_TEXTS = {"tenant", "outcome", "on_limit", "on_failure"}
_NO_TAIL = dict.fromkeys(TAIL_FIELDS, 0) | {"revision": 1} | dict.fromkeys(_TEXTS - {"tenant"}, "")
_NO_STEP_TAIL = dict.fromkeys(STEP_TAIL_FIELDS, 0)
_LAST_STATE = 15
"""A first byte above this is no state of a step: the record is msgpack."""
# Six bytes are two and four: the format knows no other.
_CORE = struct.Struct("<BBHIIIIHIHI")
_RECORD = struct.Struct("<BII" + "HI" * 7)
_list = msgspec.msgpack.Decoder(list[Any])


def _text_at(packed: bytes, at: int) -> tuple[str, int]:
    """The text that ends with a zero, and where the rest begins. Raises ValueError if nothing ends it."""
    end = packed.index(0, at)
    return packed[at:end].decode(), end + 1


def parts_of(core: bytes) -> tuple[tuple[int, ...], str, list[Any]]:
    """Numbers, tenant and tail of a task's core, as far as it goes. Raises as `core_of`."""
    tenant, rest = _text_at(core, _CORE.size)
    return _CORE.unpack_from(core), tenant, _list.decode(core[rest:]) if rest < len(core) else []


def core_of(core: bytes) -> dict[str, Any]:
    """The fields of a task's core. Raises ValueError, struct.error, LookupError or DecodeError for what is none."""
    numbers, tenant, tail = parts_of(core)
    state, priority, created_low, created, steps, open_, running, wait_low, wait, run_low, run = numbers
    fields = _NO_TAIL | {
        "state": TASK_STATES[state - 1],
        "priority": PRIORITIES[priority - 1],
        "created": created_low | created << 16,
        "steps": steps,
        "open": open_,
        "running": running,
        "wait": wait_low | wait << 16,
        "run": run_low | run << 16,
        "tenant": tenant,
    }
    fields.update(zip(TAIL_FIELDS, tail, strict=False))
    return fields


def old_core_of(values: Sequence[bytes | None]) -> dict[str, Any]:
    """The same of the values of `OLD_TASK_FIELDS`."""
    fields: dict[str, Any] = {
        name: (value or b"").decode() if name in _TEXTS else int(value or 0)
        for name, value in zip(OLD_TASK_FIELDS[2:], values[2:], strict=True)
    }
    state, priority = values[:2]
    return fields | {"state": TaskState((state or b"").decode()), "priority": Priority((priority or b"").decode())}


def record_of(run: bytes) -> dict[str, Any]:
    """The fields of a step's record. Raises ValueError, struct.error, LookupError or DecodeError for what is none."""
    if run[0] > _LAST_STATE:
        return _NO_STEP_TAIL | dict(zip(OLD_STEP_FIELDS, _list.decode(run), strict=False))
    state, attempt, blockers, *halves = _RECORD.unpack_from(run)
    worker, rest = _text_at(run, _RECORD.size)
    times = (low | high << 16 for low, high in zip(halves[0::2], halves[1::2], strict=True))
    fields = _NO_STEP_TAIL | dict(zip(RECORD_FIELDS, (state, attempt, blockers, *times, worker), strict=True))
    if rest < len(run):
        fields.update(zip(STEP_TAIL_FIELDS, _list.decode(run[rest:]), strict=False))
    return fields
