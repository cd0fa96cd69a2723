"""Agents for tests of plans in memory; the same run on the real ledger."""

from __future__ import annotations

import asyncio
from typing import Any

from waybill import Context, agent
from waybill.errors import AgentError, Permanent, Replan


@agent
async def echo(value: Any = None) -> Any:
    """Returns what it is given."""
    return value


@agent(isolation="thread")
def plain_echo(value: Any = None) -> Any:
    """The same, as a plain function."""
    return value


@agent
async def flaky(ctx: Context, failures: int, reason: str = "AGENT_ERROR", value: Any = None) -> Any:
    """Streams a word, spends a token, and fails as often as told."""
    ctx.text(f"try {ctx.attempt} ")
    ctx.progress("trying", 0.5)
    ctx.spend(input_tokens=10, cost_microusd=5)
    if ctx.attempt <= failures:
        raise AgentError(f"failure {ctx.attempt} of {failures}", reason=reason)
    return value


@agent
async def hopeless(reason: str = "AGENT_PERMANENT") -> None:
    """Fails in a way that no repetition can mend."""
    raise Permanent("this cannot work", reason=reason)


@agent
async def undecided() -> None:
    """Asks for another plan."""
    raise Replan("this is not the way")


@agent
async def mapper(ctx: Context, items: list[int], result: bool = True) -> list[int]:
    """Adds a step for each item, and one that joins them."""
    for item in items:
        ctx.add_step(f"{ctx.step}-{item}", "echo", {"value": item})
    joined = [f"${{{ctx.step}-{item}}}" for item in items]
    ctx.add_step(f"{ctx.step}-all", "echo", {"value": joined}, result=result)
    return items


@agent
async def forever(ctx: Context) -> None:
    """Never ends by itself."""
    ctx.progress("waiting")
    await asyncio.Event().wait()
