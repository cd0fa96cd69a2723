"""The one line that a campaign prints, and how long steps waited that a killed worker was running."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field

from model_answers import Billed

from chaos.checks import EFFECT_UNKNOWN, Kind, Violation
from chaos.history import History
from chaos.injector import KINDS, Fault, Kill
from chaos.spending import cost_of
from waybill.ledger.call_records import CallRecord, CallState


@dataclass
class Report:
    """What a campaign did and found. Fields as in docs/reliability.md."""

    seed: int
    duration_s: float
    tasks: int = 0
    steps: int = 0
    attempts: int = 0
    kills: int = 0
    kills_by_process: dict[str, int] = field(default_factory=dict)
    faults: dict[str, int] = field(default_factory=dict)
    self_exits: int = 0
    lost: int = 0
    duplicate_commits: int = 0
    duplicate_effects: int = 0
    gaps: int = 0
    leaks: int = 0
    other_violations: int = 0
    recoveries: int = 0
    recovery_p50_s: float | None = None
    recovery_p99_s: float | None = None
    drain_s: float = 0.0
    tasks_by_end: dict[str, int] = field(default_factory=dict)
    tasks_by_scenario: dict[str, int] = field(default_factory=dict)
    watchers: int = 0
    effects: int = 0
    unknown_effects: int = 0
    model_calls: int = 0
    estimated_calls: int = 0
    billed_microusd: int = 0
    accounted_microusd: int = 0
    payments: int = 0
    folder: str = ""

    def line(self) -> str:
        """The report as one line of JSON."""
        return json.dumps(asdict(self), separators=(", ", ": "))

    def count_histories(self, histories: Sequence[History]) -> None:
        """Count tasks, steps and attempts, watchers and effects."""
        self.tasks = len(histories)
        self.steps = sum(len(history.steps) for history in histories)
        self.attempts = sum(step.attempt for history in histories for step in history.steps)
        found = [history.task for history in histories if history.task]
        self.tasks_by_end = dict(sorted(Counter(str(task.state) for task in found).items()))
        self.tasks_by_scenario = dict(sorted(Counter(history.promise.scenario.name for history in histories).items()))
        self.watchers = sum(len(history.promise.watched) for history in histories)
        self.effects = sum(row.kind == "effect" for history in histories for row in history.effects)
        self.unknown_effects = sum(task.failure is not None and task.failure.reason == EFFECT_UNKNOWN for task in found)

    def count_money(self, bill: Sequence[Billed], calls: Sequence[CallRecord], paid: Mapping[int, int]) -> None:
        """Count model calls, what they cost by both accounts, and payments of the tool."""
        self.model_calls = len(bill)
        self.estimated_calls = sum(call.state is CallState.ESTIMATED for call in calls)
        self.billed_microusd = sum(map(cost_of, bill))
        self.accounted_microusd = sum(call.usage.cost_microusd for call in calls)
        self.payments = sum(paid.values())

    def count_faults(self, faults: Sequence[Fault], kills: Sequence[Kill]) -> None:
        """Count what the injector did."""
        self.kills = len(kills)
        killed = Counter(kill.kind for kill in kills)
        self.kills_by_process = {kind: killed[kind] for kind in KINDS}
        self.faults = dict(sorted(Counter(str(fault.deed) for fault in faults).items()))

    def count_violations(self, violations: Iterable[Violation]) -> None:
        """Count by kind; kinds without a field of their own go together."""
        found = Counter(violation.kind for violation in violations)
        self.lost = found.pop(Kind.LOST, 0)
        self.duplicate_commits = found.pop(Kind.DUPLICATE_COMMIT, 0)
        self.duplicate_effects = found.pop(Kind.DUPLICATE_EFFECT, 0)
        self.gaps = found.pop(Kind.GAP, 0)
        self.leaks = found.pop(Kind.LEAK, 0)
        self.other_violations = sum(found.values())

    def count_recoveries(self, seconds: Sequence[float]) -> None:
        """The median and the 99th percentile of the times that steps took to run again."""
        ordered = sorted(seconds)
        self.recoveries = len(ordered)
        if ordered:
            self.recovery_p50_s = round(_percentile(ordered, 0.50), 3)
            self.recovery_p99_s = round(_percentile(ordered, 0.99), 3)


def recoveries(histories: Iterable[History], kills: Sequence[Kill]) -> list[float]:
    """Seconds from the kill of a worker to the start of the next attempt, for each step that it was running then.

    An attempt was running if it started at a process of the killed name before the kill and was lost, not finished.
    """
    worker_kills = sorted((kill for kill in kills if kill.kind == "worker"), key=lambda kill: kill.time_ms)
    found = []
    for history in histories:
        for lost_by, started_ms, again_ms in _repeated(history):
            for kill in worker_kills:
                if kill.process == lost_by and started_ms <= kill.time_ms < again_ms:
                    found.append((again_ms - kill.time_ms) / 1000)
                    break
    return found


def _repeated(history: History) -> Iterable[tuple[str, int, int]]:
    """Each attempt that its worker lost, as the worker's name, when it started and when the next one did."""
    running: dict[str, tuple[str, int]] = {}
    lost: dict[str, tuple[str, int]] = {}
    for event in history.events:
        match event.type.value:
            case "step_started":
                if event.step in lost:
                    yield (*lost.pop(event.step), event.time_ms)
                running[event.step] = (event.worker.partition(".")[0], event.time_ms)
            case "step_retried" if event.failure and event.failure.reason == "WORKER_LOST" and event.step in running:
                lost[event.step] = running.pop(event.step)


def _percentile(ordered: Sequence[float], part: float) -> float:
    """The smallest value that is not exceeded by this part of the values."""
    return ordered[max(0, math.ceil(part * len(ordered)) - 1)]
