"""Schedules as messages: their terms in the domain, what is wrong with one as sent, and as JSON."""

from __future__ import annotations

import json
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp

from waybill.api.v1 import task_pb2
from waybill.core import limits, recurrence
from waybill.core.recurrence import Recurrence
from waybill.core.schedule import DEFAULT_WINDOW_MS, CatchUp, Overlap, Terms
from waybill.errors import Violation
from waybill.rpc.enums import CATCH_UP_FROM_PROTO, FIRING_OUTCOME_FROM_PROTO, OVERLAP_FROM_PROTO
from waybill.rpc.events import epoch_ms, failure_to_json
from waybill.rpc.payloads import Inline
from waybill.rpc.spec_json import spec_to_json

_LAST_MS = 253_402_300_799_999
"""The end of the year 9999."""


def terms_of(schedule: task_pb2.Schedule, created_ms: int) -> Terms:
    """The terms of a schedule that has no violations. An interval without a begin counts from the creation."""
    return Terms(
        _rule(schedule, created_ms),
        OVERLAP_FROM_PROTO[schedule.overlap_policy],
        CATCH_UP_FROM_PROTO[schedule.catch_up_policy],
        schedule.catch_up_window_ms or DEFAULT_WINDOW_MS,
    )


def schedule_violations(schedule: task_pb2.Schedule, created_ms: int) -> list[Violation]:
    """What is wrong with a schedule, but for its name and what its tasks would be refused with."""
    found = _spec_violations(schedule)
    if schedule.overlap_policy not in OVERLAP_FROM_PROTO:
        known = ", ".join(policy.value for policy in Overlap)
        found.append(Violation("overlap_policy", f"is {schedule.overlap_policy}, which is no policy; use {known}"))
    if schedule.catch_up_policy not in CATCH_UP_FROM_PROTO:
        known = ", ".join(policy.value for policy in CatchUp)
        found.append(Violation("catch_up_policy", f"is {schedule.catch_up_policy}, which is no policy; use {known}"))
    window_ms = schedule.catch_up_window_ms
    if window_ms and not limits.MIN_CATCH_UP_WINDOW_MS <= window_ms <= limits.MAX_CATCH_UP_WINDOW_MS:
        allowed = f"must lie between {limits.MIN_CATCH_UP_WINDOW_MS} and {limits.MAX_CATCH_UP_WINDOW_MS}"
        found.append(Violation("catch_up_window_ms", f"is {window_ms}, and {allowed}, or be 0 for a day"))
    outside = [
        Violation(name, "must lie between the years 1970 and 9999")
        for name in ("begin_time", "end_time")
        if schedule.HasField(name) and not 0 < epoch_ms(getattr(schedule, name)) <= _LAST_MS
    ]
    return found + (outside or recurrence.violations(_rule(schedule, created_ms)))


def _spec_violations(schedule: task_pb2.Schedule) -> list[Violation]:
    if not schedule.HasField("spec"):
        return [Violation("spec", "is required; say what each firing submits")]
    size_bytes = schedule.spec.ByteSize()
    if size_bytes > limits.MAX_SCHEDULE_SPEC_BYTES:
        limit = f"over the limit of {limits.MAX_SCHEDULE_SPEC_BYTES}; send sources as paths"
        return [Violation("spec", f"has {size_bytes} bytes, {limit}")]
    if schedule.spec.HasField("start_time"):
        return [Violation("spec.start_time", "is not for schedules; leave it out")]
    return []


def _rule(schedule: task_pb2.Schedule, created_ms: int) -> Recurrence:
    begin_ms, end_ms = _ms(schedule, "begin_time"), _ms(schedule, "end_time")
    return Recurrence(
        schedule.cron, schedule.interval_ms, schedule.time_zone or "UTC", begin_ms or created_ms, begin_ms, end_ms
    )


def _ms(schedule: task_pb2.Schedule, name: str) -> int:
    time: Timestamp = getattr(schedule, name)
    return epoch_ms(time) if schedule.HasField(name) else 0  # type: ignore[arg-type]


def schedule_to_json(schedule: task_pb2.Schedule, inline: Inline = json.loads) -> dict[str, Any]:
    """A schedule as JSON, the payloads of its spec inline."""
    overlap = OVERLAP_FROM_PROTO.get(schedule.overlap_policy)
    catch_up = CATCH_UP_FROM_PROTO.get(schedule.catch_up_policy)
    shown: dict[str, Any] = {
        "name": schedule.name,
        "spec": spec_to_json(schedule.spec, inline),
        "time_zone": schedule.time_zone,
        "overlap_policy": overlap.value if overlap is not None else "unknown",
        "catch_up_policy": catch_up.value if catch_up is not None else "unknown",
        "catch_up_window_ms": schedule.catch_up_window_ms,
        "paused": schedule.paused,
        "queued": schedule.queued,
        "submitted_count": schedule.submitted_count,
    }
    if schedule.cron:
        shown["cron"] = schedule.cron
    if schedule.interval_ms:
        shown["interval_ms"] = schedule.interval_ms
    for name in ("begin_time", "end_time", "next_time", "create_time", "update_time"):
        if schedule.HasField(name):
            shown[name] = getattr(schedule, name).ToJsonString()
    if schedule.firings:
        shown["firings"] = [firing_to_json(firing) for firing in schedule.firings]
    return shown


def firing_to_json(firing: task_pb2.Firing) -> dict[str, Any]:
    """A firing as JSON."""
    outcome = FIRING_OUTCOME_FROM_PROTO.get(firing.outcome)
    shown: dict[str, Any] = {
        "due_time": firing.due_time.ToJsonString(),
        "decide_time": firing.decide_time.ToJsonString(),
        "outcome": outcome.value if outcome is not None else "unknown",
        "triggered": firing.triggered,
        "count": firing.count,
    }
    if firing.task:
        shown["task"] = firing.task
    if firing.HasField("failure"):
        shown["failure"] = failure_to_json(firing.failure)
    return shown
