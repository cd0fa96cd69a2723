"""Stored schedules as messages."""

from __future__ import annotations

from google.protobuf.timestamp_pb2 import Timestamp

from waybill.api.v1 import task_pb2
from waybill.core.schedule import Firing
from waybill.ledger.schedule_records import ScheduleRecord
from waybill.rpc.enums import CATCH_UP_TO_PROTO, FIRING_OUTCOME_TO_PROTO, OVERLAP_TO_PROTO
from waybill.rpc.events import failure_to_proto, timestamp
from waybill_dispatcher.views import task_name


def schedule_message(record: ScheduleRecord, spec: task_pb2.TaskSpec) -> task_pb2.Schedule:
    """A stored schedule; `spec` is what it submits."""
    rule = record.terms.rule
    return task_pb2.Schedule(
        name=f"schedules/{record.id}",
        spec=spec,
        cron=rule.cron,
        interval_ms=rule.interval_ms,
        time_zone=rule.time_zone,
        overlap_policy=OVERLAP_TO_PROTO[record.terms.overlap],
        catch_up_policy=CATCH_UP_TO_PROTO[record.terms.catch_up],
        catch_up_window_ms=record.terms.window_ms,
        begin_time=_time(rule.begin_ms),
        end_time=_time(rule.end_ms),
        paused=record.paused,
        next_time=_time(record.next_ms),
        create_time=timestamp(record.created_ms),
        update_time=timestamp(record.updated_ms),
        firings=[_firing_message(firing) for firing in record.firings],
        submitted_count=record.submitted,
        queued=record.queued_ms > 0,
    )


def _firing_message(firing: Firing) -> task_pb2.Firing:
    return task_pb2.Firing(
        due_time=timestamp(firing.due_ms),
        decide_time=timestamp(firing.decided_ms),
        outcome=FIRING_OUTCOME_TO_PROTO[firing.outcome],
        task=task_name(firing.task) if firing.task else "",
        failure=failure_to_proto(firing.failure),
        triggered=firing.triggered,
        count=firing.count,
    )


def _time(epoch_ms: int) -> Timestamp | None:
    return timestamp(epoch_ms) if epoch_ms else None
