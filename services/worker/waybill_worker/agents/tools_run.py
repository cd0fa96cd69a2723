"""One attempt of the agent `tools`: its servers opened, its catalog chosen, its loop run, everything closed."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from waybill import NOT_DONE, Context
from waybill.core.budget import TaskPolicy
from waybill.errors import Permanent
from waybill.telemetry.logs import get_logger
from waybill_worker.agents import tools_prompt
from waybill_worker.agents.tools import ToolRun
from waybill_worker.agents.tools_call import Caller
from waybill_worker.agents.tools_catalog import Catalog, Choice, choose
from waybill_worker.agents.tools_config import ConfigInvalid, ToolServers
from waybill_worker.agents.tools_loop import Loop
from waybill_worker.agents.tools_session import Sessions

_log = get_logger(__name__)


async def run(
    ctx: Context,
    goal: str,
    names: Sequence[str],
    allowed: Sequence[str],
    sources: Mapping[str, Any],
    system: str,
    model: str,
    max_turns: int,
    output: dict[str, Any] | None,
) -> ToolRun:
    """Run the attempt. Raises AgentError."""
    servers = await asyncio.to_thread(_configured)
    _check_names(servers, names, allowed)
    policy = await ctx.policy()
    async with Sessions(servers) as sessions:
        choice = await _choice(ctx, servers, sessions, names, allowed, policy)
        for reason in choice.left_out:
            ctx.progress(f"left out {reason}"[:500])
        catalog = Catalog(choice.tools)
        caller = Caller(ctx, servers, sessions, catalog, policy)
        messages = tools_prompt.opening(goal, sources, system, ctx.idempotency_key)
        return await Loop(ctx, caller, catalog, messages, max_turns, model, output).run()


def _configured() -> ToolServers:
    try:
        return ToolServers.from_environment()
    except ConfigInvalid as error:
        _log.error("the file of MCP servers cannot be used", problem=str(error))
        raise Permanent(
            "the operator's file of MCP servers cannot be used; the worker's log says why", reason="TOOL_CONFIG_INVALID"
        ) from None


def _check_names(servers: ToolServers, names: Sequence[str], allowed: Sequence[str]) -> None:
    for name in names:
        if servers.get(name) is None:
            raise Permanent(
                f"servers: the operator has configured no server {name[:64]!r}", reason="TOOL_SERVER_UNKNOWN"
            )
    for entry in allowed:
        server, slash, tool = entry.partition("/")
        if not slash or not tool or server not in names:
            raise Permanent(
                f"tools: {entry[:200]!r} is not `server/tool` or `server/*` of one of the step's servers",
                reason="TOOL_UNKNOWN",
            )


async def _choice(
    ctx: Context,
    servers: ToolServers,
    sessions: Sessions,
    names: Sequence[str],
    allowed: Sequence[str],
    policy: TaskPolicy,
) -> Choice:
    """The tools of the step: listed by its first attempt, and recorded, so that later lists can add none."""

    async def listed() -> Any:
        ctx.progress("connecting to " + ", ".join(sorted(set(names)))[:400])
        wanted = sorted(set(names))
        lists = await asyncio.gather(*(sessions.tools(name) for name in wanted))
        return msgspec.to_builtins(choose(dict(zip(wanted, lists, strict=True)), servers, allowed, policy))

    return msgspec.convert(await ctx.once("tools", listed, reconcile=lambda _: NOT_DONE), Choice)
