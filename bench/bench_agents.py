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
