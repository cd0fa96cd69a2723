"""How well a sentence answers a question: shared words first, then what its form says about it."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from waybill_worker.agents.sentences import Sentence
from waybill_worker.sources.words import question_words, words_of

_DEFINITION = re.compile(
    r"\s*(?:what(?:'s|\u2019s| is| are| was| were)|who (?:is|are)|define|what do(?:es)?(?= .+ (?:mean|do)\b))"
    r"\s+(?:an? |the )?(?P<subject>.+?)(?:\s+(?:mean|do|for|used for))?\s*[?.!]*\s*\Z",
    re.IGNORECASE,
)
_MAX_SUBJECT_WORDS = 4
_LINKS = re.compile(
    r"\W*(?:\([^)]*\)\W*)?(?:is|are|was|were|means|refers to|describes|denotes|stands for|\u2014|:)(?:\W|\Z)", re.I
)
_ARTICLE = re.compile(r"\W*(?:an?|the|each|every)\s+", re.IGNORECASE)
_DANGLING = re.compile(
    r"\W*(?:it|its|this|that|these|those|they|their|he|she|such|so|then|and|but|or|however|therefore|otherwise|also"
    r"|hence|instead|thus|both|neither|here|there|which|because)\b",
    re.IGNORECASE,
)
_LOOKS_LIKE_CODE = re.compile(r"(?:import|from|def|class|return) [\w.]+(?: import |\(|:| \w+ = |\Z)|[\w\])] =(?:=)? ")
_LOOKS_CITED = re.compile(r"\[\d+\]")

_HEADING_SHARE = 0.4
_PASSAGE_SHARE = 0.2
_PHRASE_SHARE = 0.2
_DEFINES = 0.8
_LEADS = 0.35
_LEAST_FIT = 0.2
_MENTIONS = 0.65
_CARRIED_SHARE = 0.6
_DEFINITION_SHARE = 0.75
_LONG_WORDS = 35
_TOP_LINES = 20


@dataclass(frozen=True, slots=True)
class Ranked:
    """A sentence with its score; 0 if it shares nothing with the question."""

    sentence: Sentence
    score: float


def rank(question: str, sentences: Sequence[Sentence]) -> list[Ranked]:
    """The sentences that share a word with the question, best first, ties in the order given."""
    asked = question_words(question)
    subject = _subject_of(question)
    stems = [words_of(sentence.text) for sentence in sentences]
    weights = _weights(asked, stems)
    best_passage = max((sentence.passage.score for sentence in sentences), default=0.0) or 1.0
    scores: list[float] = []
    for sentence, found in zip(sentences, stems, strict=True):
        fit = _overlap(asked, weights, sentence, found)
        if fit:
            fit += _PASSAGE_SHARE * sentence.passage.score / best_passage
            fit = (fit + _definition(subject, sentence)) * _form(sentence, subject)
        scores.append(fit)
    _carry(subject, sentences, scores)
    ranked = [Ranked(sentence, score) for sentence, score in zip(sentences, scores, strict=True) if score > 0]
    return sorted(ranked, key=lambda item: -item.score)


def _carry(subject: Sequence[str], sentences: Sequence[Sentence], scores: list[float]) -> None:
    """Let a sentence share in the score of the one it continues, or whose definition it goes on with."""
    defining = False
    for at, (before, sentence) in enumerate(pairwise(sentences), 1):
        if (before.position, before.unit, before.number + 1) != (sentence.position, sentence.unit, sentence.number):
            defining = False
            continue
        defining = defining or _definition(subject, before) >= _DEFINES
        if defining or _DANGLING.match(sentence.text):
            share = _DEFINITION_SHARE if defining else _CARRIED_SHARE
            scores[at] = max(scores[at], share * scores[at - 1])


def _weights(asked: Sequence[str], stems: Sequence[Sequence[str]]) -> dict[str, float]:
    """What each asked word is worth: rare words more, but none of them little, since every one was asked for."""
    holding = Counter(stem for found in stems for stem in set(found))
    raw = {stem: 0.5 + math.log1p(len(stems) / (1 + holding[stem])) for stem in asked}
    total = sum(raw.values()) or 1.0
    return {stem: weight / total for stem, weight in raw.items()}


def _overlap(asked: Sequence[str], weights: dict[str, float], sentence: Sentence, found: Sequence[str]) -> float:
    counts = Counter(found)
    fit = sum(weight * min(1.0, 0.7 + 0.15 * counts[stem]) for stem, weight in weights.items() if counts[stem])
    if fit or sentence.opens:
        heading = set(words_of(sentence.passage.heading))
        fit += _HEADING_SHARE * sum(weight for stem, weight in weights.items() if stem in heading and not counts[stem])
    if fit < _LEAST_FIT:
        return 0.0
    pairs = set(pairwise(found))
    phrases = sum(pair in pairs for pair in pairwise(asked))
    fit += _PHRASE_SHARE * phrases / max(1, len(asked) - 1)
    return fit / (1 + max(0, len(found) - _LONG_WORDS) / (2 * _LONG_WORDS))


def _subject_of(question: str) -> list[str]:
    match = _DEFINITION.match(question)
    subject = words_of(match.group("subject")) if match else []
    return subject if len(subject) <= _MAX_SUBJECT_WORDS else []


def _definition(subject: Sequence[str], sentence: Sentence) -> float:
    """What a sentence earns by beginning with the subject of a "what is" question, and more by saying what it is."""
    if not subject:
        return 0.0
    text = sentence.text
    if sentence.row:
        return _DEFINES if words_of(text.partition("|")[0]) == list(subject) else 0.0
    end = _end_of_subject(subject, text)
    if end is None:
        title = re.split(r" > |\.", sentence.passage.heading)[-1]
        return _LEADS if sentence.opens and words_of(title) == list(subject) else 0.0
    # What opens a source tells what the source is about.
    first = sentence.passage.page <= 1 and sentence.passage.cell <= 1 and sentence.line <= _TOP_LINES
    opens = first and sentence.number == 0 and sentence.passage.kind == "prose"
    return _DEFINES if opens or _LINKS.match(text[end:]) else _LEADS


def _end_of_subject(subject: Sequence[str], text: str) -> int | None:
    """Where the subject ends if the text begins with it, an article aside."""
    article = _ARTICLE.match(text)
    start = article.end() if article else 0
    wanted = set(subject)
    for match in re.finditer(r"\S+", text[start:]):
        token = match.group()
        word = token.strip("*_`\"'()[],:;.\u201c\u201d")
        # A longer name, such as `subject.part`, or a command that begins with it is another thing.
        if token.count("`") % 2 or not re.fullmatch(r"[\w-]+", word) or not _all_in(subject, word):
            return None
        wanted -= set(words_of(word))
        if not wanted:
            return start + match.start() + token.index(word) + len(word)
    return None


def _all_in(subject: Sequence[str], word: str) -> bool:
    found = set(words_of(word))
    return bool(found) and found <= set(subject)


def _form(sentence: Sentence, subject: Sequence[str]) -> float:
    """A factor below 1 for what reads badly on its own."""
    text = sentence.text
    if sentence.row and not _definition(subject, sentence):
        return 0.0
    # Asked what something is, a sentence that only mentions it in passing is worth less.
    factor = 1.0 if sentence.row or not subject or _end_of_subject(subject, text) else _MENTIONS
    if text.endswith("?"):
        factor *= 0.3
    if text[0].islower() and not sentence.row:
        factor *= 0.8
    if _DANGLING.match(text):
        factor *= 0.75
    if sentence.passage.kind == "comment" and "\n" in sentence.quote:
        # The comment markers of the following lines stand in the middle of the quote.
        factor *= 0.6
    if _LOOKS_LIKE_CODE.search(text):
        factor *= 0.4
    if _LOOKS_CITED.search(text):
        factor *= 0.5
    return factor
