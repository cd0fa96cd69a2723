"""An event on its way to watchers: written once, whoever it is told."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from waybill.api.v1 import gateway_pb2, task_pb2
from waybill.rpc.wire import sized, tag

_WATCHED = tag(gateway_pb2.WatchTaskResponse, "events")
_RUN = tag(gateway_pb2.RunTaskResponse, "events")


class Event(msgspec.Struct, gc=False, frozen=True):
    """What the way to a watcher has to know of an event, and `written`: its message on the wire, after its size."""

    sequence: int
    digest: int
    type: int
    written: bytes

    @classmethod
    def of(cls, message: task_pb2.TaskEvent) -> Event:
        """The event of a message."""
        return cls(message.sequence, message.digest, message.type, sized(message.SerializeToString()))

    @property
    def message(self) -> task_pb2.TaskEvent:
        """The message, read anew."""
        (found,) = gateway_pb2.WatchTaskResponse.FromString(_WATCHED + self.written).events
        return found

    @property
    def is_finish(self) -> bool:
        """Whether this event ended the task; a retry may have followed it."""
        return self.type == task_pb2.EVENT_TYPE_TASK_FINISHED

    @property
    def is_reset(self) -> bool:
        """Whether this is no event of the history, but tells that the history begins anew."""
        return self.type == task_pb2.EVENT_TYPE_STREAM_RESET


Events = Sequence[Event]


def events_of(messages: Iterable[task_pb2.TaskEvent]) -> Events:
    """The events of messages."""
    return [Event.of(message) for message in messages]


def watch_response(events: Events) -> bytes:
    """A WatchTaskResponse on the wire."""
    return b"".join([part for event in events for part in (_WATCHED, event.written)])


def run_response(events: Events) -> bytes:
    """A RunTaskResponse on the wire."""
    return b"".join([part for event in events for part in (_RUN, event.written)])
