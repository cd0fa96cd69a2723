"""docket (`pydocket`): tasks in a Redis stream, run by asyncio workers.

What it guarantees: a task that was added is in Redis, and is delivered again if its worker dies, so it runs at least
once. How much a crash of Redis loses is Redis' own setting: up to a second with `everysec`. It has no graphs: a step
enqueues the next one, and a list in Redis joins (`peer_joins`).

Set up with uvloop and hiredis, `add_many`, results read with `get_many` once the last task has ended. Tried: 20, 50,
100 and 300 tasks at once in each worker (50 is best; with 100 and more, redis-py's pool has to be made larger, and
the time goes to connections); a look for new work each 2 and 10 ms (a worker whose slots are full sleeps that long);
redis-py 5.3 to 8.1 (no difference).
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AsyncExitStack
from datetime import timedelta
from typing import TYPE_CHECKING

import peer_joins
from peer_processes import WORKERS
from peer_run import LIMIT_SECONDS, Peer, Run, main

if TYPE_CHECKING:
    from docket import Docket
    from redis.asyncio import Redis

DATABASE = 1
READ_AT_ONCE = 1_000


class DocketPeer(Peer):
    """Two docket workers, and a client that adds tasks in batches and reads their results in batches."""

    packages = ("pydocket", "redis", "hiredis", "uvloop")
    uvloop = True
    _docket: Docket
    _store: Redis

    def __init__(self, run: Run) -> None:
        super().__init__(run)
        self._stack = AsyncExitStack()
        self._groups = 0

    async def start(self) -> None:
        """Start the workers."""
        import docket_tasks
        from redis.asyncio import Redis

        url, name = self.run.database(DATABASE), f"bench-{self.run.token}"
        for number in range(WORKERS):
            self.run.processes.python(f"worker-{number}", "-m", "docket_tasks", name, url)
        await self.run.processes.ready()
        self._docket = await self._stack.enter_async_context(docket_tasks.open_docket(name, url))
        self._store = await self._stack.enter_async_context(Redis.from_url(url, socket_timeout=None))

    async def tasks(self, count: int) -> Sequence[object]:
        """Add all, wait for the last one, and read all results in batches; a task that is late is waited for."""
        docket = self._docket
        added = await docket.add_many([docket.call("task")() for _ in range(count)])
        await added[-1].get_result(timeout=timedelta(seconds=LIMIT_SECONDS))
        found: list[object] = []
        for first in range(0, count, READ_AT_ONCE):
            batch = added[first : first + READ_AT_ONCE]
            # docket keeps a result under the key of its task and the number of its run.
            stored = await docket.result_storage.get_many([f"{one.key}:1" for one in batch])
            for one, result in zip(batch, stored, strict=True):
                found.append(await one.get_result() if result is None else _unpacked(result["data"]))
        return found

    async def chains(self, count: int, steps: int) -> Sequence[object]:
        """Add the first link of each chain."""
        docket = self._docket
        await docket.add_many([docket.call("link")(steps, 0) for _ in range(count)])
        return await peer_joins.replies(self._store, count)

    async def joined(self, count: int, width: int, given: int) -> Sequence[object]:
        """Add the step that spreads, for each graph."""
        docket = self._docket
        await docket.add_many([docket.call("spread")(self._group(), width, given) for _ in range(count)])
        return await peer_joins.replies(self._store, count)

    async def stop(self) -> None:
        """Close the docket."""
        await self._stack.aclose()

    def _group(self) -> str:
        self._groups += 1
        return str(self._groups)


def _unpacked(data: str) -> object:
    import base64

    import cloudpickle

    return cloudpickle.loads(base64.b64decode(data))


if __name__ == "__main__":
    main(DocketPeer, __doc__)
