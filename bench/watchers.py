"""How late do watchers hear of an event, when there are a thousand of them and a tenth reads nothing?

A hundred tasks stream texts, ten watchers each, over twenty connections to the gateway; the tenth of them that stalls
has fallen far behind what a connection holds by the end. The delay is that from an event's time in the ledger to its
receipt by a watcher that reads, on the one clock of this machine. Every watcher must see every event, also those that
stalled, once they read on.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

import psutil
from load import ONE_STEP, Bench, running_bench
from measurement import WAYBILL, Measured, Scale, percentile, rounded
from own_processes import Answerer, answering

from waybill.errors import WaybillError
from waybill.resources import Submission

TASKS = 100
WATCHERS_A_TASK = 10
CONNECTIONS = 20
PROCESSES = 2
TEXTS = 40
TEXT_CHARS = 4_096
INTERVAL_SECONDS = 0.4
AGENT = "narrate"
SLOTS = 64
_SAMPLE_SECONDS = 0.2


@dataclass
class Memory:
    """What the gateway's memory was at first and at most."""

    first_bytes: int
    most_bytes: int


async def measure(scale: Scale) -> Sequence[Measured]:
    """On a suite of its own."""
    async with running_bench({"WAYBILL_WORKER_SLOTS": str(SLOTS)}) as bench:
        return await measure_on(bench, scale)


async def measure_on(bench: Bench, scale: Scale) -> Sequence[Measured]:
    """The delay that one in a hundred deliveries exceeds, in milliseconds."""
    tasks, texts = scale.count(TASKS, PROCESSES), scale.count(TEXTS)
    await bench.wave(ONE_STEP, scale.count(500))
    runs, detail = [], {}
    for _ in range(scale.runs):
        async with watching_processes(bench.running.suite.grpc_address) as processes:
            delays, detail = await _run(bench, processes, tasks, texts)
        runs.append(percentile(delays, 99))
    return [Measured(WAYBILL, "ms", runs, detail, bench.versions)]


@asynccontextmanager
async def watching_processes(address: str) -> AsyncIterator[list[Answerer]]:
    """Start the processes of watchers, connected and ready."""
    async with AsyncExitStack() as stack:
        arguments = ("watching.py", address, str(CONNECTIONS // PROCESSES))
        yield [await stack.enter_async_context(answering(*arguments)) for _ in range(PROCESSES)]


async def _run(
    bench: Bench, processes: Sequence[Answerer], tasks: int, texts: int
) -> tuple[list[float], dict[str, Any]]:
    """The delays of all texts that were read as they came, and what else there is to say of them."""
    names = await _paused_tasks(bench, tasks, texts)
    share = [name for name in names for _ in range(WATCHERS_A_TASK // len(processes))]
    opened = await asyncio.gather(*(process.ask(" ".join(share)) for process in processes))
    gateway = psutil.Process(bench.running.pid("gateway"))
    memory = Memory(gateway.memory_info().rss, 0)
    sampling = asyncio.create_task(_sample(gateway, memory))
    before = bench.cpu_seconds()
    try:
        await bench.client.resume_agent(AGENT)
        reports: list[dict[str, Any]] = list(await asyncio.gather(*(process.ask("report") for process in processes)))
    finally:
        sampling.cancel()
        with suppress(asyncio.CancelledError):
            await sampling
    _check(reports, texts)
    delays = [delay for report in reports for delay, count in report["delays_ms"] for _ in range(count)]
    seconds = texts * INTERVAL_SECONDS
    return delays, {
        "watchers": len(share) * len(processes),
        "stalled": sum(int(answer["stalled"]) for answer in opened),
        "connections": CONNECTIONS,
        "tasks": tasks,
        "deliveries": len(delays),
        "deliveries_per_second": rounded(len(delays) / seconds),
        "p50_ms": percentile(delays, 50),
        "p99_ms": percentile(delays, 99),
        "max_ms": max(delays, default=0),
        "missing": 0,
        "gateway_rss_mib": {"before": _mib(memory.first_bytes), "most": _mib(memory.most_bytes)},
        "cpu_us_a_delivery": bench.cpu_us(before, len(delays)),
        "watching_cpu_share": rounded(sum(report["cpu_seconds"] for report in reports) / seconds),
    }


async def _paused_tasks(bench: Bench, tasks: int, texts: int) -> list[str]:
    """Names of tasks that begin to tell once their agent is resumed, each at another moment of the interval."""
    await bench.client.pause_agent(AGENT)
    accepted = await bench.client.submit_many([Submission(plan=_plan(texts, at / tasks)) for at in range(tasks)])
    names = []
    for task in accepted:
        if isinstance(task, WaybillError):
            raise task
        names.append(task.name)
    return names


def _plan(texts: int, phase: float) -> dict[str, Any]:
    given = {"texts": texts, "chars": TEXT_CHARS, "interval_seconds": INTERVAL_SECONDS, "phase": phase}
    return {"steps": [{"name": "only", "agent": AGENT, "input": given}]}


def _check(reports: Sequence[dict[str, Any]], texts: int) -> None:
    """Raise RuntimeError if a watcher has missed anything."""
    missing = sum(report["missing"] for report in reports)
    unfinished = sum(report["unfinished"] for report in reports)
    wrong = sum(count != texts for report in reports for count in report["texts"])
    if missing or unfinished or wrong:
        raise RuntimeError(
            f"watchers missed {missing} events, {unfinished} saw no end, {wrong} saw more or less than {texts} texts: "
            f"{json.dumps([report['texts'][:20] for report in reports])}"
        )


async def _sample(gateway: psutil.Process, memory: Memory) -> None:
    while True:
        memory.most_bytes = max(memory.most_bytes, gateway.memory_info().rss)
        await asyncio.sleep(_SAMPLE_SECONDS)


def _mib(size_bytes: int) -> float:
    return rounded(size_bytes / 2**20)
