"""Owns naming many tasks at once: by state, label, agent, template and time."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from google.protobuf.timestamp_pb2 import Timestamp

from waybill.api.v1 import task_pb2
from waybill.core.task import TaskState
from waybill.rpc import conversion


@dataclass(frozen=True, slots=True)
class TaskFilter:
    """Which tasks are meant: all that is set must hold.

    `labels` are labels with their values, `agent` one that runs a step of the task, `template` what its plan was made
    from. Times are those of acceptance, from the first one on and before the second; one without a time zone is local.
    """

    states: Iterable[TaskState] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    agent: str = ""
    template: str = ""
    created_from: datetime | None = None
    created_until: datetime | None = None

    def message(self) -> task_pb2.TaskFilter:
        """The filter as a message."""
        return task_pb2.TaskFilter(
            states=[conversion.TASK_STATE_TO_PROTO[state] for state in self.states],
            labels=self.labels,
            agent=self.agent,
            template=self.template,
            create_time_from=_timestamp(self.created_from),
            create_time_until=_timestamp(self.created_until),
        )


def _timestamp(time: datetime | None) -> Timestamp | None:
    if time is None:
        return None
    message = Timestamp()
    message.FromDatetime(time.astimezone(UTC))
    return message
