"""Results that are packed from what is stored say what the view of the whole record says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st
from waybill_dispatcher import packed_results
from waybill_dispatcher.views import task_message

from waybill.api.v1 import dispatcher_pb2, task_pb2
from waybill.core.budget import BudgetAction, TaskPolicy
from waybill.core.task import Failure, Priority, TaskState
from waybill.ledger.ended import END_FIELDS, ended_of
from waybill.ledger.stored import CORE_FIELDS, PRIORITIES, TAIL_FIELDS, TASK_STATES
from waybill.ledger.unpacking import TASK_FIELDS, task_of

TEXTS = st.text(max_size=12).map(str.encode)
LONG = st.integers(0, 2**53).map(lambda number: b"%d" % number)
SHORT = st.integers(0, 10_000).map(lambda number: b"%d" % number)
POLICIES = st.builds(TaskPolicy, st.lists(st.text(max_size=4), max_size=2).map(tuple), max_revisions=st.integers(0, 9))
MAY_BE_SET = {
    **dict.fromkeys(("goal", "template", "note", "trace"), TEXTS),
    **dict.fromkeys(("created", "planned", "ended", "deadline", "start"), st.integers(0, 10**13).map(b"%d".__mod__)),
    **dict.fromkeys(("input_tokens", "output_tokens", "cost", "cached", "reasoning", "estimated", "reserved"), LONG),
    **dict.fromkeys(("wait", "run"), st.integers(0, 2**47).map(b"%d".__mod__)),
    "budget": LONG,
    **dict.fromkeys(("revision", "round"), SHORT),
    "labels": st.dictionaries(st.text(max_size=5), st.text(max_size=5), max_size=3).map(msgspec.json.encode),
    "agents": st.lists(st.text(max_size=5), max_size=3).map(msgspec.json.encode),
    "sinks": st.just(b"[1]"),
    "failure": st.builds(Failure, st.text(max_size=5), st.text(max_size=5)).map(msgspec.json.encode),
    "on_limit": st.sampled_from(BudgetAction).map(str.encode),
    "policy": POLICIES.map(msgspec.json.encode),
    "paths": st.just(b'["a"]'),
    "steps": st.integers(10, 20_000).map(b"%d".__mod__),
    "open": st.integers(0, 10).map(b"%d".__mod__),
    "revising": st.just(b"1"),
}
ALWAYS_SET = {
    "state": st.sampled_from(TaskState).map(str.encode),
    "priority": st.sampled_from(Priority).map(str.encode),
    "tenant": TEXTS.map(lambda text: text.replace(b"\0", b"")),
}
TASKS = st.fixed_dictionaries(ALWAYS_SET, optional=MAY_BE_SET)


def core_of(stored: Mapping[str, Any]) -> bytes:
    """The core that `task.lua` packs of these fields."""
    numbers = {"state": TASK_STATES.index(stored["state"].decode()) + 1}
    numbers["priority"] = PRIORITIES.index(stored["priority"].decode()) + 1
    numbers |= {field: int(stored.get(field) or 0) for field in CORE_FIELDS[2:-1]}
    widths = dict(zip(CORE_FIELDS, (1, 1, 6, 4, 4, 4, 6, 6), strict=False))
    head = b"".join(number.to_bytes(widths[field], "little") for field, number in numbers.items())
    texts = {"outcome", "on_limit", "on_failure"}
    tail: list[Any] = [
        (stored[field].decode() if field in texts else int(stored[field]))
        if field in stored
        else 1
        if field == "revision"
        else field not in texts and 0
        for field in TAIL_FIELDS
    ]
    while tail and tail[-1] in (0, False):
        tail.pop()
    return head + stored["tenant"] + b"\0" + (msgspec.msgpack.encode(tail) if tail != [1] else b"")


@given(TASKS, st.integers(0, 2**40), st.text(max_size=3).map(str.encode), TEXTS)
def test_whatever_is_stored_a_packed_result_says_what_the_whole_record_says(stored, sequence, output, cursor) -> None:
    row = {**stored, "core": core_of(stored)}
    record = task_of("0-x", [row.get(field) for field in TASK_FIELDS], sequence)
    task = ended_of([*(row.get(field) for field in END_FIELDS), b"0-x", 7, sequence, len(output), output or None])
    for _ in range(2):  # the second one finds what it has in common with the first
        packed = packed_results.packed_result(task, output, cursor)
        response = dispatcher_pb2.StreamResultsResponse.FromString(packed_results.packed_response([packed], cursor))
        (result,) = response.results
        assert result.task == task_message(record, output=output, policy=record.policy)
        assert (result.cursor, response.cursor) == (cursor.decode(), cursor.decode())


def test_what_tasks_have_in_common_is_kept_within_bounds() -> None:
    row = dict.fromkeys(END_FIELDS)
    core = core_of({"state": b"failed", "priority": b"low", "tenant": b""})
    for number in range(2_000):
        row |= {"core": core, "goal": b"%d" % number * (number % 3_000)}
        packed_results.packed_result(ended_of([*row.values(), b"0-x", 1, 1, 0, None]), b"", b"c")
    assert len(packed_results._kept) <= packed_results._MOST_KEPT
    assert max(map(len, packed_results._kept.values())) <= packed_results._LARGEST_KEPT_BYTES


def test_several_results_are_one_message_in_order() -> None:
    messages = [task_pb2.Task(name=f"tasks/{number}") for number in range(300)]
    results = [
        packed_results.packed_task(message.SerializeToString(), b"c%d" % at) for at, message in enumerate(messages)
    ]
    response = dispatcher_pb2.StreamResultsResponse.FromString(packed_results.packed_response(results, b"c299"))
    assert [result.task for result in response.results] == messages
    assert [result.cursor for result in response.results] == [f"c{number}" for number in range(300)]
