"""The stand-in beats while the loop does not, says nothing of what is held, and not for ever."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Sequence

import pytest
from waybill_worker import stand_in as stand_in_module
from waybill_worker.stand_in import StandIn

from waybill.errors import NotFound, Unavailable
from waybill.ledger.records import Renewal, StepRef


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """It looks often, and is soon worried."""
    monkeypatch.setattr(stand_in_module, "LOOK_SECONDS", 0.001)
    monkeypatch.setattr(stand_in_module, "LATE_SECONDS", 0.05)


class Beats:
    """Connections to a ledger, and what was said on them."""

    def __init__(self, error: Exception | None = None) -> None:
        self.said: list[tuple[str, int, tuple[StepRef, ...]]] = []
        self.opened = self.closed = 0
        self.beaten = threading.Event()
        self._error = error

    def open(self) -> Beats:
        """Another connection."""
        self.opened += 1
        return self

    async def renew(self, worker_id: str, seen: int, held: Sequence[StepRef]) -> Renewal:
        """Note it."""
        self.said.append((worker_id, seen, tuple(held)))
        if len(self.said) > 2:
            self.beaten.set()
        if self._error is not None:
            raise self._error
        return Renewal((), ())

    async def close(self) -> None:
        """Note it."""
        self.closed += 1


def standing_in(beats: Beats, turned_at: Callable[[], float], longest_seconds: float = 3600) -> StandIn:
    stand_in = StandIn(beats.open, "w.1", turned_at, longest_seconds)
    stand_in.start()
    return stand_in


@pytest.mark.parametrize("error", [None, Unavailable("away"), NotFound("unknown"), TimeoutError()])
def test_given_a_loop_that_does_not_turn_when_looked_at_then_it_beats_again_and_again_and_hangs_up(
    error: Exception | None,
) -> None:
    beats, begun = Beats(error), time.monotonic()
    stand_in = standing_in(beats, lambda: begun)

    assert beats.beaten.wait(30)
    stand_in.stop()

    assert set(beats.said) == {("w.1", 0, ())}, "what it does not name is not taken for lost"
    while beats.closed < beats.opened:
        time.sleep(0.001)


async def test_given_a_loop_that_turns_when_looked_at_then_it_does_nothing() -> None:
    beats = Beats()
    stand_in = standing_in(beats, time.monotonic)

    await asyncio.sleep(0.2)
    stand_in.stop()

    assert beats.opened == 0


async def test_given_a_loop_that_is_stuck_for_good_when_looked_at_then_it_does_not_hide_that() -> None:
    beats, begun = Beats(), time.monotonic() - 100
    stand_in = standing_in(beats, lambda: begun, longest_seconds=99)

    await asyncio.sleep(0.2)
    stand_in.stop()

    assert beats.opened == 0
