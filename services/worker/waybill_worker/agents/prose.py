"""The text of a report's sections as a model writes it: sentence by sentence, each with the sources that it may cite.

The model sees claims with the numbers that are already theirs. What it writes is taken apart into sentences, and put
together again by us: a number that was not offered is dropped, markup is shown and does nothing, and links are code.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from waybill import Context
from waybill_worker.agents.evidence import Claim
from waybill_worker.agents.fencing import RULE, fence
from waybill_worker.agents.inline import code, inline
from waybill_worker.agents.numbering import marks
from waybill_worker.agents.sentences import split

_RULES = f"""You write one section of a report from claims.

{RULE}

Before each claim stand the numbers of its sources in brackets. Write plain prose: sentences in paragraphs, no headings,
no lists, no links, no markup. Behind every sentence put the numbers of the claims that it is made from, in the same
brackets, as in: Water boils at 100 degrees. [1][3] Use no other numbers, and say nothing that no claim says."""

_CITED = re.compile(r"\s*\[\s*(\d+(?:\s*[,;]\s*\d+)*)\s*\]")
_LEADING = re.compile(rf"(?:{_CITED.pattern})+\s*")
_MARKER_FORM = r"\s*(?:#{1,6}|>|[-*+\u2022]|\d+[.)])\s+"
_MARKER = re.compile(rf"\A{_MARKER_FORM}")
_PARAGRAPHS = re.compile(rf"\n\s*\n|\n(?={_MARKER_FORM})")
_HEADING = re.compile(r"^([^\S\n]*#{1,6}[^\S\n].*)$", re.MULTILINE)
_UNSPACED_END = re.compile("([\u3002\uff01\uff1f])(?=\\S)")
"""Scripts without spaces end sentences so, and the splitter wants to see one."""
_LINKS = re.compile(r"\w+://|\]\s*\(|www\.", re.IGNORECASE)
_LETTER = re.compile(r"\w")


@dataclass(frozen=True, slots=True)
class NumberedSection:
    """A question and its claims, each with the numbers of its sources; none where it is unsupported."""

    question: str
    claims: Sequence[tuple[Claim, list[int]]]
    model: str = ""
    """The model that wrote the claims, if one did."""


@dataclass(frozen=True, slots=True)
class Prose:
    """What a model wrote: paragraphs of sentences, as Markdown, each cited or marked."""

    paragraphs: list[list[str]]
    model: str


async def write_sections(ctx: Context, goal: str, sections: Sequence[NumberedSection]) -> dict[int, Prose]:
    """The text of every section that has sources and that the model wrote something for, by its position.

    Watchers get the text as it comes. Raises what `Context.chat` raises.
    """
    written: dict[int, Prose] = {}
    for at, section in enumerate(sections):
        supported = [(claim, numbers) for claim, numbers in section.claims if numbers]
        if not supported:
            continue
        ctx.progress(f"writing section {at + 1} of {len(sections)}", at / len(sections))
        prompt = _prompt(goal, section.question, supported, ctx.idempotency_key)
        reply = await ctx.chat(prompt, system=_RULES, stream=True)
        ctx.text("\n\n")
        offered = {number for _, numbers in supported for number in numbers}
        paragraphs = await asyncio.to_thread(paragraphs_of, reply.text, offered)
        if paragraphs:
            written[at] = Prose(paragraphs, reply.model)
    return written


def paragraphs_of(text: str, offered: set[int]) -> list[list[str]]:
    """The sentences of what a model wrote, as Markdown that is nothing but text, each cited or marked."""
    apart = _HEADING.sub(r"\n\1\n\n", text)
    paragraphs = (_parted(paragraph) for paragraph in _PARAGRAPHS.split(apart))
    written = [[_sentence(words, numbers, offered) for words, numbers in sentences] for sentences in paragraphs]
    return [sentences for sentences in written if sentences]


def _sentence(words: str, numbers: Sequence[int], offered: set[int]) -> str:
    kept = [number for number in dict.fromkeys(numbers) if number in offered]
    # A link may carry what was read to where it leads.
    shown = code(words) if _LINKS.search(words) else inline(words)
    return f"{shown} {marks(kept)}"


def _prompt(goal: str, question: str, claims: Sequence[tuple[Claim, list[int]]], seed: str) -> str:
    lines = [f"{marks(numbers)} {' '.join(claim.text.split())}" for claim, numbers in claims]
    parts = [fence("goal", goal, seed), fence("question", question, seed), fence("claims", "\n".join(lines), seed)]
    return "\n\n".join([*parts, "Write the section that answers the question from these claims."])


def _parted(paragraph: str) -> Iterator[tuple[str, list[int]]]:
    """The sentences of a paragraph without their numbers, and the numbers, which may stand behind the full stop."""
    text = _UNSPACED_END.sub(r"\1 ", " ".join(_MARKER.sub("", paragraph).split()))
    waiting: tuple[str, list[int]] | None = None
    for start, end in split(text, 0, len(text)):
        piece = text[start:end]
        leading = _LEADING.match(piece)
        if leading and waiting is not None:
            waiting[1].extend(_numbers(leading.group()))
            piece = piece[leading.end() :]
        words = " ".join(_CITED.sub("", piece).split())
        if not _LETTER.search(words):
            if waiting is not None:
                waiting[1].extend(_numbers(piece))
            continue
        if waiting is not None:
            yield waiting
        waiting = words, _numbers(piece)
    if waiting is not None:
        yield waiting


def _numbers(text: str) -> list[int]:
    return [int(number[:9]) for found in _CITED.finditer(text) for number in re.findall(r"\d+", found[1])]
