"""Quotes: found where they stand, and only there."""

from __future__ import annotations

from hypothesis import assume, given
from hypothesis import strategies as st
from waybill_worker.agents.evidence import Passage
from waybill_worker.agents.quoting import MIN_QUOTE_BYTES, find

WORDS = st.lists(st.text(alphabet="abcé水.,[]", min_size=1, max_size=6), min_size=1, max_size=20)
SPACE = st.sampled_from([" ", "\n", "  ", "\t", " \n  ", "\u00a0"])


def passage(text: str, line: int = 1) -> Passage:
    return Passage(path="a.md", line=line, text=text)


@given(WORDS, st.data())
def test_given_words_of_a_passage_when_quoted_with_any_white_space_then_they_are_found_as_they_stand(
    words: list[str], data: st.DataObject
) -> None:
    text = "".join(word + data.draw(SPACE) for word in words)
    first = data.draw(st.integers(0, len(words) - 1))
    quoted = words[first : data.draw(st.integers(first + 1, len(words)))]

    found = find(passage(text, line=5), data.draw(SPACE).join(quoted))

    if len(" ".join(quoted).encode()) < MIN_QUOTE_BYTES:
        assert found is None
        return
    assert found is not None
    assert found.quote.split() == quoted
    assert found.quote in text
    assert "\n".join(text.split("\n")[found.line - 5 :]).find(found.quote) in range(len(text))


@given(st.text(max_size=200), st.text(max_size=60))
def test_given_any_text_when_it_does_not_stand_in_the_passage_then_it_is_not_found(text: str, quote: str) -> None:
    assume(" ".join(quote.split()) not in " ".join(text.split()))

    assert find(passage(text), quote) is None


def test_given_a_quote_that_differs_in_a_letter_or_is_a_mere_word_then_it_is_not_found() -> None:
    source = passage("The kettle boils water in 3 minutes.")

    assert find(source, "kettle boils water in 8 minutes") is None
    assert find(source, "The Kettle boils water") is None
    assert find(source, "kettle") is None
    assert find(source, "") is None
