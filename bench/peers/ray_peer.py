"""Ray: tasks on a cluster of this one machine, with results in shared memory.

What it guarantees: nothing outlives the driver. A task whose worker process dies is tried again, from memory. Graphs
are task references: a task that is given the reference of another one's result runs after it, and gets the result.

Set up with two CPUs, without dashboard and statistics; a task takes one. Tried: half and a quarter of a CPU for each
task (more workers: 1.5 to 8 times the CPU time, and no step sooner).
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

from peer_processes import PEERS, WORKERS
from peer_run import Peer, answer, items_of, main

if TYPE_CHECKING:
    from peer_run import Answer

_ENVIRONMENT = {"RAY_DEDUP_LOGS": "0", "RAY_USAGE_STATS_ENABLED": "0", "RAY_raylet_start_wait_time_s": "120"}
STORE_BYTES = 200_000_000


class RayPeer(Peer):
    """A local Ray of two worker processes; this process is its driver."""

    packages = ("ray",)

    async def start(self) -> None:
        """Start Ray; the warm-up starts its workers."""
        os.environ.update(_ENVIRONMENT)
        os.environ["PYTHONPATH"] = str(PEERS)
        import ray

        ray.init(
            num_cpus=WORKERS,
            include_dashboard=False,
            object_store_memory=STORE_BYTES,
            log_to_driver=False,
            logging_level="ERROR",
            _temp_dir=str(self.run.folder / "ray"),
        )

        def task() -> Answer:
            return answer()

        def link(given: Answer) -> Answer:
            return answer(items_of(given) + 1)

        def join(*parts: Answer) -> Answer:
            return answer(sum(items_of(part) for part in parts))

        self._task, self._link, self._join = ray.remote(task), ray.remote(link), ray.remote(join)

    async def tasks(self, count: int) -> Sequence[object]:
        """Call all, then get all."""
        import ray

        return list(ray.get([self._task.remote() for _ in range(count)]))

    async def chains(self, count: int, steps: int) -> Sequence[object]:
        """Call each step with the reference of the one before it."""
        import ray

        lasts = []
        for _ in range(count):
            last = self._link.remote(answer(0))
            for _ in range(steps - 1):
                last = self._link.remote(last)
            lasts.append(last)
        return list(ray.get(lasts))

    async def joined(self, count: int, width: int, given: int) -> Sequence[object]:
        """Call the joins with the references of their parts."""
        import ray

        joins = []
        for _ in range(count):
            top = self._link.remote(answer(given - 1))
            joins.append(self._join.remote(*(self._link.remote(top) for _ in range(width))))
        return list(ray.get(joins))

    async def stop(self) -> None:
        """Stop Ray and all its processes."""
        import ray

        ray.shutdown()


if __name__ == "__main__":
    main(RayPeer, __doc__)
