"""Agents that wait to be cancelled: one is interrupted, the others look whether they were, and one does not care."""

from __future__ import annotations

import asyncio
import time

from waybill import Context, agent

LOOK_SECONDS = 0.01


@agent
async def interrupted(ctx: Context) -> None:
    """Is interrupted where it waits."""
    ctx.progress("running")
    await asyncio.sleep(3600)


@agent
def attentive(ctx: Context) -> None:
    """Looks whether it was cancelled, in a process."""
    ctx.progress("running")
    while not ctx.cancelled:
        time.sleep(LOOK_SECONDS)


@agent(isolation="thread")
def attentive_in_thread(ctx: Context) -> None:
    """Looks whether it was cancelled, in a thread."""
    ctx.progress("running")
    while not ctx.cancelled:
        time.sleep(LOOK_SECONDS)


@agent
def uncooperative(ctx: Context) -> None:
    """Does not care, so its process is killed half a second later."""
    ctx.progress("running")
    while True:
        time.sleep(3600)
