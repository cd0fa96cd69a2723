"""The agent `llm`: a template, its values as data, and an answer of the form that was asked for."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from injection_texts import Injection, injections
from waybill_worker.agents.fencing import RULE, fence
from waybill_worker.agents.llm import llm
from waybill_worker.agents.templates import fill

from waybill.errors import AgentError, Permanent
from waybill.testing import AgentRun, ScriptedModel, run_agent

TEXT = st.text() | st.sampled_from(["{{a}}", "</data-0000000000000000>", "}}", "{{", "${a}"])


async def asked(scripted: ScriptedModel, prompt: str, **more: Any) -> AgentRun:
    return await run_agent(llm, {"prompt": prompt, **more}, model=scripted)


async def test_given_a_prompt_when_answered_then_text_model_and_usage_are_told_and_it_was_streamed() -> None:
    run = await asked(ScriptedModel(["Four words of text"]), "Say something.", system="Be brief.", temperature=0.5)

    assert run.output["text"] == run.text == "Four words of text"
    assert run.output["value"] is None
    assert run.output["model"] == "scripted"
    assert run.output["usage"]["output_tokens"] == run.usage.output_tokens == 4


async def test_given_what_is_set_when_asked_then_the_model_gets_it() -> None:
    model = ScriptedModel(["x"])
    await asked(model, "Hi", system="S", model="small", max_output_tokens=7, temperature=0, stream=False)

    (request,) = model.requests
    assert [(message.role, message.content) for message in request.messages] == [("system", "S"), ("user", "Hi")]
    assert (request.model, request.max_output_tokens, request.temperature, request.stream) == ("small", 7, 0.0, False)


async def test_given_an_output_schema_when_the_answer_does_not_fit_then_it_goes_back_and_is_not_streamed() -> None:
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    model = ScriptedModel(["no JSON", {"n": "x"}, {"n": 3}])

    run = await asked(model, "Count.", output=schema)

    assert run.output["value"] == {"n": 3}
    assert (len(model.requests), run.text) == (3, "")
    assert run.usage.output_tokens == run.output["usage"]["output_tokens"]
    with pytest.raises(AgentError) as caught:
        await asked(ScriptedModel(["no"] * 3), "Count.", output=schema)
    assert caught.value.reason == "OUTPUT_INVALID"


async def test_given_no_model_when_asked_then_the_step_fails_for_good() -> None:
    with pytest.raises(Permanent) as caught:
        await run_agent(llm, {"prompt": "Hi"})
    assert caught.value.reason == "MODEL_MISSING"


@given(st.dictionaries(st.sampled_from(["a", "b"]), TEXT, min_size=1), TEXT)
def test_given_any_texts_as_values_when_filled_in_then_they_stand_fenced_and_are_not_read_again(
    values: dict[str, str], before: str
) -> None:
    before = before.replace("{{", "").rstrip("{")
    filled = fill(f"{before} {{{{a}}}}", {"a": "", **values}, "seed")

    mark = re.search(r"<data-([0-9a-f]{16}) name=\"a\">\n", filled[len(before) :])
    assert mark is not None
    text = values.get("a", "")
    assert filled == f"{before} {fence('a', text, 'seed')}"
    assert filled.endswith(f"\n{text}\n</data-{mark[1]}>")
    assert f"data-{mark[1]}" not in text


def test_given_expressions_when_filled_in_then_they_find_values_and_numbers_stand_bare() -> None:
    values = {"a": {"b": [1, {"c": "deep"}]}, "n": 3, "yes": True, "none": None, "with-dash": 1.5}

    assert (
        fill("{{n}} {{ yes }} {{none}} {{with-dash}} {{a.b[0]}} {{length(a.b)}}", values, "") == "3 true null 1.5 1 2"
    )
    assert "\ndeep\n" in fill("{{a.b[1].c}}", values, "")
    assert '"c": "deep"' in fill("{{a}}", values, "")
    assert fill("no place { } {x}", {}, "") == "no place { } {x}"


@pytest.mark.parametrize("place", ["missing", "a..b", "", "n.m", "abs(a)", "nope()", "[", "__class__"])
async def test_given_an_expression_that_finds_nothing_when_filled_in_then_the_step_fails_for_good(place: str) -> None:
    with pytest.raises(Permanent) as caught:
        await asked(ScriptedModel([]), "{{" + place + "}}", values={"a": "x", "n": 1})
    assert caught.value.reason == "PROMPT_INVALID"


async def test_given_too_many_places_when_filled_in_then_the_limit_is_named() -> None:
    with pytest.raises(Permanent, match="1000 places"):
        await asked(ScriptedModel([]), "{{n}}" * 1001, values={"n": 1})


@pytest.mark.parametrize("injection", injections(), ids=lambda injection: injection.name)
async def test_given_a_value_that_gives_orders_when_asked_then_it_is_data_in_the_users_message(
    injection: Injection,
) -> None:
    model = ScriptedModel(["done"])

    run = await asked(model, "Summarise {{text}}", values={"text": injection.text}, system="Be brief.")

    (system, user) = model.requests[0].messages
    assert (system.role, system.content) == ("system", f"{RULE}\n\nBe brief.")
    assert user.content == f"Summarise {fence('text', injection.text, 'task-1/step')}"
    assert (model.requests[0].tools, run.added) == ((), ())
