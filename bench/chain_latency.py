"""How long does a step take that only waits for the one before? Chains of ten, one at a time.

The time runs from the submission until the client knows the result, divided by the steps. A client can follow a task in
two ways: `run`, which submits it and streams its events, and `submit` beside a stream of results. Both are measured,
and the faster one counts.
"""

from __future__ import annotations

import asyncio
import contextlib
import statistics
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from pathlib import Path

from disk import fsync_ms
from load import LISTEN_SECONDS, ONE_STEP, Bench, chain, plan_of, running_bench
from measurement import WAYBILL, Measured, Scale, percentile, rounded

STEPS = 10
CHAINS = 100
WARM_UP_CHAINS = 20
WARM_UP_TASKS = 500
PLAN = plan_of(chain(STEPS))


async def measure(scale: Scale) -> Sequence[Measured]:
    """On a suite of its own."""
    async with running_bench() as bench:
        return await measure_on(bench, scale)


async def measure_on(bench: Bench, scale: Scale) -> Sequence[Measured]:
    """Milliseconds a step, p50 of each run, beside the time that the store's disk needs for a sync."""
    chains, folder = scale.count(CHAINS), _store_folder(bench)
    await bench.wave(ONE_STEP, scale.count(WARM_UP_TASKS))
    for follow in WAYS.values():
        await follow(bench, scale.count(WARM_UP_CHAINS))
    latencies: dict[str, list[list[float]]] = {way: [] for way in WAYS}
    synced, before = [fsync_ms(folder)], bench.cpu_seconds()
    for _ in range(scale.runs):
        for way, follow in WAYS.items():
            latencies[way].append(await follow(bench, chains))
        synced.append(fsync_ms(folder))
    cpu_us = bench.cpu_us(before, scale.runs * len(WAYS) * chains * STEPS)
    p50 = {way: [percentile(run, 50) for run in runs] for way, runs in latencies.items()}
    best = min(p50, key=lambda way: statistics.median(p50[way]))
    detail = {
        "chains": chains,
        "api": best,
        "p99_ms": rounded(statistics.median(percentile(run, 99) for run in latencies[best])),
        "p50_ms_by_api": {way: rounded(statistics.median(values)) for way, values in p50.items()},
        "fsync_ms": {name: rounded(statistics.median(one[name] for one in synced)) for name in ("p50", "p99")},
        "cpu_us": cpu_us,
    }
    return [Measured(WAYBILL, "ms/step", p50[best], detail, bench.versions)]


def _store_folder(bench: Bench) -> Path:
    return Path(str(bench.running.store.config_get("dir")["dir"]))


async def _by_run(bench: Bench, chains: int) -> list[float]:
    took = []
    for _ in range(chains):
        began = time.perf_counter()
        async with bench.client.run(plan=PLAN) as run:
            await run.result()
        took.append((time.perf_counter() - began) * 1_000 / STEPS)
    return took


async def _by_results(bench: Bench, chains: int) -> list[float]:
    took, labels = [], {"chains": str(time.time_ns())}
    async with aclosing(bench.client.results(labels=labels, from_now=True)) as results:
        ended = asyncio.ensure_future(_next(results))
        await asyncio.sleep(LISTEN_SECONDS)
        for _ in range(chains):
            began = time.perf_counter()
            await bench.client.submit(plan=PLAN, labels=labels)
            await ended
            took.append((time.perf_counter() - began) * 1_000 / STEPS)
            ended = asyncio.ensure_future(_next(results))
        ended.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await ended
    return took


async def _next(results: AsyncGenerator[object, None]) -> object:
    return await anext(results)


WAYS = {"run": _by_run, "results": _by_results}
