"""When recurring work is due."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from functools import cache
from zoneinfo import ZoneInfo

import pytest
from cronsim import CronSim
from hypothesis import given
from hypothesis import strategies as st

from waybill.core.recurrence import Recurrence, violations

MINUTE_MS = 60_000
DAY_MS = 24 * 60 * MINUTE_MS
ZONES = ("Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "America/Havana", "UTC")
CHANGES = {
    "Europe/Berlin": ("2026-03-29T01:00", "2026-10-25T01:00"),
    "America/New_York": ("2026-03-08T07:00", "2026-11-01T06:00"),
    "Australia/Lord_Howe": ("2026-04-04T15:00", "2026-10-03T15:30"),
    "America/Havana": ("2026-03-08T05:00", "2026-11-01T05:00"),
    "UTC": ("2026-03-29T01:00", "2026-10-25T01:00"),
}
"""Around when the clocks of each zone are changed, in UTC."""

minutes = st.sampled_from(["0", "30", "15,45", "*", "*/7", "0-20/10", "59"])
hours = st.sampled_from(["*", "*/2", "0", "1", "2", "3", "1-3", "2,12", "23", "0-23/6"])
expressions = st.builds(lambda minute, hour: f"{minute} {hour} * * *", minutes, hours)


def ms(text: str, zone: str = "UTC") -> int:
    """Epoch milliseconds of a time on the wall."""
    return round(datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).timestamp() * 1000)


def local(time_ms: int, zone: str) -> str:
    """What the clocks of a zone show."""
    return datetime.fromtimestamp(time_ms / 1000, ZoneInfo(zone)).isoformat(timespec="minutes")


def cron(expression: str, zone: str = "UTC", **bounds: int) -> Recurrence:
    """A rule by a cron expression."""
    return Recurrence(cron=expression, time_zone=zone, **bounds)


@cache
def matches(expression: str, shown: time) -> bool:
    """Whether an expression, which names no day, names this minute on the wall."""
    minute = datetime.combine(date(2026, 1, 2), shown)
    return next(CronSim(expression, minute - timedelta(minutes=1))) == minute


def expected(expression: str, zone: str, first_ms: int, last_ms: int) -> list[int]:
    """All due times between two, found minute by minute."""
    info = ZoneInfo(zone)
    is_time_of_day = not any(field.startswith("*") for field in expression.split()[:2])
    due = []
    before = datetime.fromtimestamp(first_ms / 1000 - 60, UTC).astimezone(info)
    for moment_ms in range(first_ms, last_ms + 1, MINUTE_MS):
        shown = datetime.fromtimestamp(moment_ms / 1000, UTC).astimezone(info)
        leapt_over = []
        wall = before.replace(tzinfo=None) + timedelta(minutes=1)
        while wall < shown.replace(tzinfo=None):
            leapt_over.append(wall)
            wall += timedelta(minutes=1)
        if is_time_of_day:
            fires = shown.fold == 0 and matches(expression, shown.time())
            fires = fires or any(matches(expression, missing.time()) for missing in leapt_over)
        else:
            fires = matches(expression, shown.time())
        if fires:
            due.append(moment_ms)
        before = shown
    return due


@given(st.sampled_from(ZONES), st.integers(0, 1), expressions, st.integers(0, 20 * 60))
def test_around_every_change_of_the_clocks_a_cron_expression_is_due_as_documented(
    zone: str, which: int, expression: str, offset_minutes: int
) -> None:
    """Given a zone, when its clocks are changed, then what is due is what looking at each minute finds."""
    first_ms = ms(CHANGES[zone][which]) - 10 * 60 * MINUTE_MS + offset_minutes * MINUTE_MS
    last_ms = first_ms + DAY_MS
    found = cron(expression, zone).due_times(first_ms - 1, last_ms, 10_000)
    assert list(found) == expected(expression, zone, first_ms, last_ms)


@given(st.sampled_from(ZONES), st.integers(0, 1), expressions, st.integers(0, 30 * 60 * 60))
def test_the_next_due_time_does_not_depend_on_where_one_looks_from(
    zone: str, which: int, expression: str, offset_seconds: int
) -> None:
    """Given two times without a due one between them, then the same is due next after both."""
    rule = cron(expression, zone)
    from_ms = ms(CHANGES[zone][which]) - 20 * 60 * MINUTE_MS + offset_seconds * 1000
    following = rule.next_after(from_ms)
    assert following is not None
    assert following > from_ms
    for between in (following - 1, following - 1000, (from_ms + following) // 2):
        if between >= from_ms:
            assert rule.next_after(between) == following


@pytest.mark.parametrize(
    ("zone", "expression", "after", "shown"),
    [
        # 02:00 to 03:00 does not exist: due when the clocks have leapt.
        ("Europe/Berlin", "30 2 * * *", "2026-03-28T12:00", "2026-03-29T03:00+02:00"),
        ("America/New_York", "30 2 * * *", "2026-03-07T12:00", "2026-03-08T03:00-04:00"),
        ("Australia/Lord_Howe", "15 2 * * *", "2026-10-03T12:00", "2026-10-04T02:30+11:00"),
        # 02:00 to 03:00 comes twice: due the first time.
        ("Europe/Berlin", "30 2 * * *", "2026-10-24T12:00", "2026-10-25T02:30+02:00"),
        ("America/New_York", "30 1 * * *", "2026-10-31T12:00", "2026-11-01T01:30-04:00"),
        ("Australia/Lord_Howe", "45 1 * * *", "2026-04-04T12:00", "2026-04-05T01:45+11:00"),
        # Half an hour of change loses no minute of the hour after it.
        ("Australia/Lord_Howe", "*/10 3 * * *", "2026-10-04T01:00", "2026-10-04T03:00+11:00"),
        ("Australia/Lord_Howe", "*/10 2 * * *", "2026-04-05T00:00", "2026-04-05T02:00+10:30"),
    ],
)
def test_a_time_of_day_survives_both_changes(zone: str, expression: str, after: str, shown: str) -> None:
    """Given a time that clocks leap over or show twice, when it comes, then it is due once."""
    due_ms = cron(expression, zone).next_after(ms(after, zone))
    assert due_ms is not None
    assert local(due_ms, zone) == shown


def test_the_last_of_february_waits_for_leap_years() -> None:
    """Given 29 February, when years pass, then it is due every fourth year, and not in 2100."""
    rule = cron("0 12 29 2 *")
    found = rule.due_times(ms("2093-01-01T00:00"), ms("2105-01-01T00:00"), 10)
    assert [local(due_ms, "UTC")[:10] for due_ms in found] == ["2096-02-29", "2104-02-29"]


@pytest.mark.parametrize(
    ("rule", "field"),
    [
        (cron("0 0 30 2 *"), "cron"),
        (cron("0 0 */31 2 FRI#5"), "cron"),
        (cron("* * * *"), "cron"),
        (cron("0 * * * * *"), "cron"),
        (cron("61 * * * *"), "cron"),
        (cron("1-*/3 * * * *"), "cron"),
        (cron("@daily"), "cron"),
        (cron("0 0 * * *" + ",1" * 200), "cron"),
        (Recurrence(), "cron"),
        (Recurrence(cron="0 0 * * *", interval_ms=5_000), "cron"),
        (Recurrence(interval_ms=999), "interval_ms"),
        (cron("0 0 * * *", "Europe/Atlantis"), "time_zone"),
        (cron("0 0 * * *", "../etc/passwd"), "time_zone"),
        (cron("0 0 * * *", "localtime"), "time_zone"),
        (cron("0 0 * * *", begin_ms=5, end_ms=5), "end_time"),
        (cron("0 0 1 1 *", begin_ms=ms("2026-01-02T00:00"), end_ms=ms("2026-12-31T00:00")), "end_time"),
    ],
)
def test_a_rule_that_is_wrong_or_never_fires_is_told_by_its_field(rule: Recurrence, field: str) -> None:
    """Given a rule that cannot be, when it is looked at, then the field is named and what to do."""
    found = violations(rule)
    assert [violation.field for violation in found] == [field]
    assert len(found[0].description) > 20


@pytest.mark.parametrize("expression", ["0 0 30 2 *", "0 0 31 4,6,9,11 *", "0 0 */31 2 FRI#5"])
def test_an_expression_of_days_that_no_month_has_is_said_to_never_fire(expression: str) -> None:
    """Given a day that does not exist, when it is looked at, then that is what is told."""
    assert "never fires" in violations(cron(expression))[0].description


@given(st.text(max_size=40))
def test_no_text_breaks_the_check(text: str) -> None:
    """Given any text as an expression, when it is looked at, then it is well or its field is named."""
    assert {violation.field for violation in violations(cron(text))} <= {"cron"}


rules = st.one_of(
    st.builds(
        Recurrence,
        interval_ms=st.integers(1_000, DAY_MS),
        anchor_ms=st.integers(0, 3 * DAY_MS),
        begin_ms=st.integers(0, 4 * DAY_MS),
        end_ms=st.one_of(st.just(0), st.integers(4 * DAY_MS + 1, 6 * DAY_MS)),
    ),
    st.builds(
        Recurrence,
        cron=expressions,
        time_zone=st.sampled_from(ZONES),
        begin_ms=st.integers(0, 4 * DAY_MS),
        end_ms=st.one_of(st.just(0), st.integers(4 * DAY_MS + 1, 6 * DAY_MS)),
    ),
)


@given(rules, st.integers(0, 6 * DAY_MS), st.integers(0, 2 * 60 * MINUTE_MS))
def test_all_due_times_are_those_that_follow_one_another(rule: Recurrence, after_ms: int, span_ms: int) -> None:
    """Given a rule and a span of time, when all due times are asked for, then going from one to the next gives them."""
    span_ms = min(span_ms, 50 * rule.interval_ms or span_ms)
    one_by_one = []
    due_ms = rule.next_after(after_ms)
    while due_ms is not None and due_ms <= after_ms + span_ms:
        one_by_one.append(due_ms)
        due_ms = rule.next_after(due_ms)
    assert list(rule.due_times(after_ms, after_ms + span_ms, 10_000)) == one_by_one
    assert all(due_ms >= rule.begin_ms and (not rule.end_ms or due_ms < rule.end_ms) for due_ms in one_by_one)
    assert list(rule.due_times(after_ms, after_ms + span_ms, 3)[:3]) == one_by_one[:3]


@given(st.integers(1_000, DAY_MS), st.integers(0, DAY_MS), st.integers(0, 10 * DAY_MS))
def test_an_interval_is_counted_from_its_anchor(interval_ms: int, anchor_ms: int, after_ms: int) -> None:
    """Given an interval, when time passes, then what is due lies whole intervals after the anchor."""
    due_ms = Recurrence(interval_ms=interval_ms, anchor_ms=anchor_ms).next_after(after_ms)
    assert due_ms is not None
    assert due_ms > after_ms
    assert (due_ms - anchor_ms) % interval_ms == 0
    assert due_ms - interval_ms <= after_ms or due_ms == anchor_ms


def test_years_of_an_interval_cost_nothing() -> None:
    """Given an interval of a second, when a year is asked for, then no list of it is made."""
    found = Recurrence(interval_ms=1_000).due_times(0, 365 * DAY_MS, 1)
    assert (len(found), found[0], found[-1]) == (365 * 86_400, 1_000, 365 * DAY_MS)
