"""Celery: tasks whose messages are in Redis lists.

What it guarantees: as it is by default and here, a message is acknowledged before it runs: what a worker was running is
lost when it dies, what it had taken beforehand is delivered again. How much a crash of Redis loses is Redis' own
setting: up to a second with `everysec`. Chains are its chains, joins are its chords; results come over its pub/sub.

Set up with hiredis, without gossip, mingle, heartbeats, events and rate limits; 64 messages fetched ahead; only
results that are read are stored. Tried as pools: two workers that run tasks by themselves (`solo`: best, and the
fastest step of a chain), two with 8 threads (the same within what runs differ by, but slower steps), one with two
child processes (`prefork`: a tenth to a half slower, for the pipes between them).
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from peer_processes import WORKERS
from peer_run import LIMIT_SECONDS, Peer, answer, main

DATABASE = 5


class CeleryPeer(Peer):
    """Two Celery workers, and a client of one thread."""

    packages = ("celery", "kombu", "redis", "hiredis")

    async def start(self) -> None:
        """Start the workers."""
        os.environ["PEER_STORE"] = self.run.database(DATABASE)
        options = ["--loglevel", "WARNING", "--without-gossip", "--without-mingle", "--without-heartbeat"]
        for number in range(WORKERS):
            worker = ["-m", "celery", "-A", "celery_tasks", "worker", "--pool", "solo", "--hostname", f"{number}@bench"]
            self.run.processes.python(f"worker-{number}", *worker, *options)
        await self.run.processes.ready()

    async def tasks(self, count: int) -> Sequence[object]:
        """Send a group."""
        import celery
        import celery_tasks

        sent = celery.group(celery_tasks.task.s() for _ in range(count)).apply_async()
        found: list[object] = sent.join_native(timeout=LIMIT_SECONDS)
        return found

    async def chains(self, count: int, steps: int) -> Sequence[object]:
        """Send chains: only the last task of each stores its result."""
        import celery
        import celery_tasks

        link = celery_tasks.link
        sent = []
        for _ in range(count):
            unread = [link.s(answer(0)), *(link.s() for _ in range(steps - 2))]
            links = [*(one.set(ignore_result=True) for one in unread), link.s()]
            sent.append(celery.chain(links).apply_async())
        return [one.get(timeout=LIMIT_SECONDS) for one in sent]

    async def joined(self, count: int, width: int, given: int) -> Sequence[object]:
        """Send a chain of a task and a chord, for each graph."""
        import celery
        import celery_tasks

        sent = []
        for _ in range(count):
            parts = celery.group(celery_tasks.link.s() for _ in range(width))
            sent.append((celery_tasks.top.s(given) | parts | celery_tasks.join.s()).apply_async())
        return [one.get(timeout=LIMIT_SECONDS) for one in sent]

    async def stop(self) -> None:
        """Nothing is held."""


if __name__ == "__main__":
    main(CeleryPeer, __doc__)
