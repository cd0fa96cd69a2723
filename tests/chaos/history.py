"""What the campaign was promised and what came of it: plain records, for the checks to read."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from chaos.scenarios import Scenario
from waybill.core.task import Event
from waybill.resources import Step, Task, TaskMetrics
from waybill.rpc.events import event_to_json, event_to_proto


@dataclass(frozen=True)
class Seen:
    """One event as a watcher was shown it: its number, and all that it told, as JSON text."""

    sequence: int
    told: str

    @classmethod
    def of(cls, event: Event) -> Seen:
        """What any watcher must be shown of an event."""
        return cls.of_json(event_to_json(event_to_proto(event)))

    @classmethod
    def of_json(cls, shown: dict[str, Any]) -> Seen:
        """What a watcher over HTTP was shown."""
        return cls(shown["sequence"], json.dumps(shown, sort_keys=True))


@dataclass
class Watched:
    """What one live watcher of a task was shown, from the first event on. `ended` once its stream ended in order."""

    by: str
    seen: list[Seen] = field(default_factory=list)
    ended: bool = False


@dataclass
class Promise:
    """One task that a client was told to be accepted. `answers` are the names that each submission of its request id
    was answered with."""

    scenario: Scenario
    request_id: str
    answers: list[str] = field(default_factory=list)
    watched: list[Watched] = field(default_factory=list)
    cancelled: bool = False

    @property
    def task(self) -> str:
        """Name of the task, by the first answer."""
        return self.answers[0]


@dataclass(frozen=True)
class Effect:
    """A line that an agent left outside the suite: `run` for an attempt that ran, `effect` for an effect."""

    kind: str
    task: str
    step: str
    attempt: int
    time_ms: int


@dataclass(frozen=True)
class History:
    """All that is known of one task at the end: its promise, its stored state, its events and metrics."""

    promise: Promise
    task: Task | None
    steps: Sequence[Step] = ()
    events: Sequence[Event] = ()
    effects: Sequence[Effect] = ()
    metrics: TaskMetrics | None = None


def read_effects(path: Path) -> list[Effect]:
    """All lines of the file that agents wrote to."""
    return [Effect(**json.loads(line)) for line in path.read_text().splitlines()]
