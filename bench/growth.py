"""Does anything slow down as more is stored, or as plans grow?

Throughput is measured on an empty store, and again with 100,000 and with 1,000,000 finished tasks in it, which the
ledger's own functions put there. Then as many steps are run in plans of 10, of 1,000 and of 10,000 steps. The value is
the worst share that is left: of the throughput on an empty store, or of the cost of a step in a small plan.
"""

from __future__ import annotations

import asyncio
import statistics
from collections.abc import Sequence

from bare_ledger import bare_ledger
from load import ONE_STEP, Bench, fan_and_join, plan_of, running_bench
from measurement import WAYBILL, Measured, Scale, rounded, say
from throughput import TASKS, WARM_UP_TASKS

from waybill.ledger import keys

STORED = (0, 100_000, 1_000_000)
PLAN_STEPS = (10, 1_000, 10_000)
STEPS_A_RUN = 10_000
FILL_AT_ONCE = 20_000
FILLING_AGENT = "filling"
SETTLE_SECONDS = 0.5


async def measure(scale: Scale) -> Sequence[Measured]:
    """On a suite of its own."""
    async with running_bench() as bench:
        return await measure_on(bench, scale)


async def measure_on(bench: Bench, scale: Scale) -> Sequence[Measured]:
    """The worst share of each run, and all that it is the worst of."""
    await bench.wave(ONE_STEP, scale.count(WARM_UP_TASKS))
    costs = {steps: await _costs_us(bench, scale, scale.count(steps, 3)) for steps in PLAN_STEPS}
    rates = {stored: await _rates(bench, scale, scale.count(stored, 0)) for stored in STORED}
    empty, small = statistics.median(rates[STORED[0]]), statistics.median(costs[PLAN_STEPS[0]])
    runs = [
        min(
            [rates[stored][run] / empty for stored in STORED[1:]]
            + [small / costs[steps][run] for steps in PLAN_STEPS[1:]]
        )
        for run in range(scale.runs)
    ]
    detail = {
        "tasks_s_by_stored_tasks": {str(stored): rounded(statistics.median(found)) for stored, found in rates.items()},
        "cpu_us_a_step_by_plan_steps": {str(steps): rounded(statistics.median(us)) for steps, us in costs.items()},
        "store_bytes": int(bench.running.store.info("memory")["used_memory"]),
    }
    return [Measured(WAYBILL, "share", runs, detail, bench.versions)]


async def _costs_us(bench: Bench, scale: Scale, steps: int) -> list[float]:
    """Microseconds of processor time that a step takes in plans of so many steps, over all processes."""
    plan = plan_of(fan_and_join(steps - 2))
    tasks = max(1, scale.count(STEPS_A_RUN) // steps)
    await bench.wave(plan, 1)
    costs = []
    for _ in range(scale.runs):
        before = bench.cpu_seconds()
        await bench.wave(plan, tasks)
        # A small share of a small count may be over before the system's clock of processor time moves.
        costs.append(max(bench.cpu_us(before, tasks * steps)["sum"], 1.0))
    return costs


async def _rates(bench: Bench, scale: Scale, stored: int) -> list[float]:
    """Tasks a second with at least so many finished tasks stored."""
    await _fill(bench, stored)
    tasks = scale.count(TASKS)
    return [tasks / await bench.wave(ONE_STEP, tasks) for _ in range(scale.runs)]


async def _fill(bench: Bench, stored: int) -> None:
    """Have so many finished tasks in the store; the disk is not waited for meanwhile."""
    store = bench.running.store
    left = stored - store.zcard(keys.key("0", "index", bench.client.tenant))
    if left <= 0:
        return
    say(f"growth: storing {left:,} tasks")
    store.config_set("appendfsync", "no")
    url = bench.running.store_url
    async with bare_ledger(url, FILLING_AGENT) as bare:
        for first in range(0, left, FILL_AT_ONCE):
            await bare.run(min(FILL_AT_ONCE, left - first))
    store.config_set("appendfsync", "always")
    # A loop, because what is waited for happens in another process, which sets no event here.
    while store.info("persistence")["aof_rewrite_in_progress"]:  # noqa: ASYNC110
        await asyncio.sleep(SETTLE_SECONDS)
