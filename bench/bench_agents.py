"""Agents of the measurements: next to no work, so that what is measured is Waybill."""

from __future__ import annotations

import asyncio

from waybill import Context, agent


@agent
async def noop() -> dict[str, object]:
    """Returns a small output at once."""
    return {"title": "An answer", "score": 0.87, "items": 12}


@agent
async def pause(ctx: Context, seconds: float) -> int:
    """Takes its time; returns the attempt that came to the end."""
    await asyncio.sleep(seconds)
    return ctx.attempt


@agent
async def narrate(ctx: Context, texts: int, chars: int, interval_seconds: float, phase: float) -> int:
    """Streams so many texts of a size, one each interval, of which a share `phase` passes first."""
    await asyncio.sleep(phase * interval_seconds)
    for number in range(texts):
        ctx.text(f"{number:06d} ".ljust(chars, "."))
        await asyncio.sleep(interval_seconds)
    return texts
