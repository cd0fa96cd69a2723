"""The attempts of steps, folded from a task's events: who ran each, when, how it ended, and what it spent."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from waybill.core.task import Event, EventType, Failure, StepState, Usage
from waybill.errors import NotFound
from waybill.ledger.reads import Reads
from waybill.ledger.records import TaskRecord

_EVENTS_A_READ = 500
_OPEN = (StepState.RUNNING, StepState.WAITING)


@dataclass(slots=True)
class Attempt:
    """One execution of a step, or one wait for an answer. Times are epoch milliseconds, 0 when not yet.

    Usage is that of its model calls and what its worker told besides; `run_ms` is what the clock says for an attempt
    whose worker never told.
    """

    number: int
    state: StepState
    worker: str = ""
    started_ms: int = 0
    ended_ms: int = 0
    failure: Failure | None = None
    usage: Usage = Usage()
    wait_ms: int = 0
    run_ms: int = 0


class AttemptFold:
    """The attempts of all steps of one task, by what its events tell, in the order in which they are added."""

    def __init__(self) -> None:
        self._attempts: dict[str, list[Attempt]] = {}
        self._ready_ms: dict[str, int] = {}
        self._calls: dict[tuple[str, int, int], Usage] = {}

    def add(self, event: Event) -> None:
        """Take in the next event of the task."""
        known = _HANDLERS.get(event.type)
        if known is not None:
            known(self, event)

    def add_all(self, events: Iterable[Event]) -> None:
        """Take in the next events of the task."""
        for event in events:
            self.add(event)

    def of(self, step: str) -> list[Attempt]:
        """The attempts of a step by name, oldest first."""
        return self._attempts.get(step, [])

    def _ready(self, event: Event) -> None:
        self._ready_ms[event.step] = event.time_ms

    def _started(self, event: Event) -> None:
        wait_ms = max(0, event.time_ms - self._ready_ms.get(event.step, event.time_ms))
        begun = Attempt(
            event.attempt, StepState.RUNNING, worker=event.worker, started_ms=event.time_ms, wait_ms=wait_ms
        )
        self._attempts.setdefault(event.step, []).append(begun)

    def _asked(self, event: Event) -> None:
        asked = Attempt(event.attempt, StepState.WAITING, started_ms=event.time_ms)
        self._attempts.setdefault(event.step, []).append(asked)

    def _retried(self, event: Event) -> None:
        self._end(event, StepState.FAILED)

    def _finished(self, event: Event) -> None:
        self._end(event, event.step_state or StepState.FAILED)

    def _called(self, event: Event) -> None:
        """Count what a model call used, whenever it is told; what is told again replaces what was."""
        key, used = (event.step, event.attempt, event.call), event.usage or Usage()
        for attempt in self.of(event.step):
            if attempt.number == event.attempt:
                attempt.usage += used - self._calls.get(key, Usage())
                self._calls[key] = used

    def _end(self, event: Event, state: StepState) -> None:
        """End the attempt under way. A step can end without one: between two attempts, or before the first."""
        attempts = self.of(event.step)
        if not attempts or attempts[-1].state not in _OPEN or attempts[-1].number != event.attempt:
            return
        ended = attempts[-1]
        ended.state, ended.ended_ms, ended.failure = state, event.time_ms, event.failure
        ended.run_ms = max(0, event.time_ms - ended.started_ms)
        if event.usage is not None:
            ended.usage += event.usage
            ended.wait_ms, ended.run_ms = event.wait_ms, event.run_ms


_HANDLERS: dict[EventType, Callable[[AttemptFold, Event], None]] = {
    EventType.STEP_READY: AttemptFold._ready,
    EventType.STEP_STARTED: AttemptFold._started,
    EventType.STEP_WAITING: AttemptFold._asked,
    EventType.CALL_ENDED: AttemptFold._called,
    EventType.STEP_RETRIED: AttemptFold._retried,
    EventType.STEP_FINISHED: AttemptFold._finished,
}


async def folded(ledger: Reads, task: TaskRecord) -> AttemptFold:
    """The attempts of all steps of a stored task. Raises Unavailable, and NotFound if it was dropped meanwhile."""
    fold = AttemptFold()
    for first in range(1, task.last_sequence + 1, _EVENTS_A_READ):
        events = await ledger.events(task.id, first, _EVENTS_A_READ)
        if not events:
            raise NotFound(f"there is no task {task.id}")
        fold.add_all(events)
    return fold
