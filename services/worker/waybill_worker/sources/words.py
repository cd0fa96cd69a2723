"""Words as they are compared: case folded, stemmed, identifiers taken apart, words without meaning dropped."""

from __future__ import annotations

import re
import threading
from functools import cache, lru_cache
from typing import Any

_WORD = re.compile(r"\w+")
_PART = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+|[^\W\d_a-zA-Z]+")
_UNSPACED = re.compile("[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]")

_STOP_TEXT = """
a about after all also am an and any are as at be because been before being between both but by can could did do does
doing each for from further had has have having he her here hers him his how i if in into is it its itself just me more
most my no nor of off on once one only or other our out over per same shall she should so some such than that the
their them then there these they this those through to too under until up upon us use used using very via was we were
what when where whether which while who whom whose why will with within would you your s t d ll m re ve don doesn isn
tell explain describe please give not show happen happens happened mean means meant many much long work works
handle handles handled get gets got need needs needed make makes made
"""
STOP_WORDS = frozenset(_STOP_TEXT.split())
"""English words, and those that questions are made of, which say nothing about the subject."""

_IRREGULAR_TEXT = """
die dead death deaths dying/break broke broken/build built/choose chose chosen/fail failure failures/find found
hold held/keep kept/lose lost loss losses/run ran/send sent/stand stood/start started/take took taken
write wrote written/begin began begun/know knew known/lead led/read reader readers/retry retries retried
"""
_IRREGULAR = {
    word: family[0]
    for family in (line.split() for line in re.split(r"[/\n]", _IRREGULAR_TEXT.strip()))
    for word in family
}
"""Forms that no stemmer brings together, each with the word that stands for its family."""

_MAX_WORD_CHARS = 64
"""What is longer is no word, and is compared by its beginning."""

_lock = threading.Lock()


def words_of(text: str) -> list[str]:
    """The stems of the words of a text that mean something, in order; the parts of an identifier follow the whole."""
    return [_stem(word) for word in _split(text) if word not in STOP_WORDS]


def question_words(question: str) -> list[str]:
    """The stems that a question asks for, each once. A question of stop words alone asks for all of them."""
    return list(dict.fromkeys(words_of(question) or [_stem(word) for word in _split(question)]))


def _split(text: str) -> list[str]:
    found: list[str] = []
    for word in _WORD.findall(text):
        word = word[:_MAX_WORD_CHARS]
        if _UNSPACED.search(word):
            # Scripts without spaces are compared by pairs of characters.
            found += [word[at : at + 2] for at in range(max(1, len(word) - 1))]
            continue
        found.append(word.casefold().strip("_"))
        parts = _parts(word)
        if len(parts) > 1:
            found += parts
    return [word for word in found if word]


@lru_cache(maxsize=65_536)
def _parts(word: str) -> tuple[str, ...]:
    return tuple(part.casefold() for part in _PART.findall(word))


@cache
def _stemmer() -> Any:
    import snowballstemmer

    return snowballstemmer.stemmer("english")


@lru_cache(maxsize=65_536)
def _stem(word: str) -> str:
    # A stemmer keeps the word it works on in itself, so it serves one thread at a time.
    with _lock:
        return str(_stemmer().stemWord(_IRREGULAR.get(word, word)))
