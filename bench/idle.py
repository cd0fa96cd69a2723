"""What does a suite cost that has nothing to do?

The suite has run some tasks, so that all that the ledger keeps is there, and is then left alone. The value is how many
commands its store executes a second, those that the ledger's functions execute included. Beside it stand the processor
time of every process, as a share of one processor, and the commands that come most often.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from typing import Any

from load import ONE_STEP, Bench, running_bench
from measurement import WAYBILL, Measured, Scale, rounded

STEP_TASKS = 1_000
SETTLE_SECONDS = 5.0
IDLE_SECONDS = 20.0
SHOWN = 20
OUR_OWN = ("config|resetstat", "info")


async def measure(scale: Scale) -> Sequence[Measured]:
    """On a suite of its own."""
    async with running_bench() as bench:
        return await measure_on(bench, scale)


async def measure_on(bench: Bench, scale: Scale) -> Sequence[Measured]:
    """Commands a second of each run, and what else the last one found."""
    await bench.wave(ONE_STEP, scale.count(STEP_TASKS))
    await asyncio.sleep(SETTLE_SECONDS * scale.share)
    rates, detail = [], {}
    for _ in range(scale.runs):
        rate, detail = await _idle(bench, IDLE_SECONDS * scale.share)
        rates.append(rate)
    return [Measured(WAYBILL, "commands/s", rates, detail, bench.versions)]


async def _idle(bench: Bench, seconds: float) -> tuple[float, dict[str, Any]]:
    """Commands a second while nothing is to be done, and what they are, and what they cost."""
    store = bench.running.store
    store.config_resetstat()
    before, began = bench.cpu_seconds(), time.perf_counter()
    await asyncio.sleep(seconds)
    spent = time.perf_counter() - began
    after, calls = bench.cpu_seconds(), _calls(store.info("commandstats"))
    rates = {name: rounded(count / spent) for name, count in calls.items()}
    # The client is this process, and is no part of the suite.
    shares = {name: 100 * (after[name] - before[name]) / spent for name in after if name != "client"}
    return sum(rates.values()), {
        "idle_seconds": rounded(spent),
        "cpu_percent": rounded(sum(shares.values())),
        "cpu_percent_by_process": {name: rounded(share) for name, share in shares.items()},
        "commands_s": dict(sorted(rates.items(), key=lambda item: -item[1])[:SHOWN]),
    }


def _calls(commandstats: Mapping[str, Mapping[str, Any]]) -> dict[str, int]:
    """How often each command was executed, by whomever but this benchmark."""
    calls = {name.removeprefix("cmdstat_"): int(stats["calls"]) for name, stats in commandstats.items()}
    return {name: count for name, count in calls.items() if name not in OUR_OWN or count > 1}
