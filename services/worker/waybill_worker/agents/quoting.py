"""Whether a quote stands in a passage, and where: white space aside, letter by letter."""

from __future__ import annotations

import re

from waybill_worker.agents.evidence import Citation, Passage

MIN_QUOTE_BYTES = 12
"""What is shorter stands almost anywhere, and supports nothing."""
_WORD = re.compile(r"\S+")


def find(passage: Passage, quote: str) -> Citation | None:
    """The place of a quote, exactly as it stands in the passage; None if it does not, or is too short to be one."""
    folded = " ".join(quote.split())
    if len(folded.encode("utf-8", "replace")) < MIN_QUOTE_BYTES:
        return None
    words = list(_WORD.finditer(passage.text))
    at = " ".join(word.group() for word in words).find(folded)
    if at < 0:
        return None
    start, end = _unfolded(words, at), _unfolded(words, at + len(folded) - 1) + 1
    line = passage.line + passage.text.count("\n", 0, start)
    quote = passage.text[start:end]
    return Citation(path=passage.path, line=line, page=passage.page, cell=passage.cell, quote=quote)


def _unfolded(words: list[re.Match[str]], at: int) -> int:
    """Where a letter of the folded text stands in the text itself."""
    for word in words:
        length = word.end() - word.start()
        if at < length:
            return word.start() + at
        at -= length + 1
    raise IndexError(at)
