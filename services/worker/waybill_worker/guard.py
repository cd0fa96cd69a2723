"""Keeps an agent's sys.exit() in a task of its own from ending the worker's loop, and with it every other agent."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextvars import Context
from typing import Any

from waybill.invocation import in_agent


def install(loop: asyncio.AbstractEventLoop) -> None:
    """Guard every task that an agent makes on this loop."""
    loop.set_task_factory(_make_task)


def _make_task(
    loop: asyncio.AbstractEventLoop, coroutine: Any, *, context: Context | None = None, **options: Any
) -> asyncio.Task[Any]:
    guarded = context.get(in_agent, False) if context is not None else in_agent.get()
    return asyncio.Task(_guard(coroutine) if guarded else coroutine, loop=loop, context=context, **options)


async def _guard(coroutine: Coroutine[Any, Any, Any]) -> Any:
    try:
        return await coroutine
    except (SystemExit, KeyboardInterrupt) as error:
        raise RuntimeError(f"{type(error).__name__} in a task of an agent") from error
