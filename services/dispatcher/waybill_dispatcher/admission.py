"""Which ended tasks a stream of results wants, asked of thousands: what many have in common is judged once."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from waybill.ledger.ended import EndedTask
from waybill.ledger.records import TaskFilter, TaskRecord

_MOST_KEPT = 1_024


class Admission:
    """A filter over tasks as they are stored."""

    def __init__(self, wanted: TaskFilter) -> None:
        self._wanted = wanted
        self._states = {state.value for state in wanted.states}
        self._template = wanted.template.encode()
        self._labels: dict[bytes, bool] = {}
        self._agents: dict[bytes, bool] = {}

    def admits(self, task: EndedTask) -> bool:
        """Whether a stored task is wanted."""
        return (
            (not self._states or task.state in self._states)
            and (not self._wanted.labels or _judged(self._labels, task.labels, self._has_labels))
            and (not self._wanted.agent or _judged(self._agents, task.agents, self._has_agent))
            and (not self._template or self._template == task.template)
            and self._is_of_time(task.created_ms)
        )

    def admits_record(self, record: TaskRecord) -> bool:
        """Whether a task of the archive is wanted."""
        return self._is_of_time(record.created_ms) and self._wanted.admits(record)

    def _is_of_time(self, created_ms: int) -> bool:
        until_ms = self._wanted.until_ms
        return self._wanted.from_ms <= created_ms and (not until_ms or created_ms < until_ms)

    def _has_labels(self, labels: bytes) -> bool:
        return self._wanted.labels.items() <= msgspec.json.decode(labels or b"{}", type=dict[str, str]).items()

    def _has_agent(self, agents: bytes) -> bool:
        return self._wanted.agent in msgspec.json.decode(agents or b"[]", type=tuple[str, ...])


def _judged(known: dict[bytes, bool], stored: bytes, judge: Callable[[bytes], bool]) -> bool:
    found = known.get(stored)
    if found is None:
        if len(known) >= _MOST_KEPT:
            known.clear()
        found = known[stored] = judge(stored)
    return found
