"""arq: asyncio jobs in a Redis sorted set, which its workers poll.

What it guarantees: a job that was enqueued is in Redis until it has ended, and runs again if its worker dies, so it
runs at least once. How much a crash of Redis loses is Redis' own setting: up to a second with `everysec`. It has no
graphs: a step enqueues the next one, and a list in Redis joins (`peer_joins`).

Set up with uvloop and hiredis, 100 jobs at once in each worker, a look for new jobs every 5 ms instead of every 500,
and only results that are read are kept. They are read in batches once the last job has ended.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import peer_joins
from peer_processes import WORKERS
from peer_run import LIMIT_SECONDS, Peer, Run, main, side_by_side

if TYPE_CHECKING:
    from arq import ArqRedis

DATABASE = 4
CHECK_SECONDS = 0.005
READ_AT_ONCE = 1_000


class ArqPeer(Peer):
    """Two arq workers, and an asyncio client."""

    packages = ("arq", "redis", "hiredis", "uvloop")
    uvloop = True
    _store: ArqRedis

    def __init__(self, run: Run) -> None:
        super().__init__(run)
        self._stack = AsyncExitStack()
        self._groups = 0

    async def start(self) -> None:
        """Start the workers."""
        from arq import create_pool
        from arq.connections import RedisSettings

        url = self.run.database(DATABASE)
        for number in range(WORKERS):
            self.run.processes.python(f"worker-{number}", "-m", "arq_tasks", url)
        await self.run.processes.ready()
        self._store = await create_pool(RedisSettings.from_dsn(url))
        self._stack.push_async_callback(self._store.aclose)

    async def tasks(self, count: int) -> Sequence[object]:
        """Enqueue all, wait for the last one, and read all results in batches; a job that is late is waited for."""
        from arq.constants import result_key_prefix
        from arq.jobs import deserialize_result

        sent = await side_by_side([lambda: self._store.enqueue_job("task")] * count)
        jobs = [one for one in sent if one is not None]
        await jobs[-1].result(LIMIT_SECONDS, poll_delay=CHECK_SECONDS)
        found: list[object] = []
        for first in range(0, len(jobs), READ_AT_ONCE):
            batch = jobs[first : first + READ_AT_ONCE]
            stored = await self._store.mget([result_key_prefix + one.job_id for one in batch])
            for job, one in zip(batch, stored, strict=True):
                if one is None:
                    found.append(await job.result(LIMIT_SECONDS, poll_delay=CHECK_SECONDS))
                else:
                    found.append(deserialize_result(one).result)
        return found

    async def chains(self, count: int, steps: int) -> Sequence[object]:
        """Enqueue the first link of each chain."""
        await side_by_side([lambda: self._store.enqueue_job("link", steps, 0)] * count)
        return await peer_joins.replies(self._store, count)

    async def joined(self, count: int, width: int, given: int) -> Sequence[object]:
        """Enqueue the step that spreads, for each graph."""

        async def send() -> None:
            self._groups += 1
            await self._store.enqueue_job("spread", str(self._groups), width, given)

        await side_by_side([send] * count)
        return await peer_joins.replies(self._store, count)

    async def stop(self) -> None:
        """Close the connections."""
        await self._stack.aclose()


if __name__ == "__main__":
    main(ArqPeer, __doc__)
