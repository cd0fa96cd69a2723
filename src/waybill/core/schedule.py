"""Schedules: what is to become of the times that are due. Pure: the ledger keeps the state, and applies it once."""

from __future__ import annotations

import bisect
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import msgspec

from waybill.core.limits import MAX_CATCH_UP_FIRINGS
from waybill.core.recurrence import Recurrence
from waybill.core.schedule_policies import CatchUp as CatchUp
from waybill.core.schedule_policies import Overlap as Overlap
from waybill.core.task import Failure

GRACE_MS = 10_000
"""A firing that is late by less than this is on time, whatever the policy."""
DEFAULT_WINDOW_MS = 86_400_000
LABEL = "waybill.schedule"
"""The label that tasks of a schedule carry, with its id."""
_LOOKED_AT = 2 * MAX_CATCH_UP_FIRINGS
"""Most due times of a cron expression that one decision looks at."""


class FiringOutcome(StrEnum):
    """What became of a firing, spelled as in JSON."""

    SUBMITTED = "submitted"
    SKIPPED = "skipped"
    MISSED = "missed"
    FAILED = "failed"


class Firing(msgspec.Struct, frozen=True, omit_defaults=True):
    """One firing that was decided, in the JSON form the ledger keeps; `count` firings in a row that this one, the
    newest of them, stands for.
    """

    due_ms: int
    decided_ms: int
    outcome: FiringOutcome
    task: str = ""
    failure: Failure | None = None
    triggered: bool = False
    count: int = 1


class Terms(msgspec.Struct, frozen=True, omit_defaults=True):
    """When a schedule fires, and what it does where it cannot as planned; kept by the ledger as JSON."""

    rule: Recurrence
    overlap: Overlap = Overlap.SKIP
    catch_up: CatchUp = CatchUp.LATEST
    window_ms: int = DEFAULT_WINDOW_MS


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a schedule stands: when it is due next, when a firing was due that waits for the end of a task, and whether
    a task of an earlier firing has not ended. A time of 0 is none.
    """

    next_ms: int = 0
    queued_ms: int = 0
    busy: bool = False


@dataclass(frozen=True, slots=True)
class Decision:
    """What is to be done next: `missed` firings up to `missed_ms` are not made up for, then the one of `due_ms` is
    made, if there is one, which `was_queued` if it waited for the end of a task; and the next one is due at `next_ms`.
    A time of 0 is none.
    """

    missed: int = 0
    missed_ms: int = 0
    due_ms: int = 0
    next_ms: int = 0
    was_queued: bool = False


def decide(terms: Terms, standing: Standing, now_ms: int) -> Decision | None:
    """The first decision about what is due; None if nothing is.

    Have it applied, and decide again: whoever is stopped between two decisions leaves the rest to the next one.
    """
    if standing.queued_ms and not standing.busy:
        return Decision(due_ms=standing.queued_ms, next_ms=standing.next_ms, was_queued=True)
    if not 0 < standing.next_ms <= now_ms:
        return None
    times = _due_times(terms.rule, standing.next_ms, now_ms)
    late = bisect.bisect_right(times, now_ms - GRACE_MS)
    made = _first_made(terms, times, late, now_ms)
    last_ms = times[made] if made < len(times) else times[-1]
    return Decision(
        missed=made,
        missed_ms=times[made - 1] if made else 0,
        due_ms=times[made] if made < len(times) else 0,
        next_ms=times[made + 1] if made + 1 < len(times) else terms.rule.next_after(last_ms) or 0,
    )


def following(standing: Standing, decision: Decision, *, queued: bool, busy: bool) -> Standing:
    """Where a schedule stands once a decision was applied, and its firing queued or not."""
    queued_ms = decision.due_ms if queued else standing.queued_ms
    return Standing(decision.next_ms, 0 if decision.was_queued else queued_ms, busy)


def overdue(terms: Terms, next_ms: int, now_ms: int) -> tuple[int, int]:
    """How many firings are due from `next_ms` to now, and when the newest of them is; of a cron expression no more
    than are looked at at once.
    """
    if not 0 < next_ms <= now_ms:
        return 0, 0
    times = _due_times(terms.rule, next_ms, now_ms)
    return len(times), times[-1]


def _due_times(rule: Recurrence, next_ms: int, now_ms: int) -> Sequence[int]:
    """What is due, oldest first. What was announced is, even if the rules of its time zone are others by now."""
    following = rule.due_times(next_ms, now_ms, _LOOKED_AT - 1)
    if isinstance(following, range) and following.start == next_ms + following.step:
        return range(next_ms, following.stop, following.step)
    return [next_ms, *following]


def _first_made(terms: Terms, times: Sequence[int], late: int, now_ms: int) -> int:
    """Position of the first firing that is made; the first `late` ones were missed."""
    if late == 0:
        return 0
    if terms.catch_up is CatchUp.NONE:
        return late
    # Where no more were looked at than these, the newest ones lie beyond.
    is_cut = late == len(times) == _LOOKED_AT and not isinstance(times, range)
    newest = 1 if terms.catch_up is CatchUp.LATEST else MAX_CATCH_UP_FIRINGS
    if is_cut and terms.catch_up is CatchUp.LATEST:
        return late
    within_window = bisect.bisect_left(times, now_ms - terms.window_ms)
    return min(late, max(late - newest, within_window))
