"""What the worker holds: attempts that run, grants that wait for a slot, and what has ended but is not yet settled.

The ledger hears of all three in every heartbeat, and takes back whatever is missing there.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from functools import cache

from waybill.ledger.records import Grant, Outcome, Settlement, StepRef
from waybill.telemetry import metrics
from waybill_worker.attempt import Attempt, Stop
from waybill_worker.calls import Slot
from waybill_worker.starts import Starts

STUCK_SECONDS = 0.1
"""Steps behind others in a batch go back for others to run once none has started for so long."""
LONGEST_STUCK_SECONDS = 5.0

_wait_seconds = cache(metrics.STEP_WAIT_SECONDS.labels)
_slot_wait_seconds = cache(metrics.SLOT_WAIT_SECONDS.labels)
_returned = cache(metrics.BATCH_STEPS_RETURNED.labels)
StartAttempt = Callable[[Grant, Callable[[Attempt, Settlement | None], None], Slot], Attempt]


class HeldSteps:
    """The held steps of one worker. `changed` is set whenever something has ended. `starts` is what `start` has its
    attempts started by.
    """

    def __init__(
        self,
        slots: int,
        start: StartAttempt,
        starts: Starts | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.slots = slots
        self._clock = clock
        self._starts = starts or Starts()
        self._starts.on_quiet = self._quiet
        self.changed = asyncio.Event()
        self._start = start
        self._running: dict[StepRef, Attempt] = {}
        self._unstarted: dict[StepRef, tuple[Grant, float]] = {}
        self._moved_at = 0.0
        self._stuck_seconds = STUCK_SECONDS
        self._ended: dict[StepRef, Settlement] = {}
        self._aside: dict[StepRef, int] = {}
        self._handing_back = False
        metrics.SLOTS.set(slots)
        metrics.RUNNING_STEPS.set_function(lambda: len(self._running))

    @property
    def free_slots(self) -> int:
        """Steps that could start at once."""
        return max(0, self.slots - self._occupied - len(self._unstarted))

    @property
    def running(self) -> int:
        """Attempts that run now."""
        return len(self._running)

    @property
    def _occupied(self) -> int:
        """Attempts that hold a slot. Those that wait hold none, as long as they are not more than there are slots."""
        return len(self._running) - min(len(self._aside), self.slots)

    @property
    def has_ended(self) -> bool:
        """Whether there is something to settle."""
        return bool(self._ended)

    @property
    def gathering(self) -> bool:
        """Whether more will have ended in a moment, too soon to settle the rest without it."""
        return self._starts.gathering

    @property
    def empty(self) -> bool:
        """Whether the worker holds nothing at all."""
        return not (self._running or self._unstarted or self._ended)

    def refs(self) -> list[StepRef]:
        """Everything that is held."""
        return [*self._running, *self._unstarted, *self._ended]

    def add(self, grant: Grant) -> None:
        """Take a step that was granted; one that is held already was granted twice for one lost reply."""
        ref = grant.ref
        if ref in self._running or ref in self._unstarted or ref in self._ended:
            return
        _wait_seconds(grant.agent).observe(grant.wait_ms / 1000)
        if self._handing_back:
            self._hand_back(grant)
        elif self._occupied < self.slots:
            self._begin(grant)
        else:
            now = self._clock()
            if not self._unstarted:
                self._moved_at = now
            self._unstarted[ref] = grant, now

    def settlements(self) -> list[Settlement]:
        """What has ended. It stays held until `settled` is told so."""
        return list(self._ended.values())

    def settled(self, settlements: Iterable[Settlement]) -> None:
        """The ledger has these."""
        for settlement in settlements:
            self._ended.pop(settlement.ref, None)

    def stop(self, ref: StepRef, why: Stop) -> None:
        """Stop one attempt; nothing happens if it is not held or has ended, unless it is lost."""
        attempt = self._running.get(ref)
        if attempt is not None:
            attempt.stop(why)
        elif why is Stop.LOST:
            self._unstarted.pop(ref, None)
            self._ended.pop(ref, None)
            self.changed.set()
        elif self._unstarted.pop(ref, None) is not None:
            self._settle(Settlement(ref, Outcome.CANCELLED))

    def stop_all(self, why: Stop) -> None:
        """Stop everything that is held."""
        for ref in self.refs():
            self.stop(ref, why)

    def hand_back(self) -> None:
        """Give back what has not started, now and from now on."""
        self._handing_back = True
        self._return_unstarted()

    @property
    def stuck_in_seconds(self) -> float | None:
        """When what has not started is to be returned, if nothing starts until then; None if all has started."""
        if not self._unstarted:
            return None
        return max(0.0, self._moved_at + self._stuck_seconds - self._clock())

    def return_stuck(self) -> None:
        """Give back what waits behind slow steps, if it does. Each time that follows soon takes twice as long, so that
        steps which are slow everywhere do not go round.
        """
        stuck_in_seconds = self.stuck_in_seconds
        if stuck_in_seconds is not None and stuck_in_seconds < 0.001:
            for grant, _ in self._unstarted.values():
                _returned(grant.agent).inc()
            self._return_unstarted()
            self._stuck_seconds = min(2 * self._stuck_seconds, LONGEST_STUCK_SECONDS)

    def _return_unstarted(self) -> None:
        for grant, _ in list(self._unstarted.values()):
            del self._unstarted[grant.ref]
            self._hand_back(grant)

    def set_aside(self, ref: StepRef) -> None:
        """An attempt waits: it holds no slot until `resume` is called as often."""
        if ref in self._running:
            self._aside[ref] = self._aside.get(ref, 0) + 1
            self._begin_next()
            self.changed.set()

    def resume(self, ref: StepRef) -> None:
        """It goes on, at once: for as long as that makes more than there are slots, nothing else is begun."""
        if self._aside.get(ref, 0) > 1:
            self._aside[ref] -= 1
        else:
            self._aside.pop(ref, None)

    def _begin(self, grant: Grant) -> None:
        self._running[grant.ref] = self._start(grant, self._on_end, _Slot(self, grant.ref))

    def _quiet(self) -> None:
        if self._ended:
            self.changed.set()

    def _hand_back(self, grant: Grant) -> None:
        self._settle(Settlement(grant.ref, Outcome.HANDED_BACK))

    def _on_end(self, attempt: Attempt, settlement: Settlement | None) -> None:
        self._running.pop(attempt.grant.ref, None)
        self._aside.pop(attempt.grant.ref, None)
        if settlement is not None:
            self._ended[settlement.ref] = settlement
        if self._unstarted:
            self._begin_next()
        self.changed.set()

    def _begin_next(self) -> None:
        if self._unstarted and self._occupied < self.slots:
            grant, since = self._unstarted.pop(next(iter(self._unstarted)))
            self._moved_at = self._clock()
            _slot_wait_seconds(grant.agent).observe(self._moved_at - since)
            if not self._unstarted:
                self._stuck_seconds = STUCK_SECONDS
            self._begin(grant)

    def _settle(self, settlement: Settlement) -> None:
        self._ended[settlement.ref] = settlement
        self.changed.set()


class _Slot:
    """The slot of one attempt. Implements `waybill_worker.calls.Slot`."""

    def __init__(self, held: HeldSteps, ref: StepRef) -> None:
        self._held = held
        self._ref = ref

    def give_back(self) -> None:
        """The attempt waits."""
        self._held.set_aside(self._ref)

    def take_again(self) -> None:
        """It waits no longer."""
        self._held.resume(self._ref)
