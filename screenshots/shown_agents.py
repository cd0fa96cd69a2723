"""The agents of the tasks in the pictures: they take as long as a picture needs."""

from __future__ import annotations

import asyncio

from waybill import Context, agent
from waybill.errors import AgentError, Permanent

TEXT = (
    "The harbour log of March names eleven high tides above four metres. "
    "Nine of them follow a full or a new moon within two days, as the tables say. "
    "The other two came with a storm from the north-west"
)
HELD_SECONDS = 600.0
"""Longer than all pictures take; the task is cancelled before."""


@agent
async def fetch(ctx: Context, source: str) -> dict[str, str]:
    """Reads one source."""
    ctx.spend(input_tokens=210 + 7 * len(source))
    await asyncio.sleep(0.2 + len(source) / 100)
    return {"source": source}


@agent
async def summarise(ctx: Context, source: str, *, held: bool = False) -> dict[str, str]:
    """Sums up one source, sentence by sentence."""
    for number, word in enumerate(words := TEXT.split(" "), 1):
        ctx.text(f"{word} ")
        if number % 8 == 0:
            ctx.progress(f"{number} words", number / len(words) * 0.8)
            await asyncio.sleep(0.01)
    ctx.spend(input_tokens=1840, output_tokens=260, cost_microusd=5_300)
    if held:
        await asyncio.sleep(HELD_SECONDS)
    return {"summary": TEXT}


@agent
async def check(ctx: Context, source: str, *, fails: bool = False) -> dict[str, bool]:
    """Compares a summary with its source."""
    ctx.spend(input_tokens=900, output_tokens=40, cost_microusd=1_900)
    if fails and ctx.attempt == 1:
        raise AgentError("the tide tables do not answer", retry_after_seconds=600)
    await asyncio.sleep(0.1)
    return {"holds": True}


@agent
async def publish(text: str) -> None:
    """Publishes a text, or tells why it cannot."""
    raise Permanent("the journal answers 403: the token of this project has expired")
