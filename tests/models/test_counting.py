"""The most that a call can use."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from model_answers import Request

from waybill.chat import ChatRequest, Message, Tool
from waybill.models.config import Model
from waybill.models.counting import worst_case
from waybill.models.wire import Features, body_of, output_limit

texts = st.text(st.characters(codec="utf-8"), max_size=300)
MODEL = Model(endpoint="e", model="m", max_output_tokens=100)


@given(st.lists(texts, min_size=1, max_size=8), st.lists(texts, max_size=3), st.booleans())
def test_given_any_request_when_its_worst_is_counted_then_no_tokenizer_counts_more(
    said: list[str], tools: list[str], formed: bool
) -> None:
    offered = tuple(Tool(f"t{at}", text, {"type": "object"}) for at, text in enumerate(tools))
    schema = b'{"type":"object"}' if formed else b""
    request = ChatRequest(tuple(Message("user", text) for text in said), tools=offered, schema=schema)
    body = body_of(request, MODEL, Features())

    worst = worst_case(body, output_limit(request, MODEL))

    # A tokenizer that knows no word but single bytes makes the most tokens there can be.
    spoken: list[Any] = [*said, *(json.dumps(tool, ensure_ascii=False) for tool in body.get("tools", ()))]
    assert worst.input_tokens >= sum(len(text.encode()) for text in spoken) + 8 * len(said)
    assert worst.input_tokens >= Request("", {}, body).prompt_tokens
    assert worst.output_tokens == 100


def test_given_a_cap_of_the_request_when_counted_then_the_lower_one_holds() -> None:
    said = (Message("user", "x"),)

    assert output_limit(ChatRequest(said, max_output_tokens=7), MODEL) == 7
    assert output_limit(ChatRequest(said, max_output_tokens=7000), MODEL) == 100
