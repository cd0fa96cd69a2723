"""Plain agents that asked for a thread instead of a process."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import threading

from waybill.agent import AgentDefinition
from waybill_worker.context import AttemptContext
from waybill_worker.invocation import Result, call, result_of


async def run_in_thread(definition: AgentDefinition, context: AttemptContext, data: bytes) -> Result:
    """Run a plain agent in a thread of its own.

    A thread cannot be killed: one that ignores its cancellation is left behind. So it is a daemon, and of no pool,
    where it would keep a place.
    """
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[Result] = loop.create_future()

    def deliver(result: Result) -> None:
        if not ended.done():
            ended.set_result(result)

    def body() -> None:
        try:
            result = call(definition, context, data)
        except SystemExit as error:
            result = result_of(error)
        with contextlib.suppress(RuntimeError):  # the worker has ended meanwhile
            loop.call_soon_threadsafe(deliver, result)

    name = f"{definition.name}-{context.task}-{context.step}"
    threading.Thread(target=contextvars.copy_context().run, args=(body,), name=name, daemon=True).start()
    return await ended
