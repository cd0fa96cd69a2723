"""Many tasks through the whole suite with retention on: does memory stay flat, in the store and in every process?

Tasks are submitted through the gateway at a steady rate, one in a hundred is watched and read like a client does it,
and ended tasks expire after seconds. So the number of tasks in the store stays the same, and whatever grows leaks.
Prints one line of JSON; exits with 1 unless every series is flat and nothing is left at the end.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import statistics
import sys
import time
import uuid
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

import psutil
from bench_suite import RunningSuite, running_suite

from waybill.client import Client
from waybill.core.task import TaskState
from waybill.errors import WaybillError
from waybill.ledger import keys
from waybill.resources import Submission, Task

FLAT_BYTES_A_TASK = 32.0
"""What a series may grow for each task: less than remembering one task costs, which is its id and an entry."""
NOISE_BYTES = 2 * 1024 * 1024
"""What a series may differ by whatever the number of tasks: buffers and allocators breathe."""
WATCHED_OF = 100
SAMPLE_SECONDS = 1.0
DRAIN_SECONDS = 120.0
PLAN = {"steps": [{"name": "only", "agent": "noop", "input": {}}]}


@dataclass(frozen=True)
class Sample:
    """One look at everything; `submitted` is how many tasks had been accepted."""

    submitted: int
    unfinished: int
    kept: int
    store_bytes: int
    aof_bytes: int
    rss_bytes: dict[str, int]


@dataclass(frozen=True)
class Series:
    """A series of sizes: its medians between 20 % and 40 % of the tasks, and in the last 20 %."""

    early_bytes: int
    late_bytes: int
    bytes_a_task: float
    flat: bool


@dataclass
class Soak:
    """The load, and what was seen of it."""

    running: RunningSuite
    client: Client
    tasks: int
    rate: float
    in_flight: int
    batch: int
    submitted: int = 0
    watched: int = 0
    failures: list[str] = field(default_factory=list)
    samples: list[Sample] = field(default_factory=list)

    async def run(self) -> None:
        """Submit everything, sampling all along, and wait until nothing is left of it."""
        sampling = asyncio.create_task(self._sample_until_cancelled())
        try:
            await self._load()
        finally:
            sampling.cancel()
        deadline = time.monotonic() + DRAIN_SECONDS
        # A loop, here and below, because what is waited for happens in other processes, which set no event here.
        while self.look().kept and time.monotonic() < deadline:  # noqa: ASYNC110
            await asyncio.sleep(SAMPLE_SECONDS)

    def look(self) -> Sample:
        """How things are now."""
        store = self.running.store
        info = store.info()
        kept = int(store.zcard(keys.key("0", "index", self.client.tenant)))
        ended = int(store.zcard(keys.key("0", "expiry")))
        return Sample(
            self.submitted,
            max(0, kept - ended),
            kept,
            int(info["used_memory"]),
            int(info["aof_current_size"]),
            self.running.rss_bytes(),
        )

    async def _sample_until_cancelled(self) -> None:
        while True:
            self.samples.append(await asyncio.to_thread(self.look))
            await asyncio.sleep(SAMPLE_SECONDS)

    async def _load(self) -> None:
        began, watching = time.monotonic(), set[asyncio.Task[None]]()
        while self.submitted < self.tasks:
            due = began + self.submitted / self.rate
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            while self.samples and self.samples[-1].unfinished > self.in_flight:  # noqa: ASYNC110
                await asyncio.sleep(SAMPLE_SECONDS / 4)
            count = min(self.batch, self.tasks - self.submitted)
            accepted = await self.client.submit_many(
                Submission(plan=PLAN, request_id=str(uuid.uuid4())) for _ in range(count)
            )
            self._note(accepted)
            chosen = [task for task in accepted[::WATCHED_OF] if isinstance(task, Task)]
            for task in chosen:
                watch = asyncio.create_task(self._watch(task))
                watching.add(watch)
                watch.add_done_callback(watching.discard)
        await asyncio.gather(*watching)

    def _note(self, accepted: Sequence[Task | WaybillError]) -> None:
        self.submitted += len(accepted)
        self.failures += [str(result) for result in accepted if isinstance(result, WaybillError)]

    async def _watch(self, task: Task) -> None:
        try:
            events = [event async for event in self.client.watch(task)]
        except WaybillError as error:
            self.failures.append(f"{task.name}: {error}")
            return
        self.watched += 1
        if not events or events[-1].state is not TaskState.SUCCEEDED:
            self.failures.append(f"{task.name} did not succeed")


def series_of(samples: Sequence[Sample], sizes: Sequence[int], tasks: int) -> Series:
    """What became of one size over the run."""
    early = [size for sample, size in zip(samples, sizes, strict=True) if 0.2 <= sample.submitted / tasks < 0.4]
    late = [size for sample, size in zip(samples, sizes, strict=True) if sample.submitted / tasks >= 0.8]
    before, after = int(statistics.median(early)), int(statistics.median(late))
    between = 0.6 * tasks  # from the middle of the early window to that of the late one
    flat = after - before <= NOISE_BYTES + FLAT_BYTES_A_TASK * between
    return Series(before, after, round((after - before) / between, 1), flat)


async def soak(arguments: argparse.Namespace) -> tuple[bool, dict[str, object]]:
    """Run the load on a suite of its own; the verdict and the report."""
    environment = {"WAYBILL_DISPATCHER_RETENTION_SECONDS": str(arguments.retention_seconds)}
    async with running_suite(workers=1, environment=environment) as running:
        async with Client(running.suite.grpc_address) as client:
            load = Soak(running, client, arguments.tasks, arguments.rate, arguments.in_flight, arguments.batch)
            began = time.monotonic()
            await load.run()
            seconds = time.monotonic() - began
            end = load.look()
            left = sorted({name.split(b":")[2].decode() for name in running.store.scan_iter(count=1_000)})
        samples = load.samples
        if arguments.samples:
            arguments.samples.write_text("".join(json.dumps(asdict(sample)) + "\n" for sample in samples))
        series = {"store": series_of(samples, [sample.store_bytes for sample in samples], arguments.tasks)}
        for name in samples[0].rss_bytes:
            sizes = [sample.rss_bytes.get(name, 0) for sample in samples]
            series[f"{name} rss"] = series_of(samples, sizes, arguments.tasks)
    flat = all(found.flat for found in series.values())
    done = not load.failures and end.kept == 0
    aof = [sample.aof_bytes for sample in samples]
    report = {
        "flat": flat,
        "tasks": load.submitted,
        "watched": load.watched,
        "failures": len(load.failures),
        "first_failures": load.failures[:3],
        "seconds": round(seconds, 1),
        "kept_at_end": end.kept,
        "key_kinds_at_end": left,
        "most_kept": max(sample.kept for sample in samples),
        "most_unfinished": max(sample.unfinished for sample in samples),
        "series": {name: asdict(found) for name, found in series.items()},
        "aof_most_bytes": max(aof),
        "aof_end_bytes": end.aof_bytes,
        "store_end_bytes": end.store_bytes,
        "date": datetime.now(UTC).date().isoformat(),
        "cpus": os.cpu_count(),
        "memory_bytes": psutil.virtual_memory().total,
        "machine": platform.machine(),
    }
    return flat and done, report


def main() -> int:
    """Run the soak and print its report."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--tasks", type=int, default=200_000, help="one-step tasks to submit")
    parser.add_argument("--rate", type=float, default=400.0, help="tasks to submit a second")
    parser.add_argument("--in-flight", type=int, default=2_000, help="unfinished tasks above which submitting waits")
    parser.add_argument("--batch", type=int, default=100, help="tasks in one call")
    parser.add_argument("--retention-seconds", type=int, default=5, help="how long ended tasks are kept")
    parser.add_argument("--samples", type=Path, help="file for all samples, one JSON a line")
    arguments = parser.parse_args()
    good, report = asyncio.run(soak(arguments))
    print(json.dumps(report))
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
