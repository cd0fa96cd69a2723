"""The end of the process, even when agents ignore theirs: tasks and threads that do not stop must not hold it up."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

from waybill.telemetry.logs import get_logger

END_SECONDS = 1.0
"""How long tasks, and then threads, may take to end by themselves."""
_NAME = "agent-thread"

_log = get_logger(__name__)


def make_threads(loop: asyncio.AbstractEventLoop, slots: int) -> ThreadPoolExecutor:
    """Give the loop threads enough for every slot to use one (`asyncio.to_thread`) at a time."""
    executor = ThreadPoolExecutor(slots + 4, thread_name_prefix=_NAME)
    loop.set_default_executor(executor)
    return executor


async def end(executor: ThreadPoolExecutor) -> None:
    """Stop what is left on the loop and in its threads; end the process here and now if something will not stop.

    The exit code is then 1 if an exception is being handled, and 0 otherwise.
    """
    executor.shutdown(wait=False, cancel_futures=True)
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(1))
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    if tasks:
        _, tasks = await asyncio.wait(tasks, timeout=END_SECONDS)
    threads = [thread for thread in threading.enumerate() if thread.name.startswith(_NAME)]
    for thread in threads:
        thread.join(END_SECONDS / len(threads))
    threads = [thread for thread in threads if thread.is_alive()]
    if not tasks and not threads:
        return
    failed = sys.exc_info()[0] is not None
    _log.warning("agents ignore that the worker ends", tasks=len(tasks), threads=len(threads), exc_info=failed)
    logging.shutdown()
    os._exit(1 if failed else 0)
