"""The threads that agents run in: plain ones that asked for a thread, and what async ones hand to `asyncio.to_thread`.

A thread cannot be killed. One that ignores its end is left behind, and must not keep the worker from ending.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import logging
import os
import threading
from concurrent.futures import ThreadPoolExecutor

from waybill.agent import AgentDefinition
from waybill_worker.context import AttemptContext
from waybill_worker.invocation import Result, call, result_of


async def run_in_thread(definition: AgentDefinition, context: AttemptContext, data: bytes) -> Result:
    """Run a plain agent in a thread of its own.

    It is a daemon and of no pool, where one that ignores its cancellation would keep a place.
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


_NAME = "agent-thread"
_END_SECONDS = 1.0


class AgentThreads:
    """The loop's own threads, enough for every slot to use one at a time."""

    def __init__(self, slots: int) -> None:
        self.executor = ThreadPoolExecutor(slots + 4, thread_name_prefix=_NAME)

    def close(self, loop: asyncio.AbstractEventLoop) -> None:
        """Let the loop end without waiting for its threads."""
        self.executor.shutdown(wait=False, cancel_futures=True)
        loop.set_default_executor(ThreadPoolExecutor(1))


def end_despite_threads() -> None:
    """End the process at once, with exit code 0, if threads would keep the interpreter from ending."""
    remaining = [thread for thread in threading.enumerate() if thread.name.startswith(_NAME)]
    for thread in remaining:
        thread.join(_END_SECONDS / len(remaining))
    if any(thread.is_alive() for thread in remaining):
        logging.shutdown()
        os._exit(0)
