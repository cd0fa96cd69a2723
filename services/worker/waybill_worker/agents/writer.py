"""The agent `writer`: the Markdown report that joins the sections, with numbered citations and the list of sources."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

from waybill import Context, agent
from waybill_worker.agents.evidence import Report, Section
from waybill_worker.agents.inline import code, inline
from waybill_worker.agents.numbering import MAX_QUOTED_CHARS, UNSUPPORTED, Numbering, cited, place
from waybill_worker.agents.prose import NumberedSection, Prose, write_sections

EXTRACTIVE = "This report is extractive: its sentences are quoted from the sources, and no model was used."
MARKED = f"and what cites none of them is marked {UNSUPPORTED}."
NO_EVIDENCE = "The sources say nothing about this question."
_MAX_TITLE_CHARS = 300


@agent(uses_model=True)
async def writer(ctx: Context, goal: str, sections: list[Section]) -> Report:
    """Join the sections into one Markdown report: a section a question, cited claims, sources and warnings.

    Without a model the claims are listed. With one, the model writes the text of each section from its claims, and
    watchers get it as it comes. The sources and their numbers are the same either way. A sentence that cites none of
    them is kept and marked unsupported.
    """
    numbering = Numbering()
    draft = await asyncio.to_thread(_number, numbering, sections)
    prose = await write_sections(ctx, goal, draft.sections) if ctx.has_model else {}
    report = await asyncio.to_thread(_join, goal, draft, prose, numbering)
    ctx.progress(f"{len(sections)} sections, {len(report.sources)} sources", 1.0)
    return report


@dataclass(frozen=True, slots=True)
class _Draft:
    """All that the report says of its sources, before anybody writes."""

    sections: list[NumberedSection]
    warnings: list[str]


def _number(numbering: Numbering, sections: list[Section]) -> _Draft:
    warnings = list(dict.fromkeys(warning for section in sections for warning in section.warnings))
    numbered: list[NumberedSection] = []
    left_out = 0
    for section in sections:
        claims = [(claim, numbering.numbers(claim)) for claim in section.claims]
        kept = [(claim, numbers) for claim, numbers in claims if numbers is not None]
        left_out += len(claims) - len(kept)
        numbered.append(NumberedSection(section.question, kept, section.model))
    if left_out:
        warnings.append(f"{left_out:,} claims were left out: a report quotes at most {MAX_QUOTED_CHARS:,} characters")
    return _Draft(numbered, warnings)


def _join(goal: str, draft: _Draft, prose: Mapping[int, Prose], numbering: Numbering) -> Report:
    lines = [f"# {_title(goal)}", "", f"_{_origin(draft, prose)}_", ""]
    for at, section in enumerate(draft.sections):
        lines += [f"## {'Answer' if _same(section.question, goal) else _title(section.question)}", ""]
        if at in prose:
            lines += [line for paragraph in prose[at].paragraphs for line in (" ".join(paragraph), "")]
            lines += [f"- {cited(claim.text, numbers)}" for claim, numbers in section.claims if not numbers]
        else:
            lines += [f"- {cited(claim.text, numbers)}" for claim, numbers in section.claims] or [NO_EVIDENCE]
        lines.append("")
    sources, warnings = numbering.sources, draft.warnings
    if sources:
        lines += ["## Sources", ""]
        lines += [f"- [{s.n}] {code(place(s))} \u2014 {inline(s.quote)}" for s in sources]
        lines.append("")
    if warnings:
        lines += ["## Warnings", "", *(f"- {inline(warning)}" for warning in warnings), ""]
    return Report(report="\n".join(lines), sources=sources, warnings=warnings)


def _origin(draft: _Draft, prose: Mapping[int, Prose]) -> str:
    """Where the text comes from."""
    models = dict.fromkeys([*(text.model for text in prose.values()), *(s.model for s in draft.sections)])
    names = [code(name) for name in models if name]
    if not names:
        return EXTRACTIVE
    return f"This report was written with a model ({', '.join(names)}); the sources are quoted, {MARKED}"


def _title(text: str) -> str:
    shown = " ".join(text.split())
    return inline(shown if len(shown) <= _MAX_TITLE_CHARS else f"{shown[:_MAX_TITLE_CHARS]}...") or "Report"


def _same(question: str, goal: str) -> bool:
    return question.strip(" ?.!").casefold() == goal.strip(" ?.!").casefold()
