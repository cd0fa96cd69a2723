"""What a worker holds, told in full until the ledger knows how it ended."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from waybill_worker.attempt import Attempt, Stop
from waybill_worker.calls import Slot
from waybill_worker.held import LONGEST_STUCK_SECONDS, HeldSteps
from worker_fake_ledger import grant_of

from waybill.ledger.records import Grant, Outcome, Settlement

OnEnd = Callable[[Attempt, Settlement | None], None]


class ManualAttempt(Attempt):
    """Ends when told to."""

    def __init__(self, grant: Grant, on_end: OnEnd, slot: Slot) -> None:
        self.grant = grant
        self.slot = slot
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

    def start(grant: Grant, on_end: OnEnd, slot: Slot) -> Attempt:
        return attempts.setdefault(grant.ref.number, ManualAttempt(grant, on_end, slot))

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


def test_given_attempts_that_wait_when_more_is_granted_then_it_starts_in_their_slots() -> None:
    held, attempts = held_with(slots=2, steps=3)

    attempts[1].slot.give_back()

    assert sorted(attempts) == [1, 2, 3]
    assert (held.free_slots, held.running) == (0, 3)
    assert len(held.refs()) == 3


def test_given_a_free_slot_of_one_that_waits_when_looked_at_then_it_can_be_filled() -> None:
    held, attempts = held_with(slots=2, steps=2)

    attempts[1].slot.give_back()

    assert held.free_slots == 1
    assert held.changed.is_set()


def test_given_all_wait_when_more_and_more_is_granted_then_no_more_than_twice_the_slots_run() -> None:
    held, attempts = held_with(slots=2, steps=2)

    for number in range(3, 10):
        for attempt in list(attempts.values()):
            attempt.slot.give_back()
        held.add(grant_of("echo", number=number))

    assert sorted(attempts) == [1, 2, 3, 4]
    assert held.free_slots == 0


def test_given_one_that_goes_on_when_slots_are_full_then_nothing_starts_until_there_are_fewer() -> None:
    _, attempts = held_with(slots=1, steps=3)
    attempts[1].slot.give_back()
    attempts[1].slot.take_again()

    attempts[2].end()
    assert sorted(attempts) == [1, 2]

    attempts[1].end()
    assert sorted(attempts) == [1, 2, 3]


def test_given_two_waits_of_one_attempt_when_one_is_over_then_it_still_waits() -> None:
    held, attempts = held_with(slots=1, steps=1)
    slot = attempts[1].slot
    slot.give_back()
    slot.give_back()

    slot.take_again()
    assert held.free_slots == 1

    slot.take_again()
    assert held.free_slots == 0


def test_given_one_that_ended_while_it_waited_when_its_slot_is_asked_for_then_nothing_changes() -> None:
    held, attempts = held_with(slots=1, steps=1)
    attempts[1].slot.give_back()
    attempts[1].end()

    attempts[1].slot.take_again()
    attempts[1].slot.give_back()

    assert (held.free_slots, held.running) == (1, 0)


class TestStuck:
    """One slot, taken by a slow step with others behind it in its batch."""

    def given(self) -> tuple[HeldSteps, dict[int, ManualAttempt], list[float]]:
        now = [100.0]
        attempts: dict[int, ManualAttempt] = {}

        def start(grant: Grant, on_end: OnEnd, slot: Slot) -> Attempt:
            return attempts.setdefault(grant.ref.number, ManualAttempt(grant, on_end, slot))

        return HeldSteps(1, start, clock=lambda: now[0]), attempts, now

    def test_given_nothing_started_for_long_then_what_is_behind_goes_back_and_the_slow_one_stays(self) -> None:
        held, _, now = self.given()
        for number in (1, 2, 3):
            held.add(grant_of("echo", number=number))
        held.return_stuck()
        assert held.settlements() == []
        now[0] += held.stuck_in_seconds or 0
        held.return_stuck()
        assert [(item.ref.number, item.outcome) for item in held.settlements()] == [
            (2, Outcome.HANDED_BACK),
            (3, Outcome.HANDED_BACK),
        ]
        assert (held.running, held.stuck_in_seconds) == (1, None)

    def test_given_steps_that_start_one_after_the_other_then_none_goes_back(self) -> None:
        held, attempts, now = self.given()
        for number in range(1, 30):
            held.add(grant_of("echo", number=number))
        for number in range(1, 29):
            now[0] += 0.9 * (held.stuck_in_seconds or 0)
            held.return_stuck()
            attempts[number].end()
        assert {item.outcome for item in held.settlements()} == {Outcome.SUCCEEDED}

    def test_given_batches_that_always_get_stuck_then_they_stay_longer_each_time_until_one_does_not(self) -> None:
        held, attempts, now = self.given()
        waits = []
        for number in range(1, 40, 2):
            held.add(grant_of("echo", number=number))
            held.add(grant_of("echo", number=number + 1))
            waits.append(held.stuck_in_seconds or 0)
            now[0] += waits[-1]
            held.return_stuck()
            attempts[number].end()
        assert waits[1] == pytest.approx(2 * waits[0])
        assert max(waits) <= LONGEST_STUCK_SECONDS + 0.001
        held.add(grant_of("echo", number=50))
        held.add(grant_of("echo", number=51))
        attempts[50].end()
        attempts[51].end()
        held.add(grant_of("echo", number=60))
        held.add(grant_of("echo", number=61))
        assert held.stuck_in_seconds == pytest.approx(waits[0])
