"""The analyst with a model: claims quote passages, every quote is looked up, and nothing else comes through."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from injection_texts import Injection, injections
from waybill_worker.agents.analyst import analyst
from waybill_worker.agents.model_claims import MAX_PROMPT_CHARS

from waybill.chat import ChatRequest
from waybill.errors import AgentError, BudgetExhausted
from waybill.testing import AgentRun, ScriptedModel, run_agent

KETTLE = "Tea is made of leaves.\nMost people boil the water in a\nkettle made of steel. Cups are round."
STEEL = "Kettles are often made of steel, sometimes of copper."
PASSAGES = [{"path": "a.md", "line": 7, "text": KETTLE}, {"path": "b.md", "line": 1, "text": STEEL}]


def claim(text: str, *quotes: tuple[int, str]) -> dict[str, Any]:
    return {"text": text, "quotes": [{"passage": passage, "quote": quote} for passage, quote in quotes]}


def answer(*claims: dict[str, Any]) -> dict[str, Any]:
    return {"claims": list(claims)}


async def analysed(model: ScriptedModel | None, passages: Any = None, **more: Any) -> AgentRun:
    input = {"question": "What boils water?", "passages": PASSAGES if passages is None else passages, **more}
    return await run_agent(analyst, input, model=model)


async def test_given_quotes_that_stand_in_passages_then_the_claim_cites_them_as_they_stand_at_their_lines() -> None:
    model = ScriptedModel([answer(claim("Steel kettles boil water.", (1, "water in a kettle  made"), (2, STEEL)))])

    run = await analysed(model)

    assert run.output["model"] == "scripted"
    assert run.output["claims"] == [
        {
            "text": "Steel kettles boil water.",
            "citations": [
                {"path": "a.md", "line": 8, "quote": "water in a\nkettle made"},
                {"path": "b.md", "line": 1, "quote": STEEL},
            ],
            "score": 1.0,
        }
    ]
    assert len(model.requests) == 1


async def test_given_wrong_quotes_then_they_go_back_once_by_number_and_the_second_answer_counts() -> None:
    wrong = answer(claim("A.", (9, STEEL)), claim("B.", (1, "this stands nowhere")), claim("C."))
    right = answer(claim("B.", (1, "Tea is made of leaves.")))
    model = ScriptedModel([wrong, right])

    run = await analysed(model)

    assert [found["text"] for found in run.output["claims"]] == ["B."]
    complaint = model.requests[1].messages[-1]
    assert complaint.role == "user"
    for problem in ("claim 1, quote 1: the passages are numbered from 1 to 2", "claim 2, quote 1", "claim 3 quotes"):
        assert problem in complaint.content
    assert "nowhere" not in complaint.content


async def test_given_claims_that_stay_unsupported_then_they_are_kept_and_marked() -> None:
    wrong = answer(claim("Kettles fly [1].", (1, "kettles can fly very high")), claim("Water is wet."))

    run = await analysed(ScriptedModel([wrong, wrong]))

    assert run.output["claims"] == [
        {"text": "Kettles fly.", "citations": [], "score": 1.0, "supported": False},
        {"text": "Water is wet.", "citations": [], "score": 0.5, "supported": False},
    ]


async def test_given_more_claims_than_asked_for_or_the_same_twice_then_the_first_ones_count() -> None:
    many = answer(*[claim(f"Claim {n // 2}.", (2, STEEL)) for n in range(20)])

    run = await analysed(ScriptedModel([many]), limit=3)

    assert [found["text"] for found in run.output["claims"]] == ["Claim 0.", "Claim 1.", "Claim 2."]


async def test_given_no_passages_then_the_model_is_not_asked_and_warnings_pass() -> None:
    run = await analysed(ScriptedModel([]), passages=[], warnings=["x: is empty"])

    assert run.output == {"question": "What boils water?", "claims": [], "warnings": ["x: is empty"]}


async def test_given_more_text_than_a_model_is_shown_then_the_rest_is_left_out_and_that_is_told() -> None:
    huge = [{"path": f"{n}.md", "line": 1, "text": "x" * 10_000} for n in range(30)]
    model = ScriptedModel([answer()])

    run = await analysed(model, passages=huge)

    assert run.output["warnings"] == ["10 passages were left out: a model is shown a limited amount of text"]
    assert model.requests[0].messages[1].content.count("x") >= MAX_PROMPT_CHARS


@pytest.mark.parametrize("error", [AgentError("busy", reason="MODEL_UNAVAILABLE"), BudgetExhausted("over")])
async def test_given_a_model_that_fails_then_so_does_the_attempt_in_the_same_way(error: AgentError) -> None:
    with pytest.raises(AgentError) as caught:
        await analysed(ScriptedModel([error]))
    assert caught.value is error


@given(
    st.lists(
        st.tuples(
            st.text(min_size=1), st.lists(st.tuples(st.integers(-3, 5), st.sampled_from([KETTLE, STEEL]) | st.text()))
        ),
        max_size=5,
    )
)
async def test_given_any_answer_at_all_then_every_citation_stands_in_its_source(found: list[Any]) -> None:
    said = answer(*[claim(text, *quotes) for text, quotes in found])

    run = await analysed(ScriptedModel([json.dumps(said)] * 2))

    texts = {passage["path"]: passage["text"] for passage in PASSAGES}
    for one in run.output["claims"]:
        assert ("supported" in one) == (not one["citations"])
        assert all(citation["quote"] in texts[citation["path"]] for citation in one["citations"])


@pytest.mark.parametrize("injection", injections(), ids=lambda injection: injection.name)
async def test_given_a_source_that_gives_orders_and_a_model_that_obeys_then_there_is_nothing_but_claims(
    injection: Injection,
) -> None:
    def obey(request: ChatRequest) -> Any:
        """Cites a source that does not exist, claims the order without a quote, and writes a number of its own."""
        return answer(
            claim(f"{injection.text} [7]"), claim(f"{injection.tool} {injection.recipient}", (3, injection.text[:100]))
        )

    model = ScriptedModel(obey)
    passages = [*PASSAGES, {"path": "evil.md", "line": 1, "text": injection.text}]

    run = await analysed(model, passages=passages)

    for request in model.requests:
        assert request.tools == ()
        assert request.messages[0].role == "system"
        assert injection.text not in request.messages[0].content
    assert run.added == ()
    ordered, cited = run.output["claims"]
    assert (ordered["supported"], ordered["citations"], "[7]" in ordered["text"]) == (False, [], False)
    assert {citation["path"] for citation in cited["citations"]} <= {"evil.md"}
    assert set(run.output) == {"question", "claims", "warnings", "model"}
