"""The analyst: whole sentences that answer the question, each once, with every source that says it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from waybill_worker.agents.analyst import analyst
from waybill_worker.agents.evidence import Passage
from waybill_worker.agents.sentences import sentences_of

from waybill.errors import Permanent
from waybill.testing import run_agent


def passage(text: str, path: str = "a.md", line: int = 1, **more: Any) -> dict[str, Any]:
    return {"path": path, "line": line, "text": text, **more}


async def claims(question: str, *passages: dict[str, Any], **more: Any) -> list[dict[str, Any]]:
    run = await run_agent(analyst, {"question": question, "passages": list(passages), **more})
    found: list[dict[str, Any]] = run.output["claims"]
    return found


async def texts(question: str, *passages: dict[str, Any]) -> list[str]:
    return [claim["text"] for claim in await claims(question, *passages)]


async def test_the_sentence_that_answers_is_quoted_with_the_line_where_it_begins() -> None:
    text = "Tea is made of leaves.\nMost people boil the water in a\nkettle made of steel. Cups are round."
    assert await claims("What boils water?", passage(text, line=7)) == [
        {
            "text": "Most people boil the water in a kettle made of steel.",
            "citations": [
                {"path": "a.md", "line": 8, "quote": "Most people boil the water in a\nkettle made of steel."}
            ],
            "score": 1.0,
        }
    ]


async def test_asked_what_something_is_the_definition_comes_first() -> None:
    text = (
        "You fill the kettle and wait for the kettle to whistle.\n\n"
        "Nobody likes a kettle that drips.\n\nA kettle is a vessel that boils water."
    )
    assert (await texts("What is a kettle?", passage(text)))[0] == "A kettle is a vessel that boils water."


async def test_a_row_of_a_table_defines_the_term_in_its_first_cell() -> None:
    table = passage("| word | meaning |\n| --- | --- |\n| kettle | a vessel that boils water |", line=4, kind="table")
    found = await claims("What is a kettle?", table)
    assert found[0]["citations"] == [{"path": "a.md", "line": 6, "quote": "kettle | a vessel that boils water"}]
    assert await texts("Who boils water?", table) == []


async def test_near_duplicates_become_one_claim_with_every_source() -> None:
    found = await claims(
        "kettle water",
        passage("The kettle boils water quickly.", "a.md", 3),
        passage("The kettle boils water quickly!", "b.md", 5),
        passage("The **kettle** boils water  quickly.", "c.md", 9),
    )
    assert [(c["path"], c["line"]) for c in found[0]["citations"]] == [("a.md", 3), ("b.md", 5), ("c.md", 9)]
    assert len(found) == 1


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("The kettle boils water in 3 minutes at most.", "The kettle boils water in 8 minutes at most."),
        ("The kettle must be cleaned with water at once.", "The kettle must not be cleaned with water at once."),
    ],
)
async def test_sentences_that_differ_in_a_number_or_a_not_stay_apart(one: str, other: str) -> None:
    assert sorted(await texts("kettle water", passage(one, "a.md"), passage(other, "b.md"))) == sorted([one, other])


async def test_what_is_no_sentence_is_not_quoted() -> None:
    noise = "\n".join(
        [  # one piece of noise a line, some parted by blank lines
            "# The kettle heading of this page here",
            "Kettle water:",
            "```\nThe kettle = boil(water) in code.\n```",
            "| kettle | water | and | more | cells |",
            "\nkettle water\n",
            ">>> kettle.boil('the water')",
            "\nhttps://kettle.example/water/boil/kettle\n",
            "\n`kettle --boil --water --fast --now`\n",
            "-----",
        ]
    )
    assert await texts("How does the kettle boil water?", passage(noise)) == []
    assert await texts("kettle", passage("The kettle boils water in code.", kind="code")) == []


async def test_list_items_are_quoted_without_their_markers() -> None:
    text = "- The kettle boils water.\n  It takes quite a while.\n2. [x] The kettle holds much more water.\n"
    assert await texts("kettle water", passage(text)) == [
        "The kettle boils water.",
        "It takes quite a while.",
        "The kettle holds much more water.",
    ]


async def test_comments_are_quoted_without_the_marker_in_front() -> None:
    text = "    # The kettle boils water.\n    #\n    # Steel is used for the water\n    # of a kettle."
    found = await claims("kettle water", passage(text, kind="comment"))
    assert [(c["citations"][0]["line"], c["citations"][0]["quote"]) for c in found] == [
        (1, "The kettle boils water."),
        (3, "Steel is used for the water\n    # of a kettle."),
    ]


async def test_what_stands_together_is_read_together_and_the_best_first() -> None:
    first = passage("Water is wet in every kettle. Filler stands here in between. A kettle boils water fast.", "a.md")
    best = passage("Why does a kettle boil water? The reason why the kettle boils the water is heat.", "b.md")
    found = await claims("What is the reason why a kettle boils water", first, best)
    assert found[0]["citations"][0]["path"] == "b.md"
    order = [claim["citations"][0]["path"] for claim in found]
    assert order == sorted(order, reverse=True)


async def test_a_question_without_an_answer_gives_a_section_without_claims() -> None:
    run = await run_agent(
        analyst, {"question": "coffee?", "passages": [passage("The kettle boils water.")], "warnings": ["x: is empty"]}
    )
    assert run.output == {"question": "coffee?", "claims": [], "warnings": ["x: is empty"]}
    assert await texts("coffee?") == []


async def test_no_more_claims_than_the_limit() -> None:
    text = "\n\n".join(f"The kettle number {n} boils water." for n in range(20))
    assert len(await claims("kettle", passage(text), limit=5)) == 5
    with pytest.raises(Permanent, match="limit"):
        await claims("kettle", passage(text), limit=0)


@given(st.text(max_size=300), st.sampled_from(["prose", "comment", "table"]))
def test_every_sentence_of_any_text_is_exactly_in_it_at_its_line(text: str, kind: Any) -> None:
    lines = text.split("\n")
    for sentence in sentences_of([Passage(path="a", line=5, text=text, kind=kind)]):
        assert sentence.quote == sentence.quote.strip()
        assert "\n".join(lines[sentence.line - 5 :]).find(sentence.quote) in range(len(lines[sentence.line - 5]) + 1)
