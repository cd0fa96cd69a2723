"""Agents for end-to-end tests: what users' agents do, good and bad."""

from __future__ import annotations

import asyncio
import os
import time
from typing import Any

from waybill import Context, agent
from waybill.errors import AgentError, Permanent, Replan


@agent
async def echo(ctx: Context, value: Any = None) -> dict[str, Any]:
    """Returns its input and the attempt that ran."""
    return {"value": value, "attempt": ctx.attempt}


@agent
async def add(values: list[int]) -> int:
    """The sum of some numbers."""
    return sum(values)


@agent
async def flaky(ctx: Context, failures: int = 1) -> dict[str, int]:
    """Streams a word, then fails as often as told."""
    ctx.text(f"try {ctx.attempt} ")
    ctx.spend(input_tokens=10, output_tokens=1, cost_microusd=5)
    if ctx.attempt <= failures:
        raise AgentError(f"failure {ctx.attempt} of {failures}")
    return {"attempt": ctx.attempt}


@agent
async def hopeless() -> None:
    """Fails in a way that no repetition can mend."""
    raise Permanent("this cannot work")


@agent
async def slow(ctx: Context, seconds: float) -> dict[str, int]:
    """Takes its time, and tells how far it is."""
    for done in range(10):
        ctx.progress(f"part {done + 1} of 10", (done + 1) / 10)
        await asyncio.sleep(seconds / 10)
    return {"attempt": ctx.attempt}


@agent
def blocking(seconds: float) -> dict[str, int]:
    """A plain function that holds its interpreter; runs in a process of its own."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        pass
    return {"pid": os.getpid()}


@agent
async def mapper(ctx: Context, items: list[int]) -> int:
    """Adds a step for each item of a list, and one that joins them, whose output stands for its own."""
    for item in items:
        ctx.add_step(f"item-{item}", "add", {"values": [item, 100]})
    ctx.add_step("joined", "add", {"values": [f"${{item-{item}}}" for item in items]}, result=True)
    return 0


@agent
async def countdown(ctx: Context, left: int, done: int = 0) -> int:
    """A loop with a bound: each turn adds the next one, whose result takes the place of its own."""
    if left:
        ctx.add_step(f"turn-{left}", "countdown", {"left": left - 1, "done": done + 1}, result=True)
    return done


@agent
async def undecided(ctx: Context) -> None:
    """Asks for another plan."""
    raise Replan("this is not the way")


@agent
def deadly(ctx: Context) -> str:
    """Kills the process it runs in, the first time."""
    if ctx.attempt == 1:
        os._exit(9)
    return "survived"
