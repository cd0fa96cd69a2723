"""Ended tasks, for who hands on thousands of them: numbers are read, texts stay as they are stored.

`unpacking.task_of` makes the whole record of the same fields.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from waybill.ledger.unpacking import USAGE_FIELDS

SEVERAL_SINKS = -1
"""The size of an output that has to be joined of those of several steps."""
NO_USAGE = (0,) * len(USAGE_FIELDS)
_NUMBERS = ("revision", "steps", "open", "created", "ended", "deadline", "start", "budget", "reserved")
_TEXTS = ("tenant", "goal", "priority", "labels", "template", "agents", "on_limit", "failure", "policy")
END_FIELDS = ("state", "sinks", *_TEXTS, *_NUMBERS, *USAGE_FIELDS)
"""What a row of `read_ends` begins with."""
_FIRST_NUMBER = 2 + len(_TEXTS)
_FIRST_USAGE = _FIRST_NUMBER + len(_NUMBERS)


class EndedTask(msgspec.Struct, gc=False):
    """A task that has ended, or whatever else it is by now. Texts are as stored, JSON where they are more than one, and
    empty where they are not set; `state` is empty if the store has no such task. Times are epoch milliseconds, 0 when
    not yet.

    `number` is its number in the feed, 0 if it stands there no more; `output_bytes` is how large its output is, or
    `SEVERAL_SINKS`; `output` is None if there is none or it was left out for its size.
    """

    state: bytes
    sinks: bytes
    tenant: bytes
    goal: bytes
    priority: bytes
    labels: bytes
    template: bytes
    agents: bytes
    on_limit: bytes
    failure: bytes
    policy: bytes
    revision: int
    step_count: int
    open_step_count: int
    created_ms: int
    ended_ms: int
    deadline_at_ms: int
    start_ms: int
    max_cost_microusd: int
    reserved_microusd: int
    usage: tuple[int, ...]
    id: str
    number: int
    last_sequence: int
    output_bytes: int
    output: bytes | None

    @property
    def has_ended(self) -> bool:
        """Whether nothing follows by itself."""
        return self.state in _ENDED

    @property
    def has_succeeded(self) -> bool:
        """Whether it has an output."""
        return self.state == b"succeeded"

    @property
    def last_steps(self) -> tuple[int, ...]:
        """The steps whose outputs it returns, by number; none if it did not succeed."""
        if not self.has_succeeded:
            return ()
        steps: tuple[int, ...] = msgspec.json.decode(self.sinks or b"[]", type=tuple[int, ...])
        return steps

    @property
    def lacks_output(self) -> bool:
        """Whether it has an output that was left out."""
        return self.output is None and self.output_bytes != 0


_ENDED = (b"succeeded", b"failed", b"cancelled")


def ended_of(row: Sequence[Any]) -> EndedTask:
    """An ended task from a row of the reply of `read_ends`."""
    *fields, id_, number, last_sequence, output_bytes, output = row
    used = fields[_FIRST_USAGE:]
    values: list[Any] = [text or b"" for text in fields[:_FIRST_NUMBER]]
    values += [int(value) if value else 0 for value in fields[_FIRST_NUMBER:_FIRST_USAGE]]
    values.append(tuple([int(value or 0) for value in used]) if any(used) else NO_USAGE)
    values += (id_.decode(), number, last_sequence, output_bytes, output)
    return EndedTask(*values)
