"""What a task and its steps are in memory: records, as the ledger keeps them."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from waybill.core.plan import Condition, LinkedStep, PlanStep
from waybill.core.task import Failure, StepState, Usage


class Clock:
    """Real time, from which the waits are left out that nothing else fills: a backoff of a minute takes no time."""

    def __init__(self) -> None:
        self._skipped_ms = 0

    @property
    def now_ms(self) -> int:
        """Epoch milliseconds."""
        return int(time.time() * 1000) + self._skipped_ms

    def skip_to(self, due_ms: int) -> None:
        """Let it be at least `due_ms`."""
        self._skipped_ms += max(0, due_ms - self.now_ms)


@dataclass(slots=True, eq=False)
class MemoryStep:
    """One step. `due_ms` is when its wait is over: for another attempt, or for a person. `known_as` are the names under
    which it refers to steps that took the place of others; `note` says why it was skipped by a condition.
    """

    number: int
    step: PlanStep
    dependencies: list[int]
    references: list[int]
    conditions: list[Condition]
    known_as: dict[int, list[str]] = field(default_factory=dict)
    state: StepState = StepState.PENDING
    attempt: int = 0
    tries: int = 0
    deaths: int = 0
    due_ms: int | None = None
    output: bytes = b""
    failure: Failure | None = None
    note: str = ""
    usage: Usage = Usage()
    ready_ms: int = 0
    wait_ms: int = 0
    run_ms: int = 0
    text: str = ""
    wants_revision: bool = False
    dropped: bool = False

    @classmethod
    def of(cls, number: int, linked: LinkedStep) -> MemoryStep:
        """The step of a plan that has not begun."""
        return cls(
            number,
            linked.step,
            list(linked.dependencies),
            list(linked.references),
            list(linked.conditions),
        )

    @property
    def name(self) -> str:
        """Its name in the plan."""
        return self.step.name


def inputs_of(step: MemoryStep, steps: Mapping[int, MemoryStep], task_root: bytes) -> dict[str, bytes]:
    """What the step's input may refer to, JSON text by the names under which the step knows it."""
    found: dict[str, bytes] = {}
    for number in step.references:
        if number == 0:
            found["task"] = task_root
        else:
            found |= dict.fromkeys(step.known_as.get(number) or [steps[number].name], steps[number].output)
    return found
