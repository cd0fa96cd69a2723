"""What a worker holds, told in full until the ledger knows how it ended."""

from __future__ import annotations

from collections.abc import Callable

from waybill_worker.attempt import Attempt, Stop
from waybill_worker.held import HeldSteps
from worker_fake_ledger import grant_of

from waybill.ledger.records import Grant, Outcome, Settlement

OnEnd = Callable[[Attempt, Settlement | None], None]


class ManualAttempt(Attempt):
    """Ends when told to."""

    def __init__(self, grant: Grant, on_end: OnEnd) -> None:
        self.grant = grant
        self.stopped: list[Stop] = []
        self._end = on_end

    def stop(self, why: Stop) -> None:
        """Note why."""
        self.stopped.append(why)

    def end(self) -> None:
        """Succeed."""
        self._end(self, Settlement(self.grant.ref, Outcome.SUCCEEDED))


def held_with(slots: int, steps: int) -> tuple[HeldSteps, dict[int, ManualAttempt]]:
    attempts: dict[int, ManualAttempt] = {}

    def start(grant: Grant, on_end: OnEnd) -> Attempt:
        return attempts.setdefault(grant.ref.number, ManualAttempt(grant, on_end))

    held = HeldSteps(slots, start)
    for number in range(1, steps + 1):
        held.add(grant_of("echo", number=number))
    return held, attempts


def test_given_more_grants_than_slots_when_one_ends_then_the_next_starts_and_all_stay_held() -> None:
    held, attempts = held_with(slots=2, steps=3)
    assert (sorted(attempts), held.free_slots) == ([1, 2], 0)

    attempts[1].end()

    assert sorted(attempts) == [1, 2, 3]
    assert sorted(ref.number for ref in held.refs()) == [1, 2, 3]
    assert [item.ref.number for item in held.settlements()] == [1]


def test_given_a_settlement_when_the_ledger_has_it_then_the_step_is_held_no_longer() -> None:
    held, attempts = held_with(slots=2, steps=1)
    attempts[1].end()

    held.settled(held.settlements())

    assert held.empty


def test_given_a_grant_delivered_twice_when_added_then_it_runs_once() -> None:
    held, attempts = held_with(slots=2, steps=1)

    held.add(attempts[1].grant)
    attempts[1].end()
    held.add(attempts[1].grant)

    assert held.running == 0
    assert len(held.settlements()) == 1


def test_given_unstarted_steps_when_handing_back_then_they_and_all_later_grants_go_back() -> None:
    held, attempts = held_with(slots=1, steps=2)

    held.hand_back()
    held.add(grant_of("echo", number=3))

    assert sorted(attempts) == [1]
    assert [(item.ref.number, item.outcome) for item in held.settlements()] == [
        (2, Outcome.HANDED_BACK),
        (3, Outcome.HANDED_BACK),
    ]


def test_given_an_unstarted_step_when_cancelled_then_it_is_settled_as_cancelled() -> None:
    held, _ = held_with(slots=1, steps=2)

    held.stop(held.refs()[1], Stop.CANCEL)

    assert [(item.ref.number, item.outcome) for item in held.settlements()] == [(2, Outcome.CANCELLED)]


def test_given_everything_is_lost_when_stopped_then_nothing_is_left_to_settle() -> None:
    held, attempts = held_with(slots=2, steps=3)
    attempts[1].end()

    held.stop_all(Stop.LOST)

    assert held.settlements() == []
    assert attempts[2].stopped == [Stop.LOST]
