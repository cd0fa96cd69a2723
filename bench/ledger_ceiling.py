"""How near does throughput come to what the ledger's functions can do without any service around them?

The ledger is driven by one process that submits and two that settle, on a store that writes to disk before it answers.
Throughput is measured beside it, in turns.
"""

from __future__ import annotations

from collections.abc import Sequence

import psutil
import redis
import throughput
from bare_ledger import BareLedger, bare_ledger
from load import ONE_STEP, Bench, running_bench
from measurement import WAYBILL, Measured, Scale, rounded, store_version
from peer_store import store_server

LEDGER = "ledger"
AGENT = "bare"


async def measure(scale: Scale) -> Sequence[Measured]:
    """On a suite of its own."""
    async with running_bench() as bench:
        return await measure_on(bench, scale)


async def measure_on(bench: Bench, scale: Scale) -> Sequence[Measured]:
    """Tasks a second of both, and what a task took of the processors in the bare ledger's store and clients."""
    tasks, warm_up = scale.count(throughput.TASKS), scale.count(throughput.WARM_UP_TASKS)
    with store_server("always") as url, redis.Redis.from_url(url, protocol=2) as store:
        async with bare_ledger(url, AGENT) as bare:
            await bare.run(warm_up)
            await bench.wave(ONE_STEP, warm_up)
            before, suite_before = _cpu_seconds(store, bare), bench.cpu_seconds()
            of_ledger, of_waybill = [], []
            for _ in range(scale.runs):
                of_ledger.append(tasks / await bare.run(tasks))
                of_waybill.append(tasks / await bench.wave(ONE_STEP, tasks))
            after = _cpu_seconds(store, bare)
        done = tasks * scale.runs
        cpu_us = {name: rounded((after[name] - before[name]) / done * 1e6) for name in after}
        versions = {"store": store_version(store)}
    return [
        Measured(
            WAYBILL, "tasks/s", of_waybill, {"tasks": tasks, "cpu_us": bench.cpu_us(suite_before, done)}, versions
        ),
        Measured(LEDGER, "tasks/s", of_ledger, {"tasks": tasks, "cpu_us": cpu_us}, versions),
    ]


def _cpu_seconds(store: redis.Redis, bare: BareLedger) -> dict[str, float]:
    server = psutil.Process(int(store.info("server")["process_id"])).cpu_times()
    clients = [psutil.Process(pid).cpu_times() for pid in bare.pids]
    return {
        "store": server.user + server.system,
        "clients": sum(used.user + used.system for used in clients),
    }
