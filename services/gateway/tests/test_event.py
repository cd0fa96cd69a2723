"""Events on the way to watchers: written once, the same in every response."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from waybill_gateway.event import events_of, run_response, watch_response

from waybill.api.v1 import gateway_pb2, task_pb2

MESSAGES = st.builds(
    task_pb2.TaskEvent,
    sequence=st.integers(0, 2**40),
    digest=st.integers(0, 2**32 - 1),
    type=st.integers(0, 40),
    text=st.text(max_size=300),
)


@given(st.lists(MESSAGES, max_size=4))
def test_what_is_written_once_is_told_in_every_response(messages: list[task_pb2.TaskEvent]) -> None:
    events = events_of(messages)
    assert list(gateway_pb2.WatchTaskResponse.FromString(watch_response(events)).events) == messages
    run = gateway_pb2.RunTaskResponse.FromString(run_response(events))
    assert (list(run.events), run.HasField("task")) == (messages, False)
    assert [event.message for event in events] == messages
    known = [(event.sequence, event.digest, event.type) for event in events]
    assert known == [(message.sequence, message.digest, message.type) for message in messages]


def test_fields_of_a_newer_dispatcher_are_handed_on() -> None:
    newer = task_pb2.TaskEvent.FromString(b"\x08\x05" + b"\xba\x3e\x03new")  # field 999
    (event,) = events_of([newer])
    assert event.message.SerializeToString() == newer.SerializeToString()
    assert b"new" in watch_response([event])
