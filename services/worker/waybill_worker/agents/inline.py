"""Untrusted text inside a Markdown report: shown letter by letter the same, unable to change the report's structure."""

from __future__ import annotations

import re

_STARTS_BLOCK = re.compile(r"#|>|[-+*](?:\s|\Z)|(?:[-*_=]\s*){3,}\Z|\d{1,9}[.)](?:\s|\Z)|\||```|~~~|\[[^\]]*\]:|:")
_ACTIVE = re.compile(r"<[A-Za-z/!?]|&[#\w]+;|!\[|\]\(\s*<?\s*(?!https?:)[A-Za-z][A-Za-z0-9+.-]*:|\\\Z|\]\[|\[\^|\|.*\|")
_TICKS = re.compile(r"`+")


def inline(text: str) -> str:
    """The text on one line, white space folded. What would act as Markdown or HTML is put into a code span."""
    folded = " ".join("".join(character if character.isprintable() else " " for character in text).split())
    if _STARTS_BLOCK.match(folded) or _ACTIVE.search(folded) or not _ticks_are_paired(folded):
        return code(folded)
    return folded


def code(text: str) -> str:
    """The text on one line as a code span, whatever backticks it holds."""
    folded = " ".join("".join(character if character.isprintable() else " " for character in text).split())
    longest = max((len(ticks) for ticks in _TICKS.findall(folded)), default=0)
    fence = "`" * (longest + 1)
    room = " " if folded.startswith("`") or folded.endswith("`") or not folded else ""
    return f"{fence}{room}{folded}{room}{fence}"


def _ticks_are_paired(text: str) -> bool:
    runs = [len(ticks) for ticks in _TICKS.findall(text)]
    return len(runs) % 2 == 0 and all(opens == closes for opens, closes in zip(runs[::2], runs[1::2], strict=True))
