"""How long after kill -9 of a worker does the step that it ran start again? One line of JSON.

Default settings, two workers, a step of two seconds. Two cases: the worker is gone for good, so the other one takes the
step once the heartbeat has lapsed; and a supervisor starts it again under its name, which takes the step back at once.
The time runs from the kill to the time in the event that tells of the next attempt. Exits with 1 if a median is 3 s or
more.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import signal
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from bench_suite import RunningSuite, running_suite

from waybill.cli.child import QUICK_DEATH_SECONDS, Child
from waybill.client import Client
from waybill.core.task import Event, EventType, TaskState

MEDIAN_SECONDS = 3.0
STEP_SECONDS = 2.0
KILLED_WITHIN_SECONDS = 1.0
"""The kill comes at a random moment of the step, up to this: heartbeats come every 0.8 s."""
WORKERS = 2
BACK_SECONDS = 60.0


@dataclass(frozen=True)
class Recovery:
    """One kill."""

    seconds: float
    attempt: int
    succeeded: bool


class Bench:
    """Kills workers of one suite, one at a time."""

    def __init__(self, running: RunningSuite, client: Client) -> None:
        self._running = running
        self._client = client
        self._supervising: set[asyncio.Task[None]] = set()
        self._gone: Child | None = None

    async def kill_once(self, *, for_good: bool) -> Recovery:
        """Submit a step, kill whoever runs it, and see when it starts again."""
        await self._all_live()
        task = await self._client.submit(
            plan={"steps": [{"name": "only", "agent": "pause", "input": {"seconds": STEP_SECONDS}}]}
        )
        killing: asyncio.Task[float] | None = None
        again: Event | None = None
        async for event in self._client.watch(task):
            if event.type is EventType.STEP_STARTED and killing is None:
                killing = asyncio.create_task(self._kill(_worker_name(event), for_good=for_good))
            elif event.type is EventType.STEP_STARTED and again is None:
                again = event
        assert killing is not None
        killed_at = await killing
        assert again is not None, f"{task.name} ended before its worker was killed"
        ended = await self._client.get(task)
        self._replace_the_gone()
        return Recovery(again.time_ms / 1000 - killed_at, again.attempt, ended.state is TaskState.SUCCEEDED)

    async def _kill(self, name: str, *, for_good: bool) -> float:
        """Kill a worker after a random part of the step; the time at which it was."""
        await asyncio.sleep(random.uniform(0, KILLED_WITHIN_SECONDS))
        child = next(child for child in self._running.supervisor.children if child.spec.name == name)
        assert child.pid is not None
        killed_at = time.time()
        os.kill(child.pid, signal.SIGKILL)
        if for_good:
            child.kill()  # it is dead; this keeps its supervisor from starting it again
            await child.stop()
            self._running.supervisor.children.remove(child)
            self._gone = child
        return killed_at

    def _replace_the_gone(self) -> None:
        if self._gone is None:
            return
        child = Child(self._gone.spec, self._gone.log, lambda _: None)
        self._running.supervisor.children.append(child)
        supervising = asyncio.create_task(child.supervise())
        self._supervising.add(supervising)
        self._gone = None

    async def _all_live(self) -> None:
        """Wait until every worker lives, and has lived long enough not to count as one that dies at once."""
        deadline = time.monotonic() + BACK_SECONDS
        while True:
            agents = {agent.name: agent.live_workers for agent in await self._client.agents()}
            if agents.get("agents/pause") == WORKERS:
                break
            assert time.monotonic() < deadline, f"a worker did not come back: {agents}"
            await asyncio.sleep(0.1)
        await asyncio.sleep(QUICK_DEATH_SECONDS)


def _worker_name(event: Event) -> str:
    return event.worker.rpartition(".")[0]


def summary(found: Sequence[Recovery]) -> dict[str, float | int]:
    """What one case came to; the 99th percentile of so few is the worst."""
    seconds = sorted(recovery.seconds for recovery in found)
    return {
        "kills": len(found),
        "p50_seconds": round(statistics.median(seconds), 2),
        "p99_seconds": round(seconds[min(len(seconds) - 1, int(0.99 * len(seconds)))], 2),
        "best_seconds": round(seconds[0], 2),
        "worst_seconds": round(seconds[-1], 2),
        "most_attempts": max(recovery.attempt for recovery in found),
        "failed": sum(not recovery.succeeded for recovery in found),
    }


async def measure(kills: int) -> dict[str, dict[str, float | int]]:
    """Both cases, by name."""
    async with (
        running_suite(workers=WORKERS, environment={}) as running,
        Client(running.suite.grpc_address) as client,
    ):
        bench = Bench(running, client)
        gone = [await bench.kill_once(for_good=True) for _ in range(kills)]
        restarted = [await bench.kill_once(for_good=False) for _ in range(kills)]
    return {"gone": summary(gone), "restarted": summary(restarted)}


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--kills", type=int, default=15, help="kills of each case")
    arguments = parser.parse_args()
    found = asyncio.run(measure(arguments.kills))
    good = all(case["p50_seconds"] < MEDIAN_SECONDS and not case["failed"] for case in found.values())
    print(json.dumps({"within_target": good, "target_p50_seconds": MEDIAN_SECONDS, **found}))
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
