"""Words as they are compared."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st
from waybill_worker.sources.words import STOP_WORDS, question_words, words_of


@pytest.mark.parametrize(
    ("one", "other"),
    [("batching", "batches"), ("Died", "dead"), ("SubmitTask", "submit_task"), ("retries", "retry"), ("KEPT", "keep")],
)
def test_forms_of_a_word_meet(one: str, other: str) -> None:
    assert set(words_of(one)) & set(words_of(other))


def test_identifiers_are_found_whole_and_in_parts() -> None:
    assert words_of("XREADGROUP maxRetries_ms") == ["xreadgroup", "maxretries_m", "max", "retri", "ms"]


def test_scripts_without_spaces_are_compared_by_pairs() -> None:
    assert words_of("\u6c34\u58f6\u70e7\u6c34") == ["\u6c34\u58f6", "\u58f6\u70e7", "\u70e7\u6c34"]


def test_a_question_of_stop_words_alone_asks_for_them() -> None:
    assert question_words("What is it?") == ["what", "is", "it"]
    assert question_words("What is a kettle, a kettle?") == ["kettl"]


@given(st.text())
def test_no_word_is_empty_or_a_stop_word(text: str) -> None:
    assert all(words_of(text))
    assert words_of(" ".join(STOP_WORDS)) == []


def test_threads_get_the_same_stems() -> None:
    text = " ".join(f"running{n} cancellations{n} batches" for n in range(500))
    with ThreadPoolExecutor(8) as pool:
        assert len({tuple(found) for found in pool.map(words_of, [text] * 16)}) == 1
