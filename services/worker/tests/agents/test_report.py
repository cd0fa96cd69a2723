"""The three agents together: whatever the sources are, every cited sentence stands where its citation points."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from waybill_worker.agents.analyst import analyst
from waybill_worker.agents.inline import inline
from waybill_worker.agents.retriever import retriever
from waybill_worker.agents.writer import EXTRACTIVE, writer
from waybill_worker.sources.pdf import NO_TEXT
from worker_files import markdown_cell, notebook, text_pdf

from waybill.core.task import Document
from waybill.testing import run_agent

REPOSITORY = Path(__file__).parents[4]


async def answer(
    questions: Sequence[str], documents: Sequence[Document] = (), paths: Sequence[str] = ()
) -> dict[str, Any]:
    """The writer's output for the questions, by way of the other two."""
    sections = []
    for question in questions:
        found = await run_agent(retriever, {"question": question, "paths": list(paths)}, documents=documents)
        inputs = {"question": question, "passages": found.output["passages"], "warnings": found.output["warnings"]}
        sections.append((await run_agent(analyst, inputs)).output)
    output: dict[str, Any] = (await run_agent(writer, {"goal": "A goal", "sections": sections})).output
    return output


def folded(text: str) -> str:
    return " ".join(text.split())


def assert_cited_truly(output: Mapping[str, Any], texts: Mapping[str, str]) -> None:
    """Every source stands on its line, every claim is its quote, and every number has its source."""
    sources = {source["n"]: source for source in output["sources"]}
    assert list(sources) == list(range(1, len(sources) + 1))
    for source in sources.values():
        lines = re.split("\r\n|\r|\n", texts[source["path"]].removeprefix("\ufeff"))
        quote = folded(source["quote"])
        place = folded("\n".join(lines[source["line"] - 1 :]))
        assert quote in place
        # It begins on that very line, not on a later one.
        assert place.index(quote) < max(1, len(folded(lines[source["line"] - 1])))
    cited = [line for line in output["report"].split("\n") if re.fullmatch(r"- .* (?:\[\d+\])+", line)]
    for line in cited:
        text, numbers = re.fullmatch(r"- (.*?) ((?:\[\d+\])+)", line).groups()  # type: ignore[union-attr]
        assert text in [inline(sources[int(n)]["quote"]) for n in re.findall(r"\d+", numbers)]
    assert {int(n) for line in cited for n in re.findall(r"\d+", line.rpartition(" ")[2])} == set(sources)


SENTENCES = [
    "A kettle is a vessel that boils water.",
    "The kettle boils in about 3 minutes, e.g. for tea.",
    "It whistles when it is done!",
    "Does the kettle whistle when the water boils?",
    "Kettles (see https://a.example/x?y=1.) are made\nof steel or of copper.",
    "**Warning.** Never fill the kettle beyond the `max` mark.",
    "# Not a heading of kettles but a sentence about water.",
    "Use <b>kettle</b> | pipes | and `one backtick in boiling water.",
    "The kettle weighs 3 kg.  The kettle weighs 4 kg.",
    "Une bouilloire fait bouillir de l\u2019eau [1] dans le kettle.",
    "import kettle; kettle.boil(water)",
]
LAYOUTS = [
    "{}\n\n",
    "- {}\n",
    "> {}\n",
    "{} ",
    "{}\r\n",
    "## {}\n\n",
    "    {}\n",
    "| {} | water |\n",
    "# {}\n",
    "```\n{}\n```\n",
]
texts = st.lists(st.builds(str.format, st.sampled_from(LAYOUTS), st.sampled_from(SENTENCES) | st.text(max_size=60)))
names = st.sampled_from(["a.md", "b.txt", "c.py", "d.go", "e.yaml"])


