"""Agents whose work and words the tests of the web console watch."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

from waybill import Context, agent
from waybill.errors import AgentError, EffectUnknown, Permanent


@agent
async def echo(ctx: Context, value: Any = None) -> Any:
    """Returns its input."""
    return value


@agent
async def gated(ctx: Context, gate: str, words: list[str] | None = None) -> dict[str, int]:
    """Streams words one by one, each once the file of the gate has as many lines; then it ends."""
    for number, word in enumerate(words or [], 1):
        await _passed(Path(gate), number)
        ctx.text(word)
        ctx.progress(f"word {number}", number / len(words or []))
    await _passed(Path(gate), len(words or []) + 1)
    return {"words": len(words or [])}


async def _passed(gate: Path, lines: int) -> None:
    while not gate.exists() or gate.read_text().count("\n") < lines:
        await asyncio.sleep(0.02)


@agent
async def moody(ctx: Context, gate: str) -> dict[str, int]:
    """Streams a text and fails, until the gate is there."""
    ctx.text(f"words of attempt {ctx.attempt}")
    if not Path(gate).exists():
        raise AgentError("the mood is bad")
    return {"attempt": ctx.attempt}


@agent
async def hostile(ctx: Context, text: str, *, fail: bool = False) -> dict[str, str]:
    """Says the same hostile text wherever an agent can say something."""
    ctx.text(text)
    ctx.progress(text[:900])
    if fail:
        raise Permanent(text[:900])
    return {"report": text, text[:100]: text}


@agent
def deadly(ctx: Context) -> str:
    """Kills the process it runs in, each time."""
    os._exit(9)


@agent
async def spender(ctx: Context) -> dict[str, int]:
    """Uses money and tokens."""
    ctx.spend(input_tokens=1200, output_tokens=340, cost_microusd=4200)
    return {"spent": 4200}


@agent
async def guarded(ctx: Context) -> Any:
    """Does something of which nobody knows whether it happened."""

    async def send() -> None:
        raise EffectUnknown("the line went dead")

    return await ctx.once("mail", send)


@agent
async def grower(ctx: Context, gate: str) -> int:
    """Adds two steps to the plan, once the gate is open."""
    await _passed(Path(gate), 1)
    for name in ("left", "right"):
        ctx.add_step(name, "echo", {"value": name})
    return 2
