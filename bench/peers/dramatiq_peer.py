"""dramatiq: actors whose messages are in Redis lists, run by threads of two processes.

What it guarantees: a message that was sent is in Redis, and is taken back from a worker whose heartbeat stops, so it
runs at least once. How much a crash of Redis loses is Redis' own setting: up to a second with `everysec`. Chains are
its pipelines. Parts of a join leave their results in a Redis list, and who leaves the last one enqueues the join: the
callback of its groups is given no results, and its barrier, a watched key, took over 5 s for 1,000 parts. Results are
taken from its Redis backend, each with one blocking read: it has nothing faster.

Set up with hiredis, orjson, and only the middleware that is needed. Tried: 1, 4, 8 and 32 threads in each process (one
is a third slower, 8 are best, 32 no better).
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from peer_processes import WORKERS
from peer_run import LIMIT_SECONDS, Peer, Run, answer, main

DATABASE = 2
THREADS = 8
LIMIT_MS = LIMIT_SECONDS * 1_000


class DramatiqPeer(Peer):
    """The command `dramatiq` with two processes, and a client of one thread."""

    packages = ("dramatiq", "redis", "hiredis", "orjson")

    def __init__(self, run: Run) -> None:
        super().__init__(run)
        self._groups = 0

    async def start(self) -> None:
        """Start the workers."""
        os.environ["PEER_STORE"] = self.run.database(DATABASE)
        options = ["--processes", str(WORKERS), "--threads", str(THREADS)]
        self.run.processes.python("workers", "-m", "dramatiq", "dramatiq_tasks", *options)
        await self.run.processes.ready()

    async def tasks(self, count: int) -> Sequence[object]:
        """Run a group."""
        import dramatiq
        import dramatiq_tasks

        group = dramatiq.group([dramatiq_tasks.task.message() for _ in range(count)]).run()
        return list(group.get_results(block=True, timeout=LIMIT_MS))

    async def chains(self, count: int, steps: int) -> Sequence[object]:
        """Run pipelines: only the last message of each stores its result."""
        import dramatiq
        import dramatiq_tasks

        link = dramatiq_tasks.link
        running = []
        for _ in range(count):
            first = link.message(answer(0))
            last = link.message_with_options(store_results=True)
            running.append(dramatiq.pipeline([first, *(link.message() for _ in range(steps - 2)), last]).run())
        return [one.get_result(block=True, timeout=LIMIT_MS) for one in running]

    async def joined(self, count: int, width: int, given: int) -> Sequence[object]:
        """Run a group and what joins it, for each graph."""
        import dramatiq_tasks

        lasts = []
        for _ in range(count):
            self._groups += 1
            group = str(self._groups)
            last = dramatiq_tasks.join.message(group)
            dramatiq_tasks.spread.send(group, width, given, last.asdict())
            lasts.append(last)
        backend = dramatiq_tasks.results
        return [one.get_result(backend=backend, block=True, timeout=LIMIT_MS) for one in lasts]

    async def stop(self) -> None:
        """Nothing is held."""


if __name__ == "__main__":
    main(DramatiqPeer, __doc__)
