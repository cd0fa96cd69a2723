"""The sentences of passages, each exactly as it stands in its source and with the line where it begins."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from waybill_worker.agents.evidence import Passage
from waybill_worker.sources.excerpts import BREAK

if TYPE_CHECKING:
    from pysbd import Segmenter

MIN_SENTENCE_WORDS = 4
MAX_SENTENCE_CHARS = 600
_MIN_UNENDED_WORDS = 6
_MIN_LETTERS_SHARE = 0.6

_MARKER = re.compile(
    r"[^\S\n]*(?:>[^\S\n]*)*(?:(?:[-*+\u2022]|\(?\w[.)])[^\S\n]+(?:\[[ xX]\][^\S\n]+)?|\d+[.)][^\S\n]+)?"
)
_COMMENT_MARKER = re.compile(r"[^\S\n]*(?:>|#+[!:]?|//+!?|/\*+!?|\*+(?!\w)|--+(?:\[\[)?|;+)*[^\S\n]*(?:[-*+][^\S\n]+)?")
_LIST_ITEM = re.compile(r"[^\S\n]*(?:[-*+\u2022]|\d+[.)])[^\S\n]+\S")
_NO_PROSE = re.compile(r"[^\S\n]*(?:\||#{1,6}[^\S\n]|[=\-~`^*_+#\s]*\Z|>>>|\.\.\.|:\w[^:]*:|@\w|\.\. )")
_FENCE = re.compile(r"[^\S\n]*(?:```|~~~)")
_FIELD = re.compile(r"(?:Args|Arguments|Returns|Raises|Yields|Parameters|Examples?|See also|TODO|FIXME)\b:", re.I)
_ENDED = re.compile(r"[.!?\u3002\uff01\uff1f\u2026][\"'\u201d\u2019)\]*_`]*\Z")
_WORD = re.compile(r"[^\W\d_]{2,}")
_URL = re.compile(r"\w+://\S+")
_CODE_SPAN = re.compile(r"(`+)[^`]+\1")
_LINE = re.compile(f"[^\n{BREAK}]+")
_ROW = re.compile(f"[^\n{BREAK}]*[^\\s{BREAK}][^\n{BREAK}]*")
_CELL = re.compile(r"[^|\s](?:[^|]*[^|\s])?")


@dataclass(frozen=True, slots=True)
class Sentence:
    """A sentence of a passage.

    `position` numbers the passages, `unit` the paragraphs and items of a passage, and `number` the sentences of a
    unit, each from 0. `row` marks a table row, read as a term and its meaning.
    """

    passage: Passage
    position: int
    unit: int
    number: int
    line: int
    quote: str
    row: bool = False

    @property
    def opens(self) -> bool:
        """Whether it is the first of its passage."""
        return self.unit == 0 and self.number == 0

    @property
    def text(self) -> str:
        """The quote with white space folded."""
        return " ".join(self.quote.split())


def sentences_of(passages: list[Passage]) -> Iterator[Sentence]:
    """All sentences worth quoting, in the order of the passages."""
    for position, passage in enumerate(passages):
        if passage.kind == "table":
            yield from _rows(passage, position)
        elif passage.kind != "code":
            yield from _prose(passage, position)


def _prose(passage: Passage, position: int) -> Iterator[Sentence]:
    text = passage.text
    for unit, (start, end) in enumerate(_units(text, passage.kind == "comment")):
        for number, (first, last) in enumerate(split(text, start, end)):
            quote = text[first:last]
            if _is_worth_quoting(" ".join(quote.split())):
                line = passage.line + text.count("\n", 0, first)
                yield Sentence(passage, position, unit, number, line, quote)


def _rows(passage: Passage, position: int) -> Iterator[Sentence]:
    for unit, match in enumerate(_ROW.finditer(passage.text)):
        cells = list(_CELL.finditer(match.group()))
        if len(cells) < 2 or not match.group().lstrip().startswith("|"):
            continue
        quote = match.group()[cells[0].start() : cells[-1].end()]
        if len(quote) <= MAX_SENTENCE_CHARS and len(_WORD.findall(quote)) >= MIN_SENTENCE_WORDS:
            line = passage.line + passage.text.count("\n", 0, match.start())
            yield Sentence(passage, position, unit, 0, line, quote, row=True)


def _units(text: str, commented: bool) -> Iterator[tuple[int, int]]:
    """Paragraphs and list items, without their markers. What is no prose, such as a heading, only separates them."""
    marker = _COMMENT_MARKER if commented else _MARKER
    start = end = -1
    indent = 0
    fenced = False
    for match in _LINE.finditer(text):
        line = match.group()
        body = match.start() + _end_of(marker, line)
        if not commented and _FENCE.match(line):
            fenced = not fenced
        separates = not text[body : match.end()].strip() or text[match.start() - 2 : match.start()].isspace()
        noise = fenced or (not commented and _NO_PROSE.match(line)) or _NO_PROSE.match(text[body : match.end()])
        opened = start >= 0 and text[start:end].endswith(":") and _indent(line) > indent
        if start >= 0 and (separates or noise or opened or _LIST_ITEM.match(line)):
            yield start, end
            start = -1
        if noise or not text[body : match.end()].strip():
            continue
        start = body if start < 0 else start
        end, indent = match.end(), _indent(line)
    if start >= 0:
        yield start, end


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())


def _end_of(pattern: re.Pattern[str], line: str) -> int:
    match = pattern.match(line)
    return match.end() if match else 0


def _segmenter() -> Segmenter:
    """A new segmenter: it keeps the text it works on in itself, so threads must not share one."""
    from pysbd import Segmenter

    return Segmenter(language="en", clean=False, char_span=True)


def split(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    """Where the sentences of a unit begin and end in the text."""
    # A line end says nothing about sentences here, so the segmenter sees a blank in its place.
    unit = text[start:end].replace("\n", " ").replace(BREAK, " ")
    bounds = [span.start for span in _segmenter().segment(unit)]
    first = 0
    for bound in [*bounds, len(unit)]:
        if bound < len(unit) and not _ends_sentence(unit, first, bound):
            continue
        piece = unit[first:bound]
        if piece.strip():
            yield start + first + len(piece) - len(piece.lstrip()), start + first + len(piece.rstrip())
        first = bound


def _ends_sentence(unit: str, first: int, bound: int) -> bool:
    """Whether a boundary holds: not inside a word, a URL or a span of code, and not before a small letter."""
    piece = unit[first:bound]
    following = unit[bound : bound + 1]
    return piece[-1:].isspace() and piece.count("`") % 2 == 0 and not following.islower()


def _is_worth_quoting(text: str) -> bool:
    if len(text) > MAX_SENTENCE_CHARS:
        return False
    words = _WORD.findall(_URL.sub("", text))
    if len(_WORD.findall(_CODE_SPAN.sub("", text))) < MIN_SENTENCE_WORDS - 1:
        return False
    if len(words) < MIN_SENTENCE_WORDS or text.endswith(":") or _FIELD.match(text):
        return False
    if not _ENDED.search(text) and len(words) < _MIN_UNENDED_WORDS:
        return False
    letters = sum(character.isalpha() for character in text)
    return letters >= _MIN_LETTERS_SHARE * len("".join(text.split()))
