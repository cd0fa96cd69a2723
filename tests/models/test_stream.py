"""Answers put together from chunks."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from model_answers import Behaviour, Request, Told

from waybill.core.task import Usage
from waybill.models.stream import MAX_ANSWER_CHARS, Joined, Malformed

REQUEST = Request("", {}, {"model": "m", "messages": []})
names = st.from_regex(r"[a-z]{1,8}", fullmatch=True)


def delta(**content: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": content}]}


@given(st.text(), st.lists(st.tuples(names, st.text())), st.integers(1, 9))
def test_given_an_answer_in_any_pieces_when_joined_then_it_is_whole(
    text: str, calls: list[tuple[str, str]], size: int
) -> None:
    text, calls = text.encode("utf-8", "ignore").decode(), [(n, a.encode("utf-8", "ignore").decode()) for n, a in calls]
    told, joined = Told(REQUEST, Behaviour(text=text, tool_calls=tuple(calls), chunk_chars=size)), Joined()

    streamed = "".join(joined.add(piece) for piece in told.pieces())
    joined.add({"choices": [], "usage": told.usage()})

    assert streamed == joined.text == text
    assert [(call.name, call.arguments) for call in joined.tool_calls] == calls
    assert joined.finish_reason == ("tool_calls" if calls else "stop")
    assert joined.usage == Usage(0, told.completion_tokens)


def test_given_whole_calls_without_an_index_when_joined_then_each_is_one() -> None:
    joined = Joined()
    for id in ("a", "b"):
        joined.add(delta(tool_calls=[{"id": id, "function": {"name": "look", "arguments": "{}"}}]))

    assert [(call.id, call.arguments) for call in joined.tool_calls] == [("a", "{}"), ("b", "{}")]


def test_given_a_call_without_an_id_when_joined_then_it_gets_one() -> None:
    joined = Joined()
    joined.add(delta(tool_calls=[{"index": 0, "function": {"name": "look", "arguments": "{}"}}]))

    assert joined.tool_calls[0].id == "call_0"


NO_CHUNKS: list[object] = [
    [],
    "text",
    5,
    {"choices": 5},
    {"choices": [{"delta": {"content": 5}}]},
    delta(tool_calls=[{"index": -1}]),
    delta(tool_calls=[{"index": 10**6}]),
    delta(content="x" * (MAX_ANSWER_CHARS + 1)),
    {"usage": "none"},
    {"usage": {"prompt_tokens": -1, "completion_tokens": 0}},
    {"usage": {"prompt_tokens": 10**15, "completion_tokens": 0}},
]
FIELDS = st.sampled_from(["choices", "delta", "content", "tool_calls", "usage", "index"])
LEAVES = st.none() | st.booleans() | st.integers() | st.text()
anything = st.recursive(LEAVES, lambda inner: st.lists(inner) | st.dictionaries(FIELDS, inner))


@pytest.mark.parametrize("chunk", NO_CHUNKS)
def test_given_a_chunk_that_is_none_when_added_then_it_is_refused(chunk: object) -> None:
    with pytest.raises(Malformed):
        Joined().add(chunk)


@given(anything)
def test_given_anything_when_added_then_it_is_taken_or_refused(chunk: object) -> None:
    joined = Joined()
    with contextlib.suppress(Malformed):
        assert joined.add(chunk) == joined.text


def test_given_details_of_an_account_when_added_then_they_are_parts_of_it() -> None:
    joined = Joined()
    joined.add({"usage": {"prompt_tokens": 10, "completion_tokens": 5, "prompt_tokens_details": {"cached_tokens": 99},
        "completion_tokens_details": {"reasoning_tokens": 3}}})  # fmt: skip

    assert joined.usage == Usage(10, 5, cached_input_tokens=10, reasoning_tokens=3)
