"""The agents by themselves: no server, no store."""

from __future__ import annotations

from wordcount import add_up, count_words

from waybill.testing import run_agent


async def test_words_are_counted() -> None:
    ran = await run_agent(count_words, {"text": "a b a"})
    assert ran.output == {"total": 3, "top": {"a": 2, "b": 1}}


async def test_counts_are_added_up_with_progress() -> None:
    counts = [{"total": 3, "top": {"a": 2}}, {"total": 1, "top": {"a": 1}}]
    ran = await run_agent(add_up, {"counts": counts})
    assert ran.output == {"total": 4, "top": {"a": 3}}
    assert [told.message for told in ran.progress] == ["1 of 2 texts", "2 of 2 texts"]
