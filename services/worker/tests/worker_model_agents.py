"""Agents that ask models, for the worker's tests. Loaded by name, in the worker and in its processes."""

from __future__ import annotations

import asyncio
from typing import Any

from pydantic import BaseModel

from waybill import Context, agent
from waybill.errors import AgentError, BudgetExhausted


class Verdict(BaseModel):
    """What is asked for."""

    good: bool
    why: str


@agent(uses_model=True)
async def asker(ctx: Context, text: str = "hello", stream: bool = False, fail: int = 0) -> str:
    """Ask once, then fail as many attempts as told."""
    reply = await ctx.chat(text, stream=stream)
    if ctx.attempt <= fail:
        raise AgentError("not yet")
    return str(reply.text)


@agent(uses_model=True)
def asker_in_process(ctx: Context, text: str = "hello", stream: bool = False, fail: int = 0) -> str:
    """The same in a process."""
    reply = ctx.chat(text, stream=stream)
    if ctx.attempt <= fail:
        raise AgentError("not yet")
    return str(reply.text)


@agent(uses_model=True, isolation="thread")
def asker_in_thread(ctx: Context, text: str = "hello", stream: bool = False, fail: int = 0) -> str:
    """The same in a thread."""
    reply = ctx.chat(text, stream=stream)
    if ctx.attempt <= fail:
        raise AgentError("not yet")
    return str(reply.text)


@agent(uses_model=True)
async def between(ctx: Context) -> str:
    """Stream some text, then an answer, then some more."""
    ctx.text("before. ")
    reply = await ctx.chat("hello", stream=True)
    ctx.text(" after.")
    return str(reply.text)


@agent(uses_model=True)
async def judge(ctx: Context) -> Verdict:
    """Ask for a verdict."""
    value: Verdict = (await ctx.chat("is it good", output=Verdict)).value
    return value


@agent(uses_model=True)
def judge_in_process(ctx: Context) -> Verdict:
    """The same in a process."""
    value: Verdict = ctx.chat("is it good", output=Verdict).value
    return value


@agent(uses_model=True)
async def many(ctx: Context, count: int) -> int:
    """Ask so often at once; how many got an answer, with the rest refused for money."""
    results = await asyncio.gather(*(ctx.chat(f"number {n}") for n in range(count)), return_exceptions=True)
    refused = [result for result in results if isinstance(result, BaseException)]
    for error in refused:
        if not isinstance(error, BudgetExhausted):
            raise error
    return count - len(refused)


@agent(uses_model=True)
async def impatient(ctx: Context, seconds: float) -> str:
    """Give a call up after so long, and say so."""
    try:
        async with asyncio.timeout(seconds):
            await ctx.chat("hello")
    except TimeoutError:
        return "gave up"
    return "answered"


@agent(uses_model=True)
async def named(ctx: Context, model: str) -> str:
    """Ask for a model by its name."""
    return str((await ctx.chat("hello", model=model)).model)


@agent
async def knows(ctx: Context) -> list[Any]:
    """Whether there is a model, and what the task may do."""
    return [ctx.has_model, (await ctx.policy()).allowed_tools]


@agent
def knows_in_process(ctx: Context) -> list[Any]:
    """The same in a process."""
    return [ctx.has_model, asyncio.run(ctx.policy()).allowed_tools]


@agent
async def plain(ctx: Context, seconds: float = 0.0) -> str:
    """Wait without a model."""
    await asyncio.sleep(seconds)
    return "done"