@given(st.dictionaries(names, texts.map("".join), min_size=1, max_size=3))
@settings(max_examples=60, deadline=None)
def test_every_cited_sentence_stands_where_its_citation_points(sources: dict[str, str]) -> None:
    sources["tea.md"] = "Tea needs a kettle with hot water.\n"
    documents = [Document(name, "", text.encode()) for name, text in sources.items()]
    output = asyncio.run(answer(["What is a kettle?", "How long does water boil?"], documents))
    assert_cited_truly(output, sources)


async def test_every_sentence_cited_from_real_files_stands_there(monkeypatch: pytest.MonkeyPatch) -> None:
    paths = [str(REPOSITORY / name) for name in ("README.md", "LICENSE", "protos", "src/waybill", "docs")]
    monkeypatch.setenv("WAYBILL_WORKER_SOURCE_ROOTS", ",".join(paths))
    questions = ["What is a task?", "How is a lost reply handled?", "What does the licence grant?", "What is an agent?"]
    output = await answer(questions, paths=paths)
    assert len(output["sources"]) >= 8
    cited = {source["path"] for source in output["sources"]}
    assert_cited_truly(output, {path: Path(path).read_bytes().decode() for path in cited})


async def test_the_same_sources_give_the_same_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WAYBILL_WORKER_SOURCE_ROOTS", str(tmp_path))
    for number in range(5):
        (tmp_path / f"{number}.md").write_text("A kettle is a vessel. Water boils in a kettle.\n\n" * (number + 1))
    first = await answer(["What is a kettle?"], paths=[str(tmp_path)])
    assert first == await answer(["What is a kettle?"], paths=[str(tmp_path)])


async def test_a_report_reads_as_one_would_write_it() -> None:
    documents = [
        Document("kettle.md", "text/markdown", b"# Kettles\n\nA kettle is a vessel that boils water. It whistles.\n"),
        Document("tea.md", "text/markdown", b"Tea is made of leaves.\n\nA *kettle* is a vessel that boils water.\n"),
        Document("photo.png", "image/png", b"\x89PNG"),
    ]
    output = await answer(["What is a kettle?", "What is coffee?"], documents)
    assert output["report"] == "\n".join(
        [
            "# A goal",
            "",
            f"_{EXTRACTIVE}_",
            "",
            "## What is a kettle?",
            "",
            "- A kettle is a vessel that boils water. [1][2]",
            "",
            "## What is coffee?",
            "",
            "The sources say nothing about this question.",
            "",
            "## Sources",
            "",
            "- [1] `kettle.md:3` \u2014 A kettle is a vessel that boils water.",
            "- [2] `tea.md:3` \u2014 A *kettle* is a vessel that boils water.",
            "",
            "## Warnings",
            "",
            "- photo.png: has the media type image/png, which is not read; send text",
            "",
        ]
    )


async def test_pages_and_cells_are_cited_where_a_reader_looks_them_up() -> None:
    said = "A kettle is a vessel that boils water."
    documents = [
        Document("paper.pdf", "application/pdf", text_pdf("Nothing here.", f"{said}\nTea.")),
        Document("notes.ipynb", "", notebook(markdown_cell("# Kettles"), markdown_cell(f"Tea.\n\n{said}"))),
        Document("page.html", "text/html", f"<html>\n<p>Tea.</p>\n<p>{said}</p></html>".encode()),
        Document("scan.pdf", "application/pdf", text_pdf("")),
    ]
    output = await answer(["What is a kettle?"], documents)
    places = [
        line.partition("] ")[2].partition(" \u2014")[0] for line in output["report"].split("\n") if "\u2014" in line
    ]
    assert sorted(places) == ["`notes.ipynb, cell 2`", "`page.html:3`", "`paper.pdf, p. 2`"]
    by_path = {source["path"]: source for source in output["sources"]}
    assert (by_path["paper.pdf"]["page"], by_path["paper.pdf"]["line"]) == (2, 1)
    assert (by_path["notes.ipynb"]["cell"], by_path["notes.ipynb"]["line"]) == (2, 3)
    assert not {"page", "cell"} & set(by_path["page.html"])
    assert output["warnings"] == [f"scan.pdf: {NO_TEXT}"]
