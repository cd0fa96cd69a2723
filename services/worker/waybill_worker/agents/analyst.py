"""The agent `analyst`: what passages say to a question: their sentences, or a model's claims that quote them."""

from __future__ import annotations

import asyncio
from typing import Annotated

from pydantic import Field

from waybill import Context, agent
from waybill_worker.agents.evidence import Citation, Claim, Passage, Section
from waybill_worker.agents.merging import Group, merge
from waybill_worker.agents.model_claims import model_claims
from waybill_worker.agents.ranking import rank
from waybill_worker.agents.sentences import Sentence, sentences_of

MAX_CLAIMS = 50
_LEAST_SHARE_OF_BEST = 0.45


@agent(uses_model=True)
async def analyst(
    ctx: Context,
    question: str,
    passages: list[Passage],
    warnings: tuple[str, ...] = (),
    limit: Annotated[int, Field(ge=1, le=MAX_CLAIMS)] = 7,
) -> Section:
    """Choose the sentences of the passages that answer a question; near-duplicates become one claim with all sources.

    Without a model every claim is quoted, none is written. With one, the model writes claims and has to quote the
    passages; each quote is looked up, and a claim without one that stands there is kept and marked unsupported. Nothing
    that fits gives a section without claims.
    """
    if ctx.has_model and passages:
        return await _asked(ctx, question, passages, warnings, limit)
    claims = await asyncio.to_thread(_claims, question, passages, limit)
    ctx.progress(f"{len(claims)} claims from {len(passages)} passages", 1.0)
    return Section(question=question, claims=claims, warnings=list(warnings))


async def _asked(
    ctx: Context, question: str, passages: list[Passage], warnings: tuple[str, ...], limit: int
) -> Section:
    ctx.progress(f"asking the model about {len(passages)} passages")
    claims, model, shown = await model_claims(ctx, question, passages, limit)
    unsupported = sum(not claim.supported for claim in claims)
    ctx.progress(f"{len(claims)} claims from {shown} passages, {unsupported} unsupported", 1.0)
    left_out = len(passages) - shown
    more = [f"{left_out:,} passages were left out: a model is shown a limited amount of text"] if left_out else []
    return Section(question=question, claims=claims, warnings=[*warnings, *more], model=model)


def _claims(question: str, passages: list[Passage], limit: int) -> list[Claim]:
    ranked = rank(question, list(sentences_of(passages)))
    groups = merge(ranked, limit, _LEAST_SHARE_OF_BEST)
    if not groups:
        return []
    best = groups[0].best.score
    return [_claim(group, best) for group in _readable(groups)]


def _readable(groups: list[Group]) -> list[Group]:
    """The best first, and what stands together in a source together, in the order of the source."""
    together: dict[int, list[Group]] = {}
    for group in groups:
        together.setdefault(group.best.sentence.position, []).append(group)
    return [
        group
        for neighbours in together.values()
        for group in sorted(neighbours, key=lambda item: item.best.sentence.line)
    ]


def _claim(group: Group, best: float) -> Claim:
    citations = {_place(member.sentence): _citation(member.sentence) for member in reversed(group.members)}
    return Claim(
        text=group.best.sentence.text,
        citations=list(reversed(citations.values())),
        score=round(group.best.score / best, 4),
    )


def _place(sentence: Sentence) -> tuple[str, int, int, int, str]:
    passage = sentence.passage
    return passage.path, passage.page, passage.cell, sentence.line, sentence.text


def _citation(sentence: Sentence) -> Citation:
    passage = sentence.passage
    return Citation(path=passage.path, line=sentence.line, page=passage.page, cell=passage.cell, quote=sentence.quote)
