"""taskiq (`taskiq-redis`): asyncio tasks whose messages are in a Redis list.

What it guarantees: little, with its fastest broker. A message is taken off the list before it runs: what a worker held
is lost when it dies. How much a crash of Redis loses is Redis' own setting: up to a second with `everysec`. It has no
graphs: a step enqueues the next one, and a list in Redis joins (`peer_joins`).

Set up with uvloop, hiredis and orjson, and results that only the tasks whose results are read store. Tried: its broker
on a stream, which acknowledges, takes 100 messages at once, and asks for what is left over after each read (the same
for single tasks, up to half slower in chains, fans and diamonds); waiting for every result by polling (twice the
client's work: now only the last one is polled, and the others are read once).
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING

import peer_joins
from peer_processes import WORKERS
from peer_run import LIMIT_SECONDS, Answer, Peer, Run, main, side_by_side

if TYPE_CHECKING:
    from taskiq import AsyncTaskiqTask

DATABASE = 3
TASKS_AT_ONCE = 100
CHECK_SECONDS = 0.005


class TaskiqPeer(Peer):
    """The command `taskiq worker` with two processes, and an asyncio client."""

    packages = ("taskiq", "taskiq-redis", "redis", "hiredis", "orjson", "uvloop")
    uvloop = True

    def __init__(self, run: Run) -> None:
        super().__init__(run)
        self._groups = 0

    async def start(self) -> None:
        """Start the workers."""
        os.environ["PEER_STORE"] = self.run.database(DATABASE)
        if self.run.bench == "throughput":
            os.environ["PEER_RESULTS"] = "1"
        options = ["--workers", str(WORKERS), "--max-async-tasks", str(TASKS_AT_ONCE), "--log-level", "WARNING"]
        self.run.processes.python("workers", "-m", "taskiq", "worker", "taskiq_tasks:broker", *options)
        await self.run.processes.ready()
        import taskiq_tasks

        await taskiq_tasks.broker.startup()

    async def tasks(self, count: int) -> Sequence[object]:
        """Send all, wait for the last one, and read all results; a task that is late is waited for."""
        import taskiq_tasks
        from taskiq_redis.exceptions import ResultIsMissingError

        def reader(sent: AsyncTaskiqTask[Answer]) -> Callable[[], Awaitable[Answer]]:
            async def read() -> Answer:
                try:
                    return (await sent.get_result()).return_value
                except ResultIsMissingError:
                    return (await sent.wait_result(CHECK_SECONDS, LIMIT_SECONDS)).return_value

            return read

        sent = await side_by_side([taskiq_tasks.task.kiq] * count)
        await sent[-1].wait_result(CHECK_SECONDS, LIMIT_SECONDS)
        return await side_by_side([reader(one) for one in sent])

    async def chains(self, count: int, steps: int) -> Sequence[object]:
        """Send the first link of each chain."""
        import taskiq_tasks

        await side_by_side([lambda: taskiq_tasks.link.kiq(steps, 0)] * count)
        return await peer_joins.replies(taskiq_tasks.store, count)

    async def joined(self, count: int, width: int, given: int) -> Sequence[object]:
        """Send the step that spreads, for each graph."""
        import taskiq_tasks

        async def send() -> None:
            self._groups += 1
            await taskiq_tasks.spread.kiq(str(self._groups), width, given)

        await side_by_side([send] * count)
        return await peer_joins.replies(taskiq_tasks.store, count)

    async def stop(self) -> None:
        """Close the connections."""
        if "PEER_STORE" in os.environ:
            import taskiq_tasks

            await taskiq_tasks.broker.shutdown()
            await taskiq_tasks.store.aclose()


if __name__ == "__main__":
    main(TaskiqPeer, __doc__)
