"""Agents that add steps, for the worker's tests. Loaded by name, in the worker and in its processes."""

from __future__ import annotations

from typing import Any

from waybill import Context, agent
from waybill.errors import AgentError


@agent
async def mapper(ctx: Context, items: list[str], fail: int = 0) -> int:
    """One step for each item, and one that joins them in this one's place."""
    _add(ctx, items)
    if ctx.attempt <= fail:
        raise AgentError("not yet")
    return len(items)


@agent
def mapper_in_process(ctx: Context, items: list[str], fail: int = 0) -> int:
    """The same in a process."""
    _add(ctx, items)
    if ctx.attempt <= fail:
        raise AgentError("not yet")
    return len(items)


@agent(isolation="thread")
def mapper_in_thread(ctx: Context, items: list[str], fail: int = 0) -> int:
    """The same in a thread."""
    _add(ctx, items)
    if ctx.attempt <= fail:
        raise AgentError("not yet")
    return len(items)


def _add(ctx: Context, items: list[str]) -> None:
    for position, item in enumerate(items):
        ctx.add_step(f"item-{position}", "echo", {"value": item})
    joined = [f"${{item-{position}}}" for position in range(len(items))]
    ctx.add_step("joined", "echo", {"value": joined}, result=True)


@agent
async def counter(ctx: Context, number: int, until: int) -> int:
    """A loop with a bound: the next turn is a step of its own."""
    if number < until:
        turn = f"turn-{number + 1}"
        ctx.add_step(turn, "counter", {"number": number + 1, "until": until}, result=True)
    return number


@agent
async def careless(ctx: Context, steps: list[dict[str, Any]]) -> str:
    """Add these steps, whatever they are."""
    for step in steps:
        ctx.add_step(**step)
    return "done"
