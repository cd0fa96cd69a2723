"""Owns what to do next after an error, where the error itself does not say it, and under which name of the command
line a field of the API is known."""

from __future__ import annotations

import re

from waybill.errors import NotFound, WaybillError

_BY_REASON = {
    "GATEWAY_UNREACHABLE": "start the suite with `waybill up`, or name the gRPC port of a running one with --address",
    "STORE_UNAVAILABLE": "repeat the command once its store is back; the logs of the suite say what is wrong with it",
    "STORE_FULL": "let tasks end and expire, or give the store more memory; what runs goes on meanwhile",
    "PLANNER_UNAVAILABLE": "repeat the command once the planner is back; its log says what is wrong with it",
    "REQUEST_ID_REUSED": "leave --request-id out for a random one",
    "CURSOR_EXPIRED": "begin again without a cursor",
    "CURSOR_UNKNOWN": "begin again without a cursor",
    "WRONG_STATE": "`waybill show TASK` tells its state and what it waits for",
}
_SHOW_WHAT_IS_THERE = (
    (re.compile(r"dead ?letter", re.IGNORECASE), "`waybill dead list` shows the dead letters of --tenant"),
    (re.compile(r"\bschedule", re.IGNORECASE), "`waybill schedule list` shows the schedules of --tenant"),
    (re.compile(r"\btemplate", re.IGNORECASE), "`waybill templates` shows those that there are"),
    (re.compile(r"\bagent", re.IGNORECASE), "`waybill agents` shows those that workers have announced"),
    (re.compile(r"\bsteps?\b", re.IGNORECASE), "`waybill show TASK` shows its steps"),
    (re.compile(r"\btasks?\b", re.IGNORECASE), "`waybill list` shows the newest tasks of --tenant"),
)
_TYPED_AS = {
    "x-waybill-tenant": "--tenant",
    "request_id": "--request-id",
    "from_day": "--from",
    "until_day": "--until",
    "limit.name": "LIMIT",
    "cron": "--cron",
    "interval_ms": "--every",
    "time_zone": "--time-zone",
    "begin_time": "--begin",
    "end_time": "--end",
    "catch_up_window_ms": "--window",
    "spec.goal": "--goal",
    "spec.input": "--input",
    "spec.deadline": "--deadline",
    "spec.template": "--template",
    "spec.start_time": "--start-at",
    "spec.labels": "--label",
    "spec.budget": "--max-cost-usd",
}


def advice(error: WaybillError) -> str:
    """The next step for the person at the terminal; empty where the message has it already."""
    if isinstance(error, NotFound):
        return next((told for about, told in _SHOW_WHAT_IS_THERE if about.search(error.message)), "")
    return _BY_REASON.get(error.reason, "")


def typed(message: str) -> str:
    """The message with a field of the API at its start called as it was typed."""
    field, colon, rest = message.partition(": ")
    return f"{_TYPED_AS[field]}{colon}{rest}" if field in _TYPED_AS else message
