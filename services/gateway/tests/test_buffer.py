"""The buffer of a hub: the newest events within bounds, and what it knows of the events before a place."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from waybill_gateway import buffer as buffer_module
from waybill_gateway.buffer import EventBuffer
from waybill_gateway.event import Event
from waybill_gateway.place import START, Place

from waybill.api.v1 import task_pb2


def event(sequence: int) -> Event:
    return Event.of(task_pb2.TaskEvent(sequence=sequence, digest=1_000 + sequence, text="x" * sequence))


@given(st.integers(1, 5), st.integers(0, 40), st.integers(1, 60))
def test_it_knows_what_stood_before_each_place_that_it_holds(start: int, count: int, asked: int) -> None:
    buffer = EventBuffer(Place(start, 999))
    for sequence in range(start, start + count):
        buffer.add(event(sequence))
    assert (buffer.first, buffer.next, bool(buffer)) == (start, start + count, count > 0)
    expected = 0
    if asked == start:
        expected = 999
    elif start < asked <= start + count:
        expected = 1_000 + asked - 1
    assert buffer.digest_before(asked) == expected
    assert buffer.contradicts(Place(asked, 7)) == (expected != 0)
    assert not buffer.contradicts(Place(asked, expected))
    assert not buffer.contradicts(Place(asked))


@given(st.integers(1, 60))
def test_what_is_dropped_leaves_its_digest_behind(count: int) -> None:
    kept, buffer_module.MAX_BUFFERED_EVENTS = buffer_module.MAX_BUFFERED_EVENTS, 10
    try:
        buffer = EventBuffer(START)
        for sequence in range(1, count + 1):
            buffer.add(event(sequence))
    finally:
        buffer_module.MAX_BUFFERED_EVENTS = kept
    assert buffer.first == max(1, count - 9)
    assert [item.sequence for item in buffer.after(buffer.first)] == list(range(buffer.first, count + 1))
    assert buffer.digest_before(buffer.first) == (1_000 + buffer.first - 1 if buffer.first > 1 else 0)
    assert buffer.end == Place(count + 1, 1_000 + count)


def test_a_restart_forgets_all() -> None:
    buffer = EventBuffer(Place(5, 999))
    buffer.add(event(5))
    buffer.restart()
    assert (buffer.first, buffer.next, buffer.newest, buffer.end) == (1, 1, None, START)
