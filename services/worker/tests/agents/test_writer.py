"""The writer: a report whose structure no source can break, and whose numbers hold."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from waybill_worker.agents.inline import code, inline
from waybill_worker.agents.writer import EXTRACTIVE, MAX_QUOTED_CHARS, NO_EVIDENCE, writer

from waybill.core.limits import MAX_OUTPUT_BYTES
from waybill.testing import run_agent

PARSER = MarkdownIt("commonmark").enable("table")
HOSTILE = [
    "# A heading of its own", "> quoted", "- item", "1. item", "| a | b |", "```fence", "~~~", "a ` tick", "<script>x",
    "<!-- open", "![](http://a/b.png)", "[a](javascript:b)", "[1]: http://a", "---", "===", "ends with \\", "*** x",
    "a <b>b</b>", "&lt;b&gt;", "`` ` ``", "[x][1] and [^1]", "\u2028# new line\u2028", "a\x00b\x07", "\t\tcode",
    "`a` ``b` c",
]  # fmt: skip


def claim(text: str, *places: tuple[str, int]) -> dict[str, Any]:
    return {"text": text, "citations": [{"path": path, "line": line, "quote": text} for path, line in places]}


async def write(*sections: dict[str, Any], goal: str = "Tell me") -> dict[str, Any]:
    output: dict[str, Any] = (await run_agent(writer, {"goal": goal, "sections": list(sections)})).output
    return output


def section(question: str, *claims: dict[str, Any], warnings: list[str] | None = None) -> dict[str, Any]:
    return {"question": question, "claims": list(claims), "warnings": warnings or []}


async def test_the_same_sentence_at_the_same_place_keeps_its_number() -> None:
    output = await write(
        section("One?", claim("Water boils.", ("a.md", 1), ("b.md", 2))),
        section("Two?", claim("Ice melts.", ("a.md", 1)), claim("Water boils.", ("b.md", 2))),
    )
    assert "- Water boils. [1][2]\n" in output["report"]
    assert "- Ice melts. [3]\n- Water boils. [2]\n" in output["report"]
    assert [(s["n"], s["path"], s["line"], s["quote"]) for s in output["sources"]] == [
        (1, "a.md", 1, "Water boils."),
        (2, "b.md", 2, "Water boils."),
        (3, "a.md", 1, "Ice melts."),
    ]


async def test_the_report_says_that_it_is_extractive_and_where_nothing_was_found() -> None:
    output = await write(section("One?"))
    assert EXTRACTIVE in output["report"]
    assert f"## One?\n\n{NO_EVIDENCE}\n" in output["report"]
    assert "## Sources" not in output["report"]


async def test_a_goal_that_is_the_only_question_is_not_said_twice() -> None:
    report = (await write(section("What boils"), goal="What boils?"))["report"]
    assert report.startswith("# What boils?\n")
    assert "## Answer\n" in report


async def test_warnings_are_listed_once() -> None:
    output = await write(
        section("One?", warnings=["x: is empty", "y: is lost"]), section("Two?", warnings=["x: is empty"])
    )
    assert output["warnings"] == ["x: is empty", "y: is lost"]
    assert output["report"].endswith("## Warnings\n\n- x: is empty\n- y: is lost\n")


@pytest.mark.parametrize("text", HOSTILE)
async def test_no_text_breaks_the_structure_of_the_report(text: str) -> None:
    output = await write(
        section(text, claim(text, (text, 1)), claim("Water boils.", ("a.md", 1)), warnings=[text]), goal=text
    )
    plain = await write(section("Q", claim("A", ("p", 1)), claim("B", ("a.md", 1)), warnings=["w"]), goal="Q")
    harmless = [t for t in PARSER.parse(output["report"]) if t.nesting]
    assert [t.type for t in harmless] == [t.type for t in PARSER.parse(plain["report"]) if t.nesting]
    inner = [child.type for token in PARSER.parse(output["report"]) for child in token.children or []]
    assert not {"html_inline", "image", "link_open"} & set(inner)


@given(st.text(min_size=1) | st.sampled_from(HOSTILE), st.text(max_size=5))
def test_inline_text_stays_findable_and_one_block(text: str, before: str) -> None:
    shown = inline(text)
    assert "\n" not in shown
    visible = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    assert visible in shown
    tokens = PARSER.parse(f"- {shown} [1]")
    assert [token.type for token in tokens][:3] == ["bullet_list_open", "list_item_open", "paragraph_open"]
    assert len(tokens) == 7
    span = PARSER.parse(f"- {code(text)}")[3].children or []
    assert [child.type for child in span] == ["code_inline"]


async def test_a_report_stays_below_the_cap_and_says_what_it_left_out() -> None:
    huge = [
        section(f"Q{n}?", *(claim(f"{n} {m} " + "\u6c34" * 1_400, ("a.md", n + 1)) for m in range(10)))
        for n in range(50)
    ]
    run = await run_agent(writer, {"goal": "All", "sections": huge})
    assert len(writer.dump_output(run.value)) < MAX_OUTPUT_BYTES
    left_out = re.fullmatch(rf"(\d+) claims were left out.*{MAX_QUOTED_CHARS:,} characters", run.output["warnings"][0])
    assert left_out is not None
    assert len(run.output["sources"]) + int(left_out.group(1)) == 500
