"""Owns naming many tasks at once: by state, label, agent, template and time."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from waybill.api.v1 import task_pb2
from waybill.core.task import TaskState
from waybill.errors import InvalidArgument
from waybill.rpc import conversion
from waybill.rpc.events import timestamp_of


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
        """The filter as a message. Raises `InvalidArgument` naming what is of the wrong type."""
        fitting = InvalidArgument.unless_fitting
        message = task_pb2.TaskFilter()
        with fitting("states", f"must be some of {', '.join(TaskState)}"):
            message.states.extend(conversion.TASK_STATE_TO_PROTO[state] for state in self.states)
        with fitting("labels", "must be a mapping of texts to texts"):
            message.labels.update(self.labels)
        with fitting("agent", "must be a text"):
            message.agent = self.agent
        with fitting("template", "must be a text"):
            message.template = self.template
        with fitting("created_from", "must be a datetime"):
            if self.created_from is not None:
                message.create_time_from.CopyFrom(timestamp_of(self.created_from))
        with fitting("created_until", "must be a datetime"):
            if self.created_until is not None:
                message.create_time_until.CopyFrom(timestamp_of(self.created_until))
        return message
