"""What becomes of the times that are due."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from waybill.core.limits import MAX_CATCH_UP_FIRINGS
from waybill.core.recurrence import Recurrence
from waybill.core.schedule import GRACE_MS, CatchUp, Decision, Standing, Terms, decide, overdue

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS

rules = st.one_of(
    st.builds(Recurrence, interval_ms=st.integers(1_000, HOUR_MS), anchor_ms=st.integers(0, HOUR_MS)),
    st.builds(Recurrence, cron=st.sampled_from(["* * * * *", "*/5 * * * *", "30 */2 * * *", "0 9 * * *"])),
)
terms_of_any_kind = st.builds(
    Terms, rule=rules, catch_up=st.sampled_from(CatchUp), window_ms=st.integers(1_000, 3 * DAY_MS)
)


def decided(terms: Terms, next_ms: int, now_ms: int) -> tuple[list[int], int, int]:
    """All that follows from decisions one after the other: what was made, how many were missed, what is next."""
    made, missed = [], 0
    while decision := decide(terms, Standing(next_ms), now_ms):
        assert decision.missed > 0 or decision.due_ms > 0, "a decision decides something"
        assert decision.next_ms == 0 or decision.next_ms > max(decision.missed_ms, decision.due_ms)
        missed += decision.missed
        made += [decision.due_ms] if decision.due_ms else []
        next_ms = decision.next_ms
    return made, missed, next_ms


def wanted(terms: Terms, due: list[int], now_ms: int) -> list[int]:
    """Which of the due times the policy makes."""
    late = [time_ms for time_ms in due if now_ms - time_ms >= GRACE_MS]
    newest = {CatchUp.NONE: 0, CatchUp.LATEST: 1, CatchUp.ALL: MAX_CATCH_UP_FIRINGS}[terms.catch_up]
    made_late = [
        time_ms for time_ms in late[len(late) - min(newest, len(late)) :] if now_ms - time_ms <= terms.window_ms
    ]
    return made_late + due[len(late) :]


@given(terms_of_any_kind, st.integers(0, DAY_MS), st.integers(0, 3 * DAY_MS))
def test_after_any_outage_each_due_time_is_made_or_missed_as_the_policy_says(
    terms: Terms, from_ms: int, outage_ms: int
) -> None:
    """Given a schedule, when nobody looked for a while, then the policy is kept, and all is counted."""
    outage_ms = min(outage_ms, 3_000 * (terms.rule.interval_ms or outage_ms))
    next_ms = terms.rule.next_after(from_ms)
    assert next_ms is not None
    now_ms = next_ms + outage_ms
    due = list(terms.rule.due_times(next_ms - 1, now_ms, 100_000))
    made, missed, following_ms = decided(terms, next_ms, now_ms)
    assert made == wanted(terms, due, now_ms)
    assert len(made) + missed == len(due)
    assert following_ms == (terms.rule.next_after(now_ms) or 0)


@given(terms_of_any_kind, st.integers(0, DAY_MS), st.lists(st.integers(0, HOUR_MS), max_size=8))
def test_no_due_time_is_decided_twice_or_left_out_when_time_passes_between_decisions(
    terms: Terms, from_ms: int, pauses_ms: list[int]
) -> None:
    """Given a schedule, when it is looked at now and then, then made and missed ones together are all that was due."""
    first_ms = terms.rule.next_after(from_ms)
    assert first_ms is not None
    next_ms = first_ms
    now_ms, seen, made_before = from_ms, 0, 0
    for pause_ms in pauses_ms:
        now_ms += min(pause_ms, 500 * (terms.rule.interval_ms or pause_ms))
        made, missed, next_ms = decided(terms, next_ms, now_ms)
        assert all(time_ms > made_before for time_ms in made)
        made_before = max([made_before, *made])
        seen += len(made) + missed
    assert seen == len(terms.rule.due_times(first_ms - 1, now_ms, 100_000))


def test_nothing_is_decided_before_it_is_due() -> None:
    """Given a schedule, when its next time lies ahead, then there is nothing to decide."""
    terms = Terms(Recurrence(interval_ms=1_000))
    assert decide(terms, Standing(5_000), 4_999) is None
    assert decide(terms, Standing(0), 4_999) is None


def test_a_firing_that_waits_is_made_before_what_is_due_later_once_no_task_runs() -> None:
    """Given a firing in the queue, when the task it waits for has ended, then it is made first, and only then."""
    terms = Terms(Recurrence(interval_ms=1_000))
    assert decide(terms, Standing(5_000, 4_000, busy=False), 5_500) == Decision(0, 0, 4_000, 5_000, was_queued=True)
    assert decide(terms, Standing(5_000, 4_000, busy=True), 5_500) == Decision(0, 0, 5_000, 6_000)
    assert decide(terms, Standing(6_000, 4_000, busy=True), 5_500) is None


def test_years_of_minutes_are_counted_as_missed_piece_by_piece() -> None:
    """Given a firing each minute, when a month was missed, then the newest is made and all others are counted."""
    terms = Terms(Recurrence(cron="* * * * *"), window_ms=365 * DAY_MS)
    now_ms = 30 * DAY_MS + 30_000
    made, missed, _ = decided(terms, 60_000, now_ms)
    assert made == [30 * DAY_MS]
    assert missed == 30 * 24 * 60 - 1


def test_a_time_that_was_announced_is_due_though_its_zone_has_other_rules_by_now() -> None:
    """Given a next time that the rule does not have, when it comes, then it is made, and the rule goes on."""
    decision = decide(Terms(Recurrence(cron="0 * * * *")), Standing(HOUR_MS // 2), HOUR_MS // 2 + 5)
    assert decision == Decision(0, 0, HOUR_MS // 2, HOUR_MS)


def test_what_is_overdue_is_counted() -> None:
    """Given a next time in the past, when it is looked at, then all times since then are overdue."""
    terms = Terms(Recurrence(interval_ms=1_000))
    assert overdue(terms, 1_000, 5_500) == (5, 5_000)
    assert overdue(terms, 6_000, 5_500) == (0, 0)
    assert overdue(terms, 0, 5_500) == (0, 0)
