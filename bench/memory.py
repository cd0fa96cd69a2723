"""How much memory Waybill takes: every service idle and under load, and the store for each task.

As a benchmark it starts a suite, and the value is the resident memory of a worker that has run nothing yet, with every
process that it has started. As a program of its own it says how many bytes of the store a finished task takes, and a
step of a wide plan, in one line of JSON, and exits with 1 if a server is over the target.

For the latter the ledger is driven in this process by a worker that is no process, so nothing but the store is
measured: by what its `used_memory` grows, and by `MEMORY USAGE` of every key. Without `--store-option` the servers have
the settings that Waybill gives to its own.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import shutil
import sys
import tempfile
import uuid
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from load import ONE_STEP, running_bench
from load import Bench as LoadBench
from measurement import WAYBILL, Measured, Scale

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "ledger"))

from ledger_hand import Hand, succeeded
from ledger_plans import fan_and_join, graph
from store_servers import Server, binary_of

from waybill.cli.suite import COMPACT_SETTINGS
from waybill.core.plan import Graph
from waybill.ledger import keys
from waybill.ledger.ledger import Ledger, new_task_id
from waybill.ledger.records import Accepted, Grant, NewTask

TARGET_BYTES = 2_048
"""What a finished one-step task, or a step of a wide plan, may take with its events."""
OUTPUT = b'{"title": "An answer", "score": 0.87, "items": 12}'
WARM_UP_TASKS = 1_000
SUBMITTED_AT_ONCE = 100
LOAD_TASKS = 20_000
STORE_TASKS = 10_000
SETTLE_SECONDS = 3.0
SAMPLE_SECONDS = 0.1
# As long as the worker ids of a suite, which stand in every step and in two of its events.
WORKER_NAME = "worker-1.b57f2e00db"


@dataclass(frozen=True)
class Growth:
    """What one unit (a task, or a step) added to the store. `by_key_bytes` is MEMORY USAGE by kind of key; what that
    leaves of the growth is the server's own: its table of keys, and what its allocator rounds up.
    """

    bytes: float
    by_key_bytes: dict[str, float]


@dataclass(frozen=True)
class Measurement:
    """What was measured on one server."""

    server: str
    one_step_task: Growth
    wide_plan_step: Growth

    @property
    def within_target(self) -> bool:
        """Whether both are."""
        return max(self.one_step_task.bytes, self.wide_plan_step.bytes) <= TARGET_BYTES


class Bench:
    """One server under measurement, and the worker that runs what is submitted."""

    def __init__(self, server: Server, ledger: Ledger, *, traced: bool) -> None:
        self._ledger = ledger
        self._client = server.client()
        self._hand = Hand(ledger, WORKER_NAME, slots=64, max_batch=64)
        self._traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01" if traced else ""

    async def measure(self, tasks: int, width: int, wide_tasks: int) -> Measurement:
        """Run everything and say what it left."""
        await self._hand.register()
        one_step, wide = graph({"only": []}), graph(fan_and_join(width))
        await self._run(WARM_UP_TASKS, one_step)
        await self._run(1, wide)
        info = self._client.info("server")
        name, version = (
            ("Valkey", info["valkey_version"]) if "valkey_version" in info else ("Redis", info["redis_version"])
        )
        return Measurement(
            f"{name} {version}", await self._growth(tasks, one_step, 1), await self._growth(wide_tasks, wide, width + 2)
        )

    async def _growth(self, tasks: int, planned: Graph, units_a_task: int) -> Growth:
        used, by_key = self._used_bytes(), self._bytes_by_key()
        await self._run(tasks, planned)
        units = tasks * units_a_task
        grown = self._bytes_by_key()
        grown.subtract(by_key)
        return Growth(
            round((self._used_bytes() - used) / units, 1),
            {kind: round(size / units, 1) for kind, size in grown.most_common() if size / units >= 0.1},
        )

    def _used_bytes(self) -> int:
        return int(self._client.info("memory")["used_memory"])

    def _bytes_by_key(self) -> Counter[str]:
        """MEMORY USAGE of all keys, by kind."""
        sizes: Counter[str] = Counter()
        names = list(self._client.scan_iter(count=1_000))
        for first in range(0, len(names), 1_000):
            pipeline = self._client.pipeline(transaction=False)
            for name in names[first : first + 1_000]:
                pipeline.memory_usage(name, samples=0)
            for name, size in zip(names[first : first + 1_000], pipeline.execute(), strict=True):
                sizes[_kind(name)] += size
        return sizes

    async def _run(self, tasks: int, planned: Graph) -> None:
        """Submit and run tasks to their ends."""
        for first in range(0, tasks, SUBMITTED_AT_ONCE):
            count = min(SUBMITTED_AT_ONCE, tasks - first)
            results = await self._ledger.submit([self._new_task(planned) for _ in range(count)])
            assert all(isinstance(result, Accepted) for result in results), results
            granted: Sequence[Grant] = await self._hand.take()
            while granted:
                reply = await self._hand.exchange(*(succeeded(grant, OUTPUT) for grant in granted))
                granted = reply.grants

    def _new_task(self, planned: Graph) -> NewTask:
        return NewTask(
            id=new_task_id(),
            tenant="default",
            request_id=str(uuid.uuid4()),
            fingerprint=uuid.uuid4().hex,
            graph=planned,
            traceparent=self._traceparent,
        )


def _kind(name: bytes) -> str:
    return name.decode().removeprefix(keys.prefix("0") + ":").partition(":")[0]


async def measure(scale: Scale) -> Sequence[Measured]:
    """Resident memory of an idle worker, on a suite of its own for each run."""
    runs, detail, versions = [], dict[str, Any](), dict[str, str]()
    for _ in range(scale.runs):
        async with running_bench() as bench:
            await asyncio.sleep(SETTLE_SECONDS * scale.share)
            value, detail = await _services(bench, scale)
            versions = bench.versions
        runs.append(value)
    store = await measure_server("embedded", _arguments([f"--tasks={scale.count(STORE_TASKS)}"]))
    detail["store_bytes"] = {"one_step_task": store.one_step_task.bytes, "wide_plan_step": store.wide_plan_step.bytes}
    return [Measured(WAYBILL, "MiB", runs, detail, versions)]


async def _services(bench: LoadBench, scale: Scale) -> tuple[float, dict[str, Any]]:
    """The larger of the idle workers, and all services: idle, the most under load, and afterwards."""
    idle = bench.running.rss_bytes()
    most = dict(idle)
    working = asyncio.create_task(bench.wave(ONE_STEP, scale.count(LOAD_TASKS)))
    while not working.done():
        await asyncio.wait([working], timeout=SAMPLE_SECONDS)
        most = {name: max(size, most.get(name, 0)) for name, size in bench.running.rss_bytes().items()}
    await working
    by_moment = {"idle": idle, "under_load": most, "afterwards": bench.running.rss_bytes()}
    detail = {f"rss_mib_{moment}": {name: _mib(size) for name, size in by.items()} for moment, by in by_moment.items()}
    return max(_mib(size) for name, size in idle.items() if name.startswith("worker")), {
        **detail,
        "load_tasks": scale.count(LOAD_TASKS),
    }


def _mib(size_bytes: int) -> float:
    return round(size_bytes / 1024 / 1024, 1)


async def measure_server(kind: str, arguments: argparse.Namespace) -> Measurement:
    """Start a server of a kind, measure, stop it."""
    with tempfile.TemporaryDirectory() as folder:
        settings = arguments.store_option or [f"--{name}={value}" for name, value in COMPACT_SETTINGS.items()]
        options = [word for setting in settings for word in setting.split("=", 1)]
        server = Server(binary_of(kind), Path(folder), options).start()
        try:
            ledger = Ledger(server.url)
            await ledger.connect()
            try:
                bench = Bench(server, ledger, traced=not arguments.untraced)
                return await bench.measure(arguments.tasks, arguments.width, arguments.wide_tasks)
            finally:
                await ledger.close()
        finally:
            server.kill()


def main() -> int:
    """Measure each server that there is."""
    arguments = _arguments(None)
    kinds = ["embedded", *(["redis"] if shutil.which("redis-server") else [])]
    found = [asyncio.run(measure_server(kind, arguments)) for kind in kinds]
    within = all(measurement.within_target for measurement in found)
    print(
        json.dumps(
            {
                "within_target": within,
                "target_bytes": TARGET_BYTES,
                "servers": [asdict(measurement) for measurement in found],
                "tasks": arguments.tasks,
                "width": arguments.width,
                "wide_tasks": arguments.wide_tasks,
                "traced": not arguments.untraced,
            }
        )
    )
    return 0 if within else 1


def _arguments(words: Sequence[str] | None) -> argparse.Namespace:
    """How much is measured, as the words of a command line say, or those of this program."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--tasks", type=int, default=10_000, help="one-step tasks")
    parser.add_argument("--width", type=int, default=1_000, help="steps in the middle of the wide plan")
    parser.add_argument("--wide-tasks", type=int, default=10, help="tasks with the wide plan")
    parser.add_argument("--untraced", action="store_true", help="tasks carry no trace context; those of a gateway do")
    parser.add_argument(
        "--store-option", action="append", default=[], metavar="--NAME=VALUE", help="a setting of the servers"
    )
    return parser.parse_args(words)


if __name__ == "__main__":
    sys.exit(main())
