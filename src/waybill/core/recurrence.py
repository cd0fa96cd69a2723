"""When recurring work is due: by a cron expression on the clocks of a time zone, or at equal intervals.

Times are epoch milliseconds. A cron expression is read by cronsim on a clock that is never changed; what changed
clocks mean is decided here. An expression for a time of day, whose minute and hour do not begin with "*", goes by the
clocks on the wall: a time that the clocks leap over is due when they have leapt, one that they show twice the first
time. Every other expression goes by the time that passes: all minutes that match are due, also those shown twice.
"""

from __future__ import annotations

import bisect
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from functools import cache
from itertools import islice
from zoneinfo import ZoneInfo, available_timezones

import msgspec
from cronsim import CronSim, CronSimError

from waybill.core import limits
from waybill.errors import Violation

CRON_FIELDS = 5
_SECOND = timedelta(seconds=1)
_DAY = timedelta(days=1)
_NEVER = "never fires; name a day that exists in one of its months"
_ALLOWED_CRON = 'give five fields: minute, hour, day of month, month, day of week, such as "30 8 * * MON-FRI"'


class Recurrence(msgspec.Struct, frozen=True, omit_defaults=True):
    """A rule: `cron`, or `interval_ms` counted from `anchor_ms`. Nothing is due before `begin_ms`, nor at or after
    `end_ms`; 0 is no bound.
    """

    cron: str = ""
    interval_ms: int = 0
    time_zone: str = "UTC"
    anchor_ms: int = 0
    begin_ms: int = 0
    end_ms: int = 0

    def next_after(self, time_ms: int) -> int | None:
        """The first time that is due after this one."""
        return next(self._after(time_ms), None)

    def due_times(self, after_ms: int, until_ms: int, most: int) -> Sequence[int]:
        """All times that are due after the one and not after the other, oldest first; of a cron expression `most`."""
        if self.interval_ms:
            last_ms = min(until_ms, self.end_ms - 1) if self.end_ms else until_ms
            return range(self._tick_after(max(after_ms, self.begin_ms - 1)), last_ms + 1, self.interval_ms)
        found = []
        for due_ms in islice(self._after(after_ms), most):
            if due_ms > until_ms:
                break
            found.append(due_ms)
        return found

    def _after(self, time_ms: int) -> Iterator[int]:
        after_ms = max(time_ms, self.begin_ms - 1)
        due = self._ticks_after(after_ms) if self.interval_ms else _fires_after(self.cron, self.time_zone, after_ms)
        for due_ms in due:
            if self.end_ms and due_ms >= self.end_ms:
                return
            yield due_ms

    def _tick_after(self, time_ms: int) -> int:
        return self.anchor_ms + max(0, (time_ms - self.anchor_ms) // self.interval_ms + 1) * self.interval_ms

    def _ticks_after(self, time_ms: int) -> Iterator[int]:
        due_ms = self._tick_after(time_ms)
        while True:
            yield due_ms
            due_ms += self.interval_ms


def violations(rule: Recurrence) -> list[Violation]:
    """What is wrong with a rule, by the field's name in `Schedule`; one that never fires is wrong too."""
    found = _cron_violations(rule) if rule.cron else []
    if bool(rule.cron) == bool(rule.interval_ms):
        given = "both are given" if rule.cron else "neither is given"
        found.append(Violation("cron", f"exactly one of cron and interval_ms is required, and {given}"))
    elif rule.interval_ms and not limits.MIN_INTERVAL_MS <= rule.interval_ms <= limits.MAX_INTERVAL_MS:
        allowed = f"must lie between {limits.MIN_INTERVAL_MS} and {limits.MAX_INTERVAL_MS}"
        found.append(Violation("interval_ms", f"is {rule.interval_ms}, and {allowed}"))
    if rule.time_zone not in _zones():
        allowed = 'use an IANA name such as "Europe/Berlin"'
        found.append(Violation("time_zone", f"{rule.time_zone[:80]!r} is no time zone; {allowed}"))
    if rule.end_ms and rule.end_ms <= rule.begin_ms:
        found.append(Violation("end_time", "must lie after begin_time"))
    if not found and rule.next_after(max(rule.anchor_ms, rule.begin_ms) - 1) is None:
        if rule.end_ms:
            found.append(Violation("end_time", "is before the first firing; set it later, or leave it out"))
        else:
            found.append(Violation("cron", f"{rule.cron!r} {_NEVER}"))
    return found


def _cron_violations(rule: Recurrence) -> list[Violation]:
    if len(rule.cron) > limits.MAX_CRON_CHARS:
        return [Violation("cron", f"has {len(rule.cron)} characters, over the limit of {limits.MAX_CRON_CHARS}")]
    if len(rule.cron.split()) != CRON_FIELDS:
        return [Violation("cron", f"{rule.cron!r} has {len(rule.cron.split())} fields; {_ALLOWED_CRON}")]
    defect = _defect(rule.cron)
    if not defect:
        return []
    minute, hour, day, _, weekday = rule.cron.split()
    if not _defect(f"{minute} {hour} {day} * {weekday}"):
        return [Violation("cron", f"{rule.cron!r} {_NEVER}")]
    return [Violation("cron", f"{rule.cron!r} is no cron expression ({defect}); {_ALLOWED_CRON}")]


def _defect(cron: str) -> str:
    """What the library says of an expression that it cannot read, such as "Bad day-of-month"; empty if it can."""
    try:
        CronSim(cron, datetime(2000, 1, 1))
    except (CronSimError, ValueError, AssertionError) as error:
        return str(error) or "it cannot be read"
    return ""


@cache
def _zones() -> frozenset[str]:
    return frozenset(available_timezones()) - {"localtime"}


def _fires_after(cron: str, time_zone: str, time_ms: int) -> Iterator[int]:
    """The times at which an expression fires, after this one; ends if nothing matches for 50 years."""
    zone = ZoneInfo(time_zone)
    # A millisecond within a second belongs to it: the next firing is at a later second.
    after = datetime.fromtimestamp(time_ms // 1000, UTC)
    fires = _by_the_wall if _is_time_of_day(cron) else _by_passing_time
    for fire in fires(cron, zone, after):
        yield round(fire.timestamp()) * 1000


def _is_time_of_day(cron: str) -> bool:
    minute, hour = cron.split()[:2]
    return not minute.startswith("*") and not hour.startswith("*")


def _by_the_wall(cron: str, zone: ZoneInfo, after: datetime) -> Iterator[datetime]:
    """What the library makes of a clock that is changed: see the module."""
    try:
        for fire in CronSim(cron, after.astimezone(zone)):
            # From within an hour that is shown twice the library leads back into its first showing.
            if fire.astimezone(UTC) > after:
                yield fire.astimezone(UTC)
    except OverflowError:
        return


def _by_passing_time(cron: str, zone: ZoneInfo, after: datetime) -> Iterator[datetime]:
    """Goes from one change of the clocks to the next; between two, the clock is one that is never changed.

    The library's own way through a change leaves minutes out where clocks are changed by less than an hour.
    """
    known, offset = after, _offset(zone, after)
    try:
        while True:
            for shown in CronSim(cron, (after + offset).replace(tzinfo=None)):
                fire = shown.replace(tzinfo=UTC) - offset
                change = _change(zone, known, fire)
                if change is not None:
                    break
                yield fire
                after = known = fire
            else:
                return
            # The moment of the change shows the new time already.
            known, after, offset = change, change - _SECOND, _offset(zone, change)
    except OverflowError:
        return


def _offset(zone: ZoneInfo, moment: datetime) -> timedelta:
    return moment.astimezone(zone).utcoffset() or timedelta()


def _change(zone: ZoneInfo, known: datetime, until: datetime) -> datetime | None:
    """The first second after the one and up to the other in which the clocks go otherwise; no zone has two a day."""
    offset = _offset(zone, known)
    while known < until:
        probed = min(known + _DAY, until)
        if _offset(zone, probed) != offset:
            seconds = range(1, round((probed - known).total_seconds()) + 1)
            first = bisect.bisect_left(
                seconds, True, key=lambda passed: _offset(zone, known + passed * _SECOND) != offset
            )
            return known + seconds[first] * _SECOND
        known = probed
    return None
