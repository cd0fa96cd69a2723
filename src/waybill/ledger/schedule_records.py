"""What goes into the ledger's functions for schedules and comes out of them. Plain data; no Redis here."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from waybill.core.schedule import Decision, Firing, Standing, Terms
from waybill.core.task import Failure
from waybill.ledger.records import NewTask


@dataclass(frozen=True, slots=True)
class NewSchedule:
    """A schedule as it is to be: `spec` is what each firing submits, which the ledger does not look into."""

    tenant: str
    id: str
    terms: Terms
    spec: bytes


@dataclass(frozen=True, slots=True)
class ScheduleRecord:
    """A stored schedule. `revision` grows with every change and every decision. A time of 0 is none.

    `queued_ms` is when a firing was due that waits for the end of a task. `firings` are newest first; empty in lists.
    """

    tenant: str
    id: str
    revision: int
    terms: Terms
    spec: bytes
    next_ms: int
    queued_ms: int
    paused: bool
    created_ms: int
    updated_ms: int
    submitted: int
    firings: tuple[Firing, ...] = ()


@dataclass(frozen=True, slots=True)
class Overdue:
    """How many firings were due, undecided, when a schedule was changed, and when the newest of them was."""

    count: int = 0
    newest_ms: int = 0


@dataclass(frozen=True, slots=True)
class ScheduleLease:
    """A schedule that is to be looked at: something of it is due by `now_ms`, the store's clock."""

    tenant: str
    id: str
    revision: int
    now_ms: int
    standing: Standing
    terms: Terms


@dataclass(frozen=True, slots=True)
class ScheduleLeases:
    """Schedules that were due, and how long until another one is, or None if that is not known."""

    leases: tuple[ScheduleLease, ...]
    wait_ms: int | None


@dataclass(frozen=True, slots=True)
class FiringOrder:
    """One decision about a schedule of `revision`: what is missed, and the one firing that is due, if there is one.

    `task` is what that one submits, or `failure` why it is refused; neither if it may turn out that nothing is to be
    submitted.
    """

    tenant: str
    id: str
    revision: int
    terms: Terms
    decision: Decision
    task: NewTask | None = None
    failure: Failure | None = None


class FiringVerdict(StrEnum):
    """What the ledger made of an order."""

    MISSED = "missed"
    """There was no firing to be made; those that were missed are told."""
    SKIPPED = "skipped"
    QUEUED = "queued"
    FAILED = "failed"
    SUBMITTED = "submitted"
    STALE = "stale"
    """Nothing: the schedule was changed, decided by somebody else, paused or deleted."""
    FREE = "free"
    """Nothing: a submission is needed."""
    BUSY = "busy"
    """Nothing: the firing waits on."""
    FULL = "full"
    """Nothing: the store is full."""


@dataclass(frozen=True, slots=True)
class Fired:
    """What became of an order, the revision after it, the task if one was submitted, whether a task of this or an
    earlier firing has not ended, and the store's clock.
    """

    verdict: FiringVerdict
    revision: int = 0
    task: str = ""
    busy: bool = False
    now_ms: int = 0
