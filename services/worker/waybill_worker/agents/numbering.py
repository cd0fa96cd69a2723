"""The numbers of a report's sources: computed from the claims alone, whoever writes the text around them."""

from __future__ import annotations

from waybill_worker.agents.evidence import Claim, NumberedSource
from waybill_worker.agents.inline import inline

MAX_QUOTED_CHARS = 256 * 1024
"""Most characters of quotes in one report, which keeps it far below the cap on a step's output."""
UNSUPPORTED = "**[unsupported]**"
"""Stands behind every sentence for which no source is cited."""


class Numbering:
    """Numbers the sources as they are cited first: one number for one sentence at one place."""

    def __init__(self) -> None:
        self.sources: list[NumberedSource] = []
        self._numbers: dict[tuple[str, int, int, int, str], int] = {}
        self._quoted_chars = 0

    def cite(self, claim: Claim) -> str:
        """The claim with its numbers; empty if the report has no room for its quotes."""
        numbers = self.numbers(claim)
        return "" if numbers is None else cited(claim.text, numbers)

    def numbers(self, claim: Claim) -> list[int] | None:
        """The numbers of the claim's sources; None if the report has no room for its quotes."""
        quoted = len(claim.text) + sum(len(citation.quote) + len(citation.path) for citation in claim.citations)
        if self._quoted_chars + quoted > MAX_QUOTED_CHARS:
            return None
        self._quoted_chars += quoted
        numbers: list[int] = []
        for citation in claim.citations:
            folded = " ".join(citation.quote.split())
            key = (citation.path, citation.page, citation.cell, citation.line, folded)
            if key not in self._numbers:
                self._numbers[key] = len(self.sources) + 1
                self.sources.append(NumberedSource(n=self._numbers[key], **citation.model_dump()))
            numbers.append(self._numbers[key])
        return list(dict.fromkeys(numbers))


def place(source: NumberedSource) -> str:
    """Where a source stands, as a reader looks it up: its page, its cell, or its line."""
    if source.page:
        return f"{source.path}, p. {source.page}"
    if source.cell:
        return f"{source.path}, cell {source.cell}"
    return f"{source.path}:{source.line}"


def marks(numbers: list[int]) -> str:
    """What stands behind a sentence: its numbers, or that it is unsupported."""
    return "".join(f"[{number}]" for number in numbers) or UNSUPPORTED


def cited(text: str, numbers: list[int]) -> str:
    """The text on one line with what stands behind it."""
    return f"{inline(text)} {marks(numbers)}"
