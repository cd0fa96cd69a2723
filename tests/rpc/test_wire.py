"""What is put together by hand reads like what the generated classes write."""

from __future__ import annotations

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given
from hypothesis import strategies as st

from waybill.api.v1 import task_pb2
from waybill.rpc.events import timestamp
from waybill.rpc.wire import sized, sized_time, tag, varint


@given(st.integers(-(2**63), 2**63 - 1))
def test_any_number_is_read_back(number: int) -> None:
    written = tag(task_pb2.Task, "last_sequence") + varint(number)
    assert task_pb2.Task.FromString(written).last_sequence == number


@given(st.text(max_size=40_000))
def test_any_text_is_read_back(text: str) -> None:
    assert task_pb2.Task.FromString(tag(task_pb2.Task, "goal") + sized(text.encode())).goal == text


@given(st.integers(-(10**13), 10**14))
def test_any_time_is_read_back(epoch_ms: int) -> None:
    task = task_pb2.Task.FromString(tag(task_pb2.Task, "start_time") + sized_time(epoch_ms))
    assert task.start_time == timestamp(epoch_ms)
    assert sized_time(epoch_ms)[1:] == Timestamp.SerializeToString(task.start_time)


def test_a_field_that_a_message_has_not_is_an_error() -> None:
    with pytest.raises(KeyError):
        tag(task_pb2.Task, "nothing")
