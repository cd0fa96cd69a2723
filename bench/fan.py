"""How long do one step, a thousand that wait for it, and one that waits for all of them take?"""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from load import ONE_STEP, Bench, fan_and_join, plan_of, running_bench
from measurement import WAYBILL, Measured, Scale, rounded

WIDTH = 1_000
FANS_A_RUN = 5
WARM_UP_FANS = 3
WARM_UP_TASKS = 500


async def measure(scale: Scale) -> Sequence[Measured]:
    """On a suite of its own."""
    async with running_bench() as bench:
        return await measure_on(bench, scale)


async def measure_on(bench: Bench, scale: Scale) -> Sequence[Measured]:
    """Seconds from the submission until the client knows the result: of each run the median of a few, one by one."""
    width = scale.count(WIDTH)
    plan = plan_of(fan_and_join(width))
    await bench.wave(ONE_STEP, scale.count(WARM_UP_TASKS))
    for _ in range(scale.count(WARM_UP_FANS)):
        await bench.wave(plan, 1)
    before = bench.cpu_seconds()
    fans = scale.count(FANS_A_RUN)
    runs = [[await bench.wave(plan, 1) for _ in range(fans)] for _ in range(scale.runs)]
    single = [seconds for run in runs for seconds in run]
    detail = {
        "width": width,
        "fans_a_run": fans,
        "fastest_s": rounded(min(single)),
        "slowest_s": rounded(max(single)),
        "cpu_us": bench.cpu_us(before, (width + 2) * len(single)),
    }
    return [Measured(WAYBILL, "s", [statistics.median(run) for run in runs], detail, bench.versions)]
