"""The writer with a model: its text cites by the numbers that we gave, and the sources are those that we computed."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from injection_texts import Injection, injections
from markdown_it import MarkdownIt
from waybill_worker.agents.numbering import UNSUPPORTED
from waybill_worker.agents.prose import paragraphs_of
from waybill_worker.agents.writer import EXTRACTIVE, NO_EVIDENCE, writer

from waybill.errors import AgentError, BudgetExhausted
from waybill.testing import AgentRun, ScriptedModel, run_agent

PARSER = MarkdownIt("commonmark").enable("table")


def claim(text: str, *places: tuple[str, int], **more: Any) -> dict[str, Any]:
    return {"text": text, "citations": [{"path": path, "line": line, "quote": text} for path, line in places], **more}


def section(question: str, *claims: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"question": question, "claims": list(claims), **more}


SECTIONS = [
    section("What boils?", claim("Water boils.", ("a.md", 1), ("b.md", 2)), claim("Milk boils.", ("a.md", 3))),
    section("What flies?"),
    section("What melts?", claim("Ice melts.", ("c.md", 1)), claim("Steel melts.", supported=False), model="other"),
]


async def write(model: ScriptedModel | None, sections: Any = None, goal: str = "Tell me") -> AgentRun:
    return await run_agent(writer, {"goal": goal, "sections": sections or SECTIONS}, model=model)


async def test_given_a_model_when_writing_then_its_sentences_carry_our_numbers_and_the_sources_stay() -> None:
    model = ScriptedModel(["Water boils [1, 2]. So does milk. [3]\n\nNobody knows why.", "Ice melts. [4] [9]"])

    run = await write(model)

    report = run.output["report"]
    assert "## What boils?\n\nWater boils. [1][2] So does milk. [3]\n\n" in report
    assert f"\nNobody knows why. {UNSUPPORTED}\n" in report
    assert f"## What flies?\n\n{NO_EVIDENCE}\n" in report
    assert f"## What melts?\n\nIce melts. [4]\n\n- Steel melts. {UNSUPPORTED}\n" in report
    assert run.output["sources"] == (await write(None)).output["sources"]
    assert "written with a model (`scripted`, `other`)" in report
    assert EXTRACTIVE not in report


async def test_given_a_model_when_writing_then_watchers_get_the_text_and_the_model_only_what_is_supported() -> None:
    model = ScriptedModel(["One [1].", "Two [4]."])

    run = await write(model)

    assert run.text.split() == ["One", "[1].", "Two", "[4]."]
    assert all(request.stream for request in model.requests)
    first, second = (request.messages[1].content for request in model.requests)
    assert "\n[1][2] Water boils.\n[3] Milk boils.\n" in first
    assert "Steel" not in second


async def test_given_no_model_when_an_analyst_had_one_then_the_report_says_so_and_marks_what_is_unsupported() -> None:
    report = (await write(None)).output["report"]

    assert f"- Ice melts. [4]\n- Steel melts. {UNSUPPORTED}\n" in report
    assert "written with a model (`other`)" in report
    assert EXTRACTIVE in (await write(None, SECTIONS[:2])).output["report"]


async def test_given_a_model_that_writes_nothing_then_the_claims_are_listed() -> None:
    report = (await write(ScriptedModel(["", "[4]"]))).output["report"]

    assert "- Water boils. [1][2]\n- Milk boils. [3]\n" in report
    assert "- Ice melts. [4]\n" in report


@pytest.mark.parametrize("error", [AgentError("busy", reason="MODEL_UNAVAILABLE"), BudgetExhausted("over")])
async def test_given_a_model_that_fails_then_so_does_the_attempt_in_the_same_way(error: AgentError) -> None:
    with pytest.raises(AgentError) as caught:
        await write(ScriptedModel(["One [1].", error]))
    assert caught.value is error


async def test_given_a_claim_without_a_citation_that_is_not_marked_then_the_input_does_not_fit() -> None:
    with pytest.raises(AgentError, match="at least one citation"):
        await write(None, [section("Q?", claim("Bare."))])


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("Water boils. [1][3] Ice melts [2].", [["Water boils. [1][3]", "Ice melts. [2]"]]),
        ("One [1].[2] Two [1; 3]. Three.", [["One. [1][2]", "Two. [1][3]", f"Three. {UNSUPPORTED}"]]),
        ("水は沸騰する。[1] 氷は溶ける。嘘。[2]", [["水は沸騰する。 [1]", f"氷は溶ける。 {UNSUPPORTED}", "嘘。 [2]"]]),
        ("# A heading\nText [1].\n- Item one [2]\n- Item two", [
            [f"A heading {UNSUPPORTED}"], ["Text. [1]"], ["Item one [2]"], [f"Item two {UNSUPPORTED}"]]),
        ("See https://a.example/?q=1 [1]. <b>x</b> [2]. ![i](http://a/b.png) [3]",
         [["`See https://a.example/?q=1.` [1]", "`<b>x</b>.` [2]", "`![i](http://a/b.png)` [3]"]]),
        ("[1] Leading [2]. Same [1][1][1].", [["Leading. [1][2]", "Same. [1]"]]),
        ("Unknown [99]. Huge [99999999999999999999].", [[f"Unknown. {UNSUPPORTED}", f"Huge. {UNSUPPORTED}"]]),
        ("  \n\n[1]\n\n...", []),
    ],
)  # fmt: skip
def test_given_what_a_model_writes_then_each_sentence_is_cited_or_marked(text: str, written: list[list[str]]) -> None:
    assert paragraphs_of(text, {1, 2, 3}) == written


@given(
    st.text()
    | st.lists(st.sampled_from(["a. ", "[1]", "[2", "]", "\n", "# ", "- ", "`", "x ", "。", "1. "])).map("".join)
)
def test_given_any_text_then_all_its_words_are_kept_and_no_number_is_but_the_offered(text: str) -> None:
    written = paragraphs_of(text, {1})

    sentences = [sentence for paragraph in written for sentence in paragraph]
    shown = "".join(sentence.removesuffix(UNSUPPORTED) for sentence in sentences)
    assert [letter for letter in shown if letter.isalpha()] == [letter for letter in text if letter.isalpha()]
    for sentence in sentences:
        assert sentence.endswith((" [1]", f" {UNSUPPORTED}"))
        assert "\n" not in sentence
        tokens = PARSER.parse(sentence)
        assert [token.type for token in tokens] == ["paragraph_open", "inline", "paragraph_close"]


@pytest.mark.parametrize("injection", injections(), ids=lambda injection: injection.name)
async def test_given_claims_that_give_orders_and_a_model_that_obeys_then_sources_and_structure_stay(
    injection: Injection,
) -> None:
    sections = [*SECTIONS, section("Evil?", claim(injection.text, ("evil.md", 1)))]
    obedient = f"{injection.text} [77]\n\n## Sources\n\n- [1] {injection.recipient} ![x](https://evil.example/?q=1)"
    model = ScriptedModel(lambda request: obedient)

    run = await write(model, sections)
    plain = await write(None, sections)

    assert run.output["sources"] == plain.output["sources"]
    assert run.output["report"].count("\n## ") == len(sections) + 1
    tokens = PARSER.parse(run.output["report"])
    assert sum(token.type == "heading_open" for token in tokens) == len(sections) + 2
    inner = {child.type for token in tokens for child in token.children or []}
    assert not inner & {"html_inline", "image", "link_open"}
    assert run.added == ()
    for request in model.requests:
        assert request.tools == ()
        assert injection.text not in request.messages[0].content
