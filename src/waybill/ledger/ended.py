"""Ended tasks, for who hands on thousands of them: numbers are read, long texts stay as they are stored.

`unpacking.task_of` makes the whole record of the same fields.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from waybill.ledger.stored import PRIORITIES, TAIL_FIELDS, TASK_STATES, parts_of
from waybill.ledger.unpacking import USAGE_FIELDS

SEVERAL_SINKS = -1
"""The size of an output that has to be joined of those of several steps."""
NO_USAGE = (0,) * len(USAGE_FIELDS)
END_FIELDS = ("core", "sinks", "goal", "labels", "template", "agents", "failure", "policy", "ended")
"""What a row of `read_ends` begins with, as `FIELDS` of `read_ends.lua`."""


_NO_TAIL = dict.fromkeys(TAIL_FIELDS, 0) | {"revision": 1, "on_limit": ""}
_UNDECODABLE = (ValueError, LookupError, struct.error, msgspec.MsgspecError)


class EndedTask(msgspec.Struct, gc=False):
    """A task that has ended, or whatever else it is by now. Texts in bytes are as stored, JSON where they are more than
    one, and empty where they are not set; `state` is empty if the store has no such task. Times are epoch milliseconds,
    0 when not yet.

    `number` is its number in the feed, 0 if it stands there no more; `output_bytes` is how large its output is, or
    `SEVERAL_SINKS`; `output` is None if there is none or it was left out for its size.
    """

    id: str
    number: int
    state: str = ""
    tenant: str = ""
    priority: str = ""
    sinks: bytes = b""
    goal: bytes = b""
    labels: bytes = b""
    template: bytes = b""
    agents: bytes = b""
    failure: bytes = b""
    policy: bytes = b""
    revision: int = 0
    step_count: int = 0
    open_step_count: int = 0
    created_ms: int = 0
    ended_ms: int = 0
    deadline_at_ms: int = 0
    start_ms: int = 0
    max_cost_microusd: int = 0
    on_limit: str = ""
    reserved_microusd: int = 0
    usage: tuple[int, ...] = NO_USAGE
    last_sequence: int = 0
    output_bytes: int = 0
    output: bytes | None = None

    @property
    def has_ended(self) -> bool:
        """Whether nothing follows by itself."""
        return self.state in _ENDED

    @property
    def has_succeeded(self) -> bool:
        """Whether it has an output."""
        return self.state == "succeeded"

    @property
    def last_steps(self) -> tuple[int, ...]:
        """The steps whose outputs it returns, by number; none if it did not succeed."""
        if not self.has_succeeded:
            return ()
        if not self.sinks:
            return (self.step_count,) if self.step_count else ()
        steps: tuple[int, ...] = msgspec.json.decode(self.sinks, type=tuple[int, ...])
        return steps

    @property
    def lacks_output(self) -> bool:
        """Whether it has an output that was left out."""
        return self.output is None and self.output_bytes != 0


_ENDED = ("succeeded", "failed", "cancelled")


def ended_of(row: Sequence[Any]) -> EndedTask:
    """An ended task from a row of the reply of `read_ends`; one whose core cannot be decoded is taken for none."""
    packed, sinks, goal, labels, template, agents, failure, policy, ended, id_, number, sequence, size, output = row
    if packed is None:
        return EndedTask(id_.decode(), number)
    try:
        (state, priority, created_low, created, steps, open_, *_), tenant, tail = parts_of(packed)
        state_name, priority_name = TASK_STATES[state - 1].value, PRIORITIES[priority - 1].value
    except _UNDECODABLE:
        return EndedTask(id_.decode(), number)
    task = EndedTask(
        id_.decode(),
        number,
        state_name,
        tenant,
        priority_name,
        sinks or b"",
        goal or b"",
        labels or b"",
        template or b"",
        agents or b"",
        failure or b"",
        policy or b"",
        1,
        steps,
        open_,
        created_low | created << 16,
        int(ended or 0),
        last_sequence=sequence,
        output_bytes=size,
        output=output,
    )
    if tail:
        _add_tail(task, _NO_TAIL | dict(zip(TAIL_FIELDS, tail, strict=False)))
    return task


def _add_tail(task: EndedTask, tail: Mapping[str, Any]) -> None:
    task.revision = tail["revision"]
    task.deadline_at_ms = tail["deadline"]
    task.start_ms = tail["start"]
    task.max_cost_microusd = tail["budget"]
    task.on_limit = tail["on_limit"] or ""
    task.reserved_microusd = tail["reserved"]
    task.usage = tuple(tail[field] for field in USAGE_FIELDS)
