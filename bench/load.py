"""The load that benchmarks put on a suite by the client's public API: many tasks in, and all their results out."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import psutil
from bench_suite import RunningSuite, running_suite
from measurement import WAYBILL, Measured, Scale, rounded, store_version

from waybill.client import Client
from waybill.core.plan import Plan
from waybill.core.task import TaskState
from waybill.errors import WaybillError
from waybill.resources import Submission

WORKERS = 2
LISTEN_SECONDS = 0.1
"""So long a stream of results is given to be there before the clock starts."""
WARM_UP_TASKS = 500
_waves = itertools.count(1)


@dataclass
class Bench:
    """A running suite, and a client of it."""

    running: RunningSuite
    client: Client

    async def wave(self, plan: Plan | Mapping[str, Any], tasks: int) -> float:
        """Submit so many tasks of one plan and wait until the client knows all results; seconds from first to last."""
        labels = {"wave": f"{time.time_ns()}-{next(_waves)}"}
        listening = asyncio.create_task(self._results(labels, tasks))
        await asyncio.sleep(LISTEN_SECONDS)
        began = time.perf_counter()
        await asyncio.gather(self._submit(plan, labels, tasks), listening)
        return time.perf_counter() - began

    async def _submit(self, plan: Plan | Mapping[str, Any], labels: Mapping[str, str], count: int) -> None:
        accepted = await self.client.submit_many(Submission(plan=plan, labels=labels) for _ in range(count))
        refused = [outcome for outcome in accepted if isinstance(outcome, WaybillError)]
        if refused:
            raise refused[0]

    async def _results(self, labels: Mapping[str, str], count: int) -> None:
        async for result in self.client.results(labels=labels, from_now=True):
            if result.task.state is not TaskState.SUCCEEDED:
                raise RuntimeError(f"{result.task.name} is {result.task.state}: {result.task.failure}")
            count -= 1
            if not count:
                return

    def cpu_seconds(self) -> dict[str, float]:
        """Processor time that every process of the suite has used, and this one, which is the client."""
        used = {child.spec.name: _family_seconds(child.pid) for child in self.running.supervisor.children if child.pid}
        own = psutil.Process().cpu_times()
        return {**used, "client": own.user + own.system}

    def cpu_us(self, before: Mapping[str, float], units: int) -> dict[str, float]:
        """Microseconds of processor time that each of so many units took since `before`, by process and in all.

        The system counts it in hundredths of a second, so let thousands of units pass in between.
        """
        used = {name: (now - before.get(name, 0.0)) / units * 1e6 for name, now in self.cpu_seconds().items()}
        return {name: rounded(value) for name, value in {**used, "sum": sum(used.values())}.items()}

    @property
    def versions(self) -> dict[str, str]:
        """The version of the suite's store."""
        return {"store": store_version(self.running.store)}


@asynccontextmanager
async def running_bench(environment: Mapping[str, str] | None = None) -> AsyncIterator[Bench]:
    """Start a suite of two workers and connect to it; all is stopped at the end."""
    async with (
        running_suite(workers=WORKERS, environment=environment or {}) as running,
        Client(running.suite.grpc_address) as client,
    ):
        yield Bench(running, client)


async def measured_waves(bench: Bench, scale: Scale, plan: Mapping[str, Any], tasks: int) -> Sequence[Measured]:
    """Steps a second of waves of so many tasks of one plan at once."""
    steps = tasks * len(plan["steps"])
    await bench.wave(ONE_STEP, scale.count(WARM_UP_TASKS))
    await bench.wave(plan, tasks)
    before = bench.cpu_seconds()
    runs = [steps / await bench.wave(plan, tasks) for _ in range(scale.runs)]
    detail = {"tasks": tasks, "steps": steps, "cpu_us": bench.cpu_us(before, steps * scale.runs)}
    return [Measured(WAYBILL, "steps/s", runs, detail, bench.versions)]


def plan_of(after: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """A plan of no-op steps: by name, what each waits for."""
    return {
        "steps": [
            {"name": name, "agent": "noop", "input": {}, **({"after": list(needed)} if needed else {})}
            for name, needed in after.items()
        ]
    }


def chain(length: int) -> dict[str, list[str]]:
    """Steps that follow one another."""
    return {f"s{at}": [f"s{at - 1}"] if at else [] for at in range(length)}


def fan_and_join(width: int) -> dict[str, list[str]]:
    """One step, `width` that wait for it, and one that waits for all of those."""
    middle = [f"m{at}" for at in range(width)]
    return {"first": [], **{name: ["first"] for name in middle}, "last": middle}


ONE_STEP = plan_of({"only": []})


def _family_seconds(pid: int) -> float:
    try:
        parent = psutil.Process(pid)
        times = [process.cpu_times() for process in (parent, *parent.children(recursive=True))]
    except psutil.NoSuchProcess:
        return 0.0
    return sum(used.user + used.system for used in times)
