"""Schedules written as JSON: the bodies of HTTP requests that set one. Strict: unknown fields are errors."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any

import msgspec
from google.protobuf.timestamp_pb2 import Timestamp
from msgspec import Meta

from waybill.api.v1 import task_pb2
from waybill.core.limits import MAX_CATCH_UP_WINDOW_MS, MAX_INTERVAL_MS
from waybill.core.schedule import CatchUp, Overlap
from waybill.errors import InvalidArgument
from waybill.rpc.enums import CATCH_UP_TO_PROTO, OVERLAP_TO_PROTO
from waybill.rpc.events import timestamp_of
from waybill.rpc.specs import SpecForm, spec_of_form
from waybill.rpc.strict import Strict, read_json

_Time = Annotated[datetime, Meta(tz=True)]


class ScheduleForm(Strict, kw_only=True):
    """The body of `PUT /v1/schedules/{schedule}`: all that a caller sets of a schedule, and the request id."""

    spec: SpecForm
    cron: str = ""
    interval_ms: Annotated[int, Meta(ge=0, le=MAX_INTERVAL_MS)] = 0
    time_zone: str = ""
    overlap_policy: Overlap = Overlap.SKIP
    catch_up_policy: CatchUp = CatchUp.LATEST
    catch_up_window_ms: Annotated[int, Meta(ge=0, le=MAX_CATCH_UP_WINDOW_MS)] = 0
    begin_time: _Time | None = None
    end_time: _Time | None = None
    request_id: str = ""


class NewScheduleForm(ScheduleForm, kw_only=True):
    """The body of `POST /v1/schedules`: a schedule with its id."""

    id: str
    paused: bool = False


def schedule_of_form(form: ScheduleForm, name: str) -> task_pb2.Schedule:
    """The schedule of this resource name. Raises `InvalidArgument` with the field that does not fit."""
    return task_pb2.Schedule(
        name=name,
        spec=spec_of_form(form.spec, "spec."),
        cron=form.cron,
        interval_ms=form.interval_ms,
        time_zone=form.time_zone,
        overlap_policy=OVERLAP_TO_PROTO[form.overlap_policy],
        catch_up_policy=CATCH_UP_TO_PROTO[form.catch_up_policy],
        catch_up_window_ms=form.catch_up_window_ms,
        begin_time=_timestamp("begin_time", form.begin_time),
        end_time=_timestamp("end_time", form.end_time),
        paused=isinstance(form, NewScheduleForm) and form.paused,
    )


def schedule_from_json(schedule: Mapping[str, Any]) -> task_pb2.Schedule:
    """The schedule that decoded JSON describes, with its id. Raises `InvalidArgument` as above."""
    form = read_json(msgspec.json.encode(schedule), NewScheduleForm)
    return schedule_of_form(form, f"schedules/{form.id}")


def _timestamp(field: str, time: datetime | None) -> Timestamp | None:
    with InvalidArgument.unless_fitting(field, "lies outside the years 1 to 9999 in UTC"):
        return timestamp_of(time) if time is not None else None
