"""How many independent one-step tasks a second? From the first submission until the client knows the last result."""

from __future__ import annotations

from collections.abc import Sequence

from load import ONE_STEP, Bench, running_bench
from measurement import WAYBILL, Measured, Scale

TASKS = 20_000
WARM_UP_TASKS = 1_000


async def measure(scale: Scale) -> Sequence[Measured]:
    """On a suite of its own."""
    async with running_bench() as bench:
        return await measure_on(bench, scale)


async def measure_on(bench: Bench, scale: Scale) -> Sequence[Measured]:
    """Tasks a second, and the microseconds of processor time that a task took in each process."""
    tasks = scale.count(TASKS)
    await bench.wave(ONE_STEP, scale.count(WARM_UP_TASKS))
    before = bench.cpu_seconds()
    runs = [tasks / await bench.wave(ONE_STEP, tasks) for _ in range(scale.runs)]
    detail = {"tasks": tasks, "cpu_us": bench.cpu_us(before, tasks * scale.runs)}
    return [Measured(WAYBILL, "tasks/s", runs, detail, bench.versions)]
