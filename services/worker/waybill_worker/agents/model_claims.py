"""Claims that a model writes from passages: each has to quote them, and every quote is looked up.

The model sees passages by number and can name nothing else, so it cannot change who is cited. What it claims without
a quote that stands in a passage is kept, and marked unsupported.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from pydantic import BaseModel, Field

from waybill import Context, Message, Reply
from waybill_worker.agents.evidence import Citation, Claim, Passage
from waybill_worker.agents.fencing import RULE, fence
from waybill_worker.agents.quoting import find

MAX_PROMPT_CHARS = 200_000
"""Most characters of passages that a model is shown; the first ones, which are the best, if there are more."""
MAX_CLAIM_CHARS = 2_000
MAX_PROBLEMS = 20
_FAKE_CITATION = re.compile(r"\s*\[\s*\d+(?:\s*[,;]\s*\d+)*\s*\]")

_RULES = f"""You answer a question from numbered passages, as a list of claims.

{RULE}

Each claim is one sentence that helps to answer the question and that the passages say. For each claim give the quotes
that say so: the number of the passage, and words of it, letter by letter, at most two sentences. Claim nothing that you
cannot quote. The most important claim comes first. If the passages say nothing about the question, give no claims."""


class Quoted(BaseModel):
    """Words of a passage."""

    passage: int = Field(description="number of the passage")
    quote: str = Field(description="words of that passage, exactly as they stand there")


class Found(BaseModel):
    """One claim."""

    text: str = Field(description="one sentence")
    quotes: list[Quoted]


class Answer(BaseModel):
    """What the model is asked for."""

    claims: list[Found]


async def model_claims(
    ctx: Context, question: str, passages: Sequence[Passage], limit: int
) -> tuple[list[Claim], str, int]:
    """The claims, the name of the model, and how many passages it was shown.

    An answer with quotes that do not stand where they should goes back to the model once. Raises what `Context.chat`
    raises.
    """
    shown = _shown(passages)
    prompt = _prompt(question, shown, limit, ctx.idempotency_key)
    reply = await ctx.chat(prompt, system=_RULES, output=Answer)
    if problems := _problems(reply.value, shown):
        complaint = "\n".join(["Some of these quotes do not stand in the passages that you named:", *problems])
        again = "Answer again with all claims. Correct the quotes, or leave out what no passage says."
        conversation = [Message("user", prompt), reply.message, Message("user", f"{complaint}\n{again}")]
        reply = await ctx.chat(conversation, system=_RULES, output=Answer)
    return _claims(reply, shown, limit), reply.model, len(shown)


def _shown(passages: Sequence[Passage]) -> list[Passage]:
    left = MAX_PROMPT_CHARS
    shown: list[Passage] = []
    for passage in passages:
        left -= len(passage.text)
        if left < 0:
            break
        shown.append(passage)
    return shown


def _prompt(question: str, passages: Sequence[Passage], limit: int, seed: str) -> str:
    parts = [fence("question", question, seed)]
    parts += [fence(f"passage {number}", passage.text, seed) for number, passage in enumerate(passages, 1)]
    return "\n\n".join([*parts, f"Answer the question with at most {limit} claims."])


def _citations(found: Found, passages: Sequence[Passage]) -> list[Citation]:
    """The places of the quotes that stand where they should, each once."""
    places: dict[tuple[str, int, int, int, str], Citation] = {}
    for quoted in found.quotes:
        if 1 <= quoted.passage <= len(passages):
            place = find(passages[quoted.passage - 1], quoted.quote)
            if place is not None:
                places.setdefault((place.path, place.page, place.cell, place.line, place.quote), place)
    return list(places.values())


def _problems(answer: Answer, passages: Sequence[Passage]) -> list[str]:
    """What is wrong with the quotes, without a word of them: they may be someone else's."""
    problems: list[str] = []
    for number, found in enumerate(answer.claims, 1):
        if not found.quotes:
            problems.append(f"claim {number} quotes nothing")
        for at, quoted in enumerate(found.quotes, 1):
            if not 1 <= quoted.passage <= len(passages):
                problems.append(f"claim {number}, quote {at}: the passages are numbered from 1 to {len(passages)}")
            elif find(passages[quoted.passage - 1], quoted.quote) is None:
                problems.append(f"claim {number}, quote {at}: it does not stand in passage {quoted.passage}")
    return problems[:MAX_PROBLEMS]


def _claims(reply: Reply, passages: Sequence[Passage], limit: int) -> list[Claim]:
    answer: Answer = reply.value
    texts: dict[str, list[Citation]] = {}
    for found in answer.claims:
        # A number in brackets would look like a citation of the report.
        text = " ".join(_FAKE_CITATION.sub("", found.text).split())[:MAX_CLAIM_CHARS]
        if text and text not in texts and len(texts) < limit:
            texts[text] = _citations(found, passages)
    return [
        Claim(text=text, citations=citations, score=round(1 - at / len(texts), 4), supported=bool(citations))
        for at, (text, citations) in enumerate(texts.items())
    ]
