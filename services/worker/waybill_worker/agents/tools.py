"""The agent `tools`: a model that thinks and acts, with the tools of MCP servers that the operator has configured.

This module is loaded by every worker, so it imports no MCP library: `tools_run` does, when the first step comes.
"""

from __future__ import annotations

import asyncio
import importlib
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, JsonValue

from waybill import Context, agent
from waybill.errors import Permanent

MAX_TURNS = 50
MAX_GOAL_CHARS = 64 * 1024
FinishReason = Literal["answered", "max_turns", "max_calls", "deadline"]


class ToolUse(BaseModel):
    """One call that the model asked for."""

    turn: int = Field(description="turn of the model, from 1")
    server: str = Field(description="server of the tool; empty if there is no such tool")
    tool: str = Field(description="its name, or what the model called")
    arguments: Any = Field(description="what it was called with; null if that is longer than 16,384 characters")
    failed: bool = Field(description="whether the tool told of an error, or was not called")
    refused: bool = Field(description="whether it was not called, as the step or its task's policy does not allow it")


class ToolRun(BaseModel):
    """What the model came to, and the calls that it asked for on its way, in order."""

    text: str = Field(description="the final answer")
    value: Any = Field(description="the final answer as JSON, if the step asked for a form; else null")
    calls: list[ToolUse] = Field(description="the calls, in order")
    turns: int = Field(description="turns of the model, the final answer included")
    finish_reason: FinishReason = Field(description="`answered`, or the bound at which the final answer was asked for")
    model: str = Field(description="the provider's name of the model that gave the final answer")


@agent(uses_model=True)
async def tools(
    ctx: Context,
    goal: Annotated[str, Field(min_length=1, max_length=MAX_GOAL_CHARS, description="what is wanted")],
    servers: Annotated[
        tuple[str, ...], Field(min_length=1, max_length=16, description="MCP servers, as the operator named them")
    ],
    tools: Annotated[
        tuple[str, ...],
        Field(max_length=128, description="tools that may be called, as `server/tool` or `server/*`; all if empty"),
    ] = (),
    sources: Annotated[
        dict[str, JsonValue], Field(max_length=100, description="data to work with, by name; never taken for orders")
    ] = {},  # noqa: B006 - read only
    system: Annotated[str, Field(max_length=MAX_GOAL_CHARS, description="rules of the plan's author")] = "",
    model: Annotated[str, Field(description="a model of the operator's; the agent's own if empty")] = "",
    max_turns: Annotated[int, Field(ge=1, le=MAX_TURNS, description="most turns of the model")] = 10,
    output: Annotated[
        dict[str, JsonValue] | None, Field(description="JSON Schema of the answer; any text if null")
    ] = None,
) -> ToolRun:
    """Let a model reach a goal with tools: it calls them, learns what they return, and answers when it is done.

    Each call is made at most once, also when the step is repeated; one of which nobody knows whether it was made stops
    the step for a person to decide. What the task's policy does not allow is never called, whatever the model says.
    At the bound of turns, of 100 calls, or of time, the model is asked for its answer without tools.
    """
    if not ctx.has_model:
        raise Permanent("the agent tools needs a model, and this worker has none", reason="MODEL_MISSING")
    run = await asyncio.to_thread(importlib.import_module, "waybill_worker.agents.tools_run")
    result: ToolRun = await run.run(ctx, goal, servers, tools, sources, system, model, max_turns, output)
    return result
