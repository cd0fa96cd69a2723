"""The jobs of arq's run, and the worker process that runs them: `python -m arq_tasks URL`."""

from __future__ import annotations

import asyncio
import logging
import sys
from typing import Any

import peer_joins
import uvloop
from arq.connections import RedisSettings
from arq.worker import Worker, func
from peer_processes import announce
from peer_run import Answer, answer, side_by_side

Context = dict[str, Any]
JOBS_AT_ONCE = 100
POLL_SECONDS = 0.005
KEPT_SECONDS = 600


async def task(_context: Context) -> Answer:
    """Do nothing, and answer."""
    return answer()


async def link(context: Context, left: int, given: int) -> None:
    """Add 1, and enqueue the next link; the last one replies."""
    if left > 1:
        await context["redis"].enqueue_job("link", left - 1, given + 1)
    else:
        await peer_joins.reply(context["redis"], answer(given + 1))


async def spread(context: Context, group: str, width: int, given: int) -> None:
    """Enqueue all parts of a group."""
    store = context["redis"]
    await side_by_side([lambda: store.enqueue_job("part", group, width, given)] * width)


async def part(context: Context, group: str, width: int, given: int) -> None:
    """Add 1 and leave that; who leaves the last part enqueues the join."""
    if await peer_joins.leave_part(context["redis"], group, answer(given + 1)) == width:
        await context["redis"].enqueue_job("join", group)


async def join(context: Context, group: str) -> None:
    """Sum up the parts of a group and reply."""
    await peer_joins.reply(context["redis"], await peer_joins.sum_parts(context["redis"], group))


async def _started(_context: Context) -> None:
    announce()


async def _work(url: str) -> None:
    worker = Worker(
        [func(task, keep_result=KEPT_SECONDS), *(func(one, keep_result=0) for one in (link, spread, part, join))],
        redis_settings=RedisSettings.from_dsn(url),
        on_startup=_started,
        max_jobs=JOBS_AT_ONCE,
        poll_delay=POLL_SECONDS,
        handle_signals=False,
    )
    await worker.async_run()


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_work(sys.argv[1]))
