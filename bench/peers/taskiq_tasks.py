"""The tasks of taskiq's run. Its workers and its client import this; `PEER_STORE` is the URL of their Redis.

Results are stored only with `PEER_RESULTS`: the last steps of chains and graphs reply by themselves.
"""

from __future__ import annotations

import os

import peer_joins
from peer_processes import announce
from peer_run import Answer, answer, side_by_side
from redis.asyncio import Redis
from taskiq import TaskiqEvents, TaskiqState
from taskiq.serializers import ORJSONSerializer
from taskiq_redis import ListQueueBroker, RedisAsyncResultBackend

KEPT_SECONDS = 600
CONNECTIONS = 100

_url = os.environ["PEER_STORE"]
# No limit of time on sockets: the broker blocks in Redis for as long as there is no work.
results: RedisAsyncResultBackend[Answer] = RedisAsyncResultBackend(
    _url,
    result_ex_time=KEPT_SECONDS,
    serializer=ORJSONSerializer(),
    max_connection_pool_size=CONNECTIONS,
    socket_timeout=None,
)
broker = ListQueueBroker(_url, max_connection_pool_size=CONNECTIONS, socket_timeout=None)
broker.with_serializer(ORJSONSerializer())
if os.environ.get("PEER_RESULTS"):
    broker.with_result_backend(results)
store = Redis.from_url(_url, socket_timeout=None)


@broker.on_event(TaskiqEvents.WORKER_STARTUP)
async def _started(_state: TaskiqState) -> None:
    announce()


@broker.task
async def task() -> Answer:
    """Do nothing, and answer."""
    return answer()


@broker.task
async def link(left: int, given: int) -> None:
    """Add 1, and enqueue the next link; the last one replies."""
    if left > 1:
        await link.kiq(left - 1, given + 1)
    else:
        await peer_joins.reply(store, answer(given + 1))


@broker.task
async def spread(group: str, width: int, given: int) -> None:
    """Enqueue all parts of a group."""
    await side_by_side([lambda: part.kiq(group, width, given)] * width)


@broker.task
async def part(group: str, width: int, given: int) -> None:
    """Add 1 and leave that; who leaves the last part enqueues the join."""
    if await peer_joins.leave_part(store, group, answer(given + 1)) == width:
        await join.kiq(group)


@broker.task
async def join(group: str) -> None:
    """Sum up the parts of a group and reply."""
    await peer_joins.reply(store, await peer_joins.sum_parts(store, group))
