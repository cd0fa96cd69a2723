"""Agents of the campaign: quick, slow, failing, streaming, blocking and with effects outside the suite.

Each tells a file of every attempt that really ran, before it does anything else. A line is one write in append mode,
synced, so that no kill can hide what was done.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from pathlib import Path
from typing import Any

from waybill import Context, agent
from waybill.errors import AgentError, EffectUnknown, Permanent

EFFECTS_VARIABLE = "WAYBILL_CHAOS_EFFECTS"


def record(kind: str, ctx: Context) -> None:
    """Append what happened to the file outside the suite."""
    row = {"kind": kind, "task": ctx.task, "step": ctx.step, "attempt": ctx.attempt, "time_ms": int(time.time() * 1000)}
    file = os.open(os.environ[EFFECTS_VARIABLE], os.O_WRONLY | os.O_APPEND)
    try:
        os.write(file, json.dumps(row).encode() + b"\n")
        os.fsync(file)
    finally:
        os.close(file)


@agent
async def echo(ctx: Context, value: Any = None) -> Any:
    """Returns its value at once."""
    record("run", ctx)
    return value


@agent
async def add(ctx: Context, values: list[int]) -> int:
    """The sum of some numbers."""
    record("run", ctx)
    ctx.spend(input_tokens=len(values), output_tokens=1, cost_microusd=3)
    return sum(values)


@agent
async def slow(ctx: Context, seconds: float, value: Any = None) -> Any:
    """Takes its time, and tells how far it is."""
    record("run", ctx)
    for part in range(4):
        ctx.progress(f"part {part + 1} of 4", (part + 1) / 4)
        await asyncio.sleep(seconds / 4)
    return value


@agent
def blocking(ctx: Context, seconds: float, value: Any = None) -> Any:
    """A plain function: runs in a process of its own."""
    record("run", ctx)
    time.sleep(seconds)
    ctx.spend(cost_microusd=7)
    return value


@agent
async def flaky(ctx: Context, failures: int, value: Any = None) -> Any:
    """Streams a word and fails, as often as told."""
    record("run", ctx)
    ctx.text(f"try {ctx.attempt} ")
    ctx.spend(input_tokens=10, output_tokens=2, cost_microusd=5)
    if ctx.attempt <= failures:
        raise AgentError(f"failure {ctx.attempt} of {failures}")
    return value


@agent
async def hopeless(ctx: Context) -> None:
    """Fails in a way that no repetition can mend."""
    record("run", ctx)
    raise Permanent("this cannot work")


@agent
async def mended(ctx: Context, switch: str, value: Any = None) -> Any:
    """Fails for good until a file exists."""
    record("run", ctx)
    if not await asyncio.to_thread(Path(switch).exists):
        raise Permanent("not mended yet")
    return value


@agent
async def stream(ctx: Context, words: int, seconds: float) -> str:
    """Streams words, and returns the text that they make."""
    record("run", ctx)
    said = []
    for number in range(words):
        said.append(f"word{number} ")
        ctx.text(said[-1])
        await asyncio.sleep(seconds / words)
    return "".join(said)


@agent
async def effect(ctx: Context, seconds: float, value: Any = None) -> Any:
    """Has an effect outside the suite, at most once over all attempts."""
    record("run", ctx)
    await asyncio.sleep(seconds / 2)
    done = await ctx.once("effect", lambda: _have_effect(ctx, value))
    await asyncio.sleep(seconds / 2)
    return done


@agent
def blocking_effect(ctx: Context, seconds: float, value: Any = None) -> Any:
    """The same in a process of its own."""
    record("run", ctx)
    time.sleep(seconds / 2)
    done = ctx.once("effect", lambda: _have_effect(ctx, value))
    time.sleep(seconds / 2)
    return done


@agent
async def reconciled(ctx: Context, seconds: float, value: Any = None) -> Any:
    """The same, but looks whether the effect was had when nobody knows."""
    record("run", ctx)
    await asyncio.sleep(seconds / 2)
    done = await ctx.once("effect", lambda: _have_effect(ctx, value), reconcile=lambda _: _look_for_effect(ctx, value))
    await asyncio.sleep(seconds / 2)
    return done


@agent(uses_model=True)
async def talker(ctx: Context, words: int) -> str:
    """Has a model say something, as it comes."""
    record("run", ctx)
    reply = await ctx.chat("word " * words, stream=True)
    return reply.text


@agent(uses_model=True)
def child_talker(ctx: Context, words: int) -> str:
    """The same from a process of its own, in two calls."""
    record("run", ctx)
    first = ctx.chat("word " * words)
    return ctx.chat(first.text[:100]).text


def _have_effect(ctx: Context, value: Any) -> Any:
    record("effect", ctx)
    return value


def _look_for_effect(ctx: Context, value: Any) -> Any:
    rows = (json.loads(line) for line in Path(os.environ[EFFECTS_VARIABLE]).read_text().splitlines())
    if any((row["kind"], row["task"], row["step"]) == ("effect", ctx.task, ctx.step) for row in rows):
        return value
    # Not yet: the earlier attempt may still be about to, if its worker is only paused.
    raise EffectUnknown("the effect was not seen, and may still come")
