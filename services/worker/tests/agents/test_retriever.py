"""The retriever: the right passages first, nothing that is not allowed, one index for many questions."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from waybill_worker.agents.passage_index import PassageIndex
from waybill_worker.agents.retriever import retriever
from waybill_worker.sources.corpus import Corpus

from waybill.core.task import Document
from waybill.errors import Permanent, SourceRefused
from waybill.testing import MemoryContext, run_agent

GUIDE = Document(
    "guide.md",
    "text/markdown",
    b"# Guide\n\n## Boiling\n\nFill the kettle and switch it on.\n\n## Cleaning\n\nVinegar removes chalk from steel.\n",
)


async def test_the_passage_that_answers_comes_first_with_its_place() -> None:
    run = await run_agent(retriever, {"question": "How do I remove chalk?"}, documents=[GUIDE])
    assert run.output["passages"][0] == {
        "path": "guide.md",
        "line": 9,
        "text": "Vinegar removes chalk from steel.",
        "kind": "prose",
        "heading": "Guide > Cleaning",
        "score": run.output["passages"][0]["score"],
    }
    assert run.output["source_count"] == 1
    assert run.progress[-1].fraction == 1.0


async def test_headings_help_to_find_what_stands_under_them() -> None:
    run = await run_agent(retriever, {"question": "boiling"}, documents=[GUIDE])
    assert [passage["line"] for passage in run.output["passages"]] == [5]


async def test_inflected_words_and_parts_of_names_are_found() -> None:
    text = Document("a.md", "", b"The call SubmitTask answers.\n\n## Other\n\nThe dispatcher batches steps.\n")
    for question, line in {"submitting tasks": 1, "batch_step": 5, "batching": 5}.items():
        run = await run_agent(retriever, {"question": question}, documents=[text])
        assert run.output["passages"][0]["line"] == line


async def test_no_more_passages_than_the_limit() -> None:
    text = "\n\n".join(f"## Part {n}\n\nThe kettle of part {n} boils." for n in range(30)).encode()
    for limit in (1, 7):
        run = await run_agent(retriever, {"question": "kettle", "limit": limit}, documents=[Document("a.md", "", text)])
        assert len(run.output["passages"]) == limit


@pytest.mark.parametrize("question", ["coffee", "?!", ""])
async def test_a_question_without_an_answer_gives_no_passages(question: str) -> None:
    assert (await run_agent(retriever, {"question": question}, documents=[GUIDE])).output["passages"] == []


async def test_sources_without_a_word_give_no_passages() -> None:
    run = await run_agent(retriever, {"question": "kettle"}, documents=[Document("a.md", "", b"--- ... ---")])
    assert run.output["passages"] == []


async def test_given_a_path_that_is_refused_when_other_sources_count_then_it_is_a_warning(tmp_path: Path) -> None:
    run = await run_agent(retriever, {"question": "kettle", "paths": [str(tmp_path)]}, documents=[GUIDE])
    assert run.output["passages"]
    assert str(tmp_path) in run.output["warnings"][0]


async def test_given_no_usable_source_then_the_step_fails_for_good(tmp_path: Path) -> None:
    with pytest.raises(SourceRefused, match="not below a folder") as caught:
        await run_agent(retriever, {"question": "kettle", "paths": [str(tmp_path)]})
    assert isinstance(caught.value, Permanent)


@pytest.mark.parametrize("limit", [0, 101, "x"])
async def test_a_limit_out_of_range_is_refused_by_name(limit: object) -> None:
    with pytest.raises(Permanent, match="limit"):
        await run_agent(retriever, {"question": "kettle", "limit": limit}, documents=[GUIDE])


async def test_given_questions_at_once_when_the_sources_are_the_same_then_they_are_indexed_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    built: list[int] = []
    build = PassageIndex.of

    def count(corpus: Corpus) -> PassageIndex:
        built.append(1)
        return build(corpus)

    monkeypatch.setattr(PassageIndex, "of", count)
    document = Document("only-here.md", "", b"A text that no other test reads.\n")
    await asyncio.gather(*(run_agent(retriever, {"question": f"text {n}"}, documents=[document]) for n in range(8)))
    assert len(built) == 1


async def test_given_a_changed_file_when_asked_again_then_it_is_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WAYBILL_WORKER_SOURCE_ROOTS", str(tmp_path))
    for text in ("The first kettle.", "The second kettle."):
        (tmp_path / "a.md").write_text(text)
        run = await run_agent(retriever, {"question": "kettle", "paths": [str(tmp_path)]})
        assert [passage["text"] for passage in run.output["passages"]] == [text]


async def test_a_cancelled_attempt_leaves_no_half_index_behind() -> None:
    context = MemoryContext(sent=[Document("cancelled.md", "", b"The kettle boils.\n")])
    context.cancel()
    assert (await run_agent(retriever, {"question": "kettle"}, context=context)).output["passages"] == []
    again = MemoryContext(sent=context.sent)
    assert (await run_agent(retriever, {"question": "kettle"}, context=again)).output["passages"]
