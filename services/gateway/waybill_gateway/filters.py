"""What the edge requires of a filter of tasks."""

from __future__ import annotations

from collections.abc import Mapping

from google.protobuf.timestamp_pb2 import Timestamp

from waybill.api.v1 import task_pb2
from waybill.core import limits
from waybill.errors import InvalidArgument, Violation
from waybill.rpc.enums import TASK_STATE_FROM_PROTO

_RETRIABLE = (task_pb2.TASK_STATE_FAILED, task_pb2.TASK_STATE_CANCELLED)
_FIRST_SECOND = -62_135_596_800
_LAST_SECOND = 253_402_300_799
"""The years 1 to 9999: what a timestamp may hold."""

PARAMETERS: Mapping[str, str] = {
    "states": "state",
    "labels": "label",
    "agent": "agent",
    "template": "template",
    "create_time_from": "created_from",
    "create_time_until": "created_until",
}
"""The fields of a filter as query parameters over HTTP."""


def check_filter(wanted: task_pb2.TaskFilter, names: Mapping[str, str] | None = None) -> None:
    """Raise `InvalidArgument` with every field of a filter that is wrong, under `names` if any are given."""
    found = [
        Violation(names[field] if names is not None else f"filter.{field}", description)
        for field, description in _defects(wanted)
    ]
    if found:
        shown = "; ".join(f"{violation.field}: {violation.description}" for violation in found[:3])
        raise InvalidArgument(shown, found)


def check_retry_filter(wanted: task_pb2.TaskFilter) -> None:
    """Raise `InvalidArgument` for a filter that must not choose what is retried: a wrong or an empty one."""
    check_filter(wanted)
    if wanted == task_pb2.TaskFilter():
        described = 'is empty; name what to retry, by its states ("failed" for every failed task) or other fields'
        raise InvalidArgument.of_field("filter", described)
    for state in wanted.states:
        if state not in _RETRIABLE:
            named = TASK_STATE_FROM_PROTO[state].value
            raise InvalidArgument.of_field("filter.states", f"holds {named}; only failed and cancelled can be retried")


def _defects(wanted: task_pb2.TaskFilter) -> list[tuple[str, str]]:
    """The fields that are wrong, and what is wrong with them."""
    found: list[tuple[str, str]] = []
    unknown = [state for state in wanted.states if state not in TASK_STATE_FROM_PROTO]
    if unknown:
        found.append(("states", f"holds {unknown[0]}, which is no state of a task"))
    found += [("labels", defect) for defect in _label_defects(wanted.labels)]
    if wanted.agent and not limits.AGENT_NAME.fullmatch(wanted.agent):
        found.append(("agent", "is no name of an agent: a lower-case letter, then up to 63 of a-z, 0-9, '_' and '-'"))
    if wanted.template and not limits.TEMPLATE_NAME.fullmatch(wanted.template):
        found.append(("template", "is no name of a template: up to 64 of a-z, 0-9, '_' and '-'"))
    times = ("create_time_from", "create_time_until")
    bad_times = [name for name in times if not _is_time(getattr(wanted, name))]
    found += [(name, "is no time between the years 1 and 9999") for name in bad_times]
    if not bad_times and all(wanted.HasField(name) for name in times):  # type: ignore[arg-type]
        first, last = wanted.create_time_from, wanted.create_time_until
        if (first.seconds, first.nanos) >= (last.seconds, last.nanos):
            found.append(("create_time_until", "is not after the time from which on tasks are wanted"))
    return found


def _label_defects(labels: Mapping[str, str]) -> list[str]:
    if len(labels) > limits.MAX_LABELS:
        return [f"has {len(labels)} labels, over the limit of {limits.MAX_LABELS}"]
    found: list[str] = []
    for key, value in sorted(labels.items()):
        if not limits.LABEL_KEY.fullmatch(key):
            allowed = f"must be 1 to {limits.MAX_LABEL_KEY_CHARS} of A-Z, a-z, 0-9, '.', '_', '/' and '-'"
            found.append(f"the key {key[:80]!r} {allowed}, starting with a letter or digit")
        elif len(value) > limits.MAX_LABEL_VALUE_CHARS:
            limit = f"over the limit of {limits.MAX_LABEL_VALUE_CHARS}"
            found.append(f"the value of {key} has {len(value)} characters, {limit}")
    return found


def _is_time(time: Timestamp) -> bool:
    return _FIRST_SECOND <= time.seconds <= _LAST_SECOND and 0 <= time.nanos < 1_000_000_000
