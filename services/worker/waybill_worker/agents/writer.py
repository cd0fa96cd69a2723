"""The agent `writer`: the Markdown report that joins the sections, with numbered citations and the list of sources."""

from __future__ import annotations

import asyncio

from waybill import Context, agent
from waybill_worker.agents.evidence import Claim, NumberedSource, Report, Section
from waybill_worker.agents.inline import code, inline

MAX_QUOTED_CHARS = 256 * 1024
"""Most characters of quotes in one report, which keeps it far below the cap on a step's output."""

EXTRACTIVE = "This report is extractive: its sentences are quoted from the sources, and no model was used."
NO_EVIDENCE = "The sources say nothing about this question."
_MAX_TITLE_CHARS = 300


@agent
async def writer(ctx: Context, goal: str, sections: list[Section]) -> Report:
    """Join the sections into one Markdown report: a section a question, cited claims, sources and warnings."""
    report = await asyncio.to_thread(_write, goal, sections)
    ctx.progress(f"{len(sections)} sections, {len(report.sources)} sources", 1.0)
    return report


def _write(goal: str, sections: list[Section]) -> Report:
    numbering = _Numbering()
    warnings = list(dict.fromkeys(warning for section in sections for warning in section.warnings))
    lines = [f"# {_title(goal)}", "", f"_{EXTRACTIVE}_", ""]
    left_out = 0
    for section in sections:
        lines += [f"## {'Answer' if _same(section.question, goal) else _title(section.question)}", ""]
        written = [numbering.cite(claim) for claim in section.claims]
        left_out += written.count("")
        lines += [f"- {line}" for line in written if line] or [NO_EVIDENCE]
        lines.append("")
    if left_out:
        warnings.append(f"{left_out:,} claims were left out: a report quotes at most {MAX_QUOTED_CHARS:,} characters")
    if numbering.sources:
        lines += ["## Sources", ""]
        lines += [f"- [{s.n}] {code(f'{s.path}:{s.line}')} \u2014 {inline(s.quote)}" for s in numbering.sources]
        lines.append("")
    if warnings:
        lines += ["## Warnings", "", *(f"- {inline(warning)}" for warning in warnings), ""]
    return Report(report="\n".join(lines), sources=numbering.sources, warnings=warnings)


class _Numbering:
    """Numbers the sources as they are cited first: one number for one sentence at one place."""

    def __init__(self) -> None:
        self.sources: list[NumberedSource] = []
        self._numbers: dict[tuple[str, int, str], int] = {}
        self._quoted_chars = 0

    def cite(self, claim: Claim) -> str:
        """The claim with its numbers; empty if the report has no room for its quotes."""
        quoted = len(claim.text) + sum(len(citation.quote) + len(citation.path) for citation in claim.citations)
        if self._quoted_chars + quoted > MAX_QUOTED_CHARS:
            return ""
        self._quoted_chars += quoted
        numbers: list[int] = []
        for citation in claim.citations:
            key = (citation.path, citation.line, " ".join(citation.quote.split()))
            if key not in self._numbers:
                self._numbers[key] = len(self.sources) + 1
                self.sources.append(NumberedSource(n=self._numbers[key], **citation.model_dump()))
            numbers.append(self._numbers[key])
        cited = "".join(f"[{number}]" for number in dict.fromkeys(numbers))
        return f"{inline(claim.text)} {cited}"


def _title(text: str) -> str:
    shown = " ".join(text.split())
    return inline(shown if len(shown) <= _MAX_TITLE_CHARS else f"{shown[:_MAX_TITLE_CHARS]}...") or "Report"


def _same(question: str, goal: str) -> bool:
    return question.strip(" ?.!").casefold() == goal.strip(" ?.!").casefold()
