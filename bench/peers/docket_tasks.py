"""The tasks of docket's run, and the worker process that runs them: `python -m docket_tasks NAME URL`."""

from __future__ import annotations

import asyncio
import logging
import sys
from datetime import timedelta

import peer_joins
import uvloop
from docket import CurrentDocket, Docket, Worker
from peer_processes import announce
from peer_run import Answer, answer

CURRENT: Docket = CurrentDocket()
CONCURRENCY = 50
CHECK_INTERVAL = timedelta(milliseconds=2)
"""How long a worker without a free slot sleeps before it looks again."""


async def task() -> Answer:
    """Do nothing, and answer."""
    return answer()


async def link(left: int, given: int, docket: Docket = CURRENT) -> None:
    """Add 1, and enqueue the next link; the last one replies."""
    if left > 1:
        await docket.add(link)(left - 1, given + 1)
        return
    async with docket.redis() as store:
        await peer_joins.reply(store, answer(given + 1))


async def spread(group: str, width: int, given: int, docket: Docket = CURRENT) -> None:
    """Enqueue all parts of a group at once."""
    await docket.add_many([docket.call(part)(group, width, given) for _ in range(width)])


async def part(group: str, width: int, given: int, docket: Docket = CURRENT) -> None:
    """Add 1 and leave that; who leaves the last part enqueues the join."""
    async with docket.redis() as store:
        left = await peer_joins.leave_part(store, group, answer(given + 1))
    if left == width:
        await docket.add(join)(group)


async def join(group: str, docket: Docket = CURRENT) -> None:
    """Sum up the parts of a group and reply."""
    async with docket.redis() as store:
        await peer_joins.reply(store, await peer_joins.sum_parts(store, group))


def open_docket(name: str, url: str) -> Docket:
    """Return the docket of a run, for its client or its workers."""
    docket = Docket(name=name, url=url)
    for one in (task, link, spread, part, join):
        docket.register(one)
    return docket


async def _work(name: str, url: str) -> None:
    async with (
        open_docket(name, url) as docket,
        Worker(docket, concurrency=CONCURRENCY, minimum_check_interval=CHECK_INTERVAL) as worker,
    ):
        announce()
        await worker.run_forever()


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_work(sys.argv[1], sys.argv[2]))
