"""Do tenants get what they weigh, and how soon does a newcomer start? Writes `results/fairness.json`.

Two workers and an agent of short steps. First two tenants of equal weight, then of 3 to 1, one with 100 times the
backlog of the other: the share that the small one gets while its steps wait. Then, beside the large backlog, tenants
that come new with one step: milliseconds from ready to started, beside the time that a batch is meant to take.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from batching import FOLLOWED_SECONDS
from load import running_bench
from measurement import machine, percentile, rounded

from waybill.client import Client
from waybill.errors import FailedPrecondition
from waybill.resources import Step, Task

RESULTS = Path(__file__).resolve().parent / "results" / "fairness.json"
STEP_SECONDS, WIDTH = 0.02, 500
SMALL_STEPS = 250
NEWCOMERS = 20


def _plan(count: int) -> dict[str, Any]:
    return {"steps": [{"name": f"s{at}", "agent": "pause", "input": {"seconds": STEP_SECONDS}} for at in range(count)]}


async def _cancel(client: Client, tasks: Sequence[Task]) -> None:
    for task in tasks:
        # Some of the backlog has ended.
        with contextlib.suppress(FailedPrecondition):
            await client.cancel(task)


async def _starts(client: Client, tasks: Sequence[Task]) -> list[Step]:
    found = [step for task in tasks for step in await client.steps(task)]
    return [step for step in found if step.start_time is not None]


async def share_of(crowd: Client, small: Client, backlog: int) -> float:
    """The part of all starts that the small tenant got, from its first to its last."""
    many = [await crowd.submit(plan=_plan(WIDTH)) for _ in range(backlog // WIDTH)]
    task = await small.submit(plan=_plan(SMALL_STEPS))
    await small.result(task)
    own = sorted(step.start_time for step in await _starts(small, [task]) if step.start_time)
    others = [step for step in await _starts(crowd, many) if step.start_time and own[0] <= step.start_time <= own[-1]]
    await _cancel(crowd, many)
    return len(own) / (len(own) + len(others))


async def newcomers(address: str, crowd: Client, backlog: int) -> list[float]:
    """Milliseconds until the one step of a tenant that comes new has started, for each."""
    many = [await crowd.submit(plan=_plan(WIDTH)) for _ in range(backlog // WIDTH)]
    waits = []
    for number in range(NEWCOMERS):
        async with Client(address, tenant=f"new-{number}-{time.time_ns()}") as client:
            task = await client.submit(plan=_plan(1))
            await client.result(task)
            (step,) = await client.steps(task)
            assert step.ready_time
            assert step.start_time
            waits.append((step.start_time - step.ready_time).total_seconds() * 1000)
    left = [step for task in many for step in await crowd.steps(task) if step.start_time is None]
    assert left, "the backlog was to last longer than the newcomers"
    await _cancel(crowd, many)
    return waits


async def measure(backlog: int) -> list[dict[str, Any]]:
    """One object for each pair of weights, and one of the newcomers."""
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="waybill-shares-") as folder:
        file = Path(folder) / "shares.toml"
        file.write_text("")
        async with running_bench({"WAYBILL_DISPATCHER_SHARES_FILE": str(file)}) as bench:
            address = bench.running.suite.grpc_address
            async with Client(address, tenant="crowd") as crowd, Client(address, tenant="small") as small:
                for weight in (1, 3):
                    file.write_text(f"[tenants.small]\nweight = {weight}\n")
                    await asyncio.sleep(FOLLOWED_SECONDS)
                    share, fair = await share_of(crowd, small, backlog), weight / (weight + 1)
                    row = {"weights": f"{weight}:1", "share": rounded(share), "by_weight": fair}
                    rows.append({"bench": "fairness", **row, "off_percent": rounded(100 * abs(share - fair) / fair)})
                waits = await newcomers(address, crowd, backlog)
                found = {"p50_ms": percentile(waits, 50), "p99_ms": percentile(waits, 99), "batch_target_ms": 50}
                rows.append({"bench": "fairness", "newcomers": NEWCOMERS, **found})
    return [{**row, "machine": machine()} for row in rows]


def main() -> None:
    """Measure, write and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--backlog", type=int, default=100 * SMALL_STEPS)
    rows = asyncio.run(measure(parser.parse_args().backlog))
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(rows, indent=2) + "\n")
    for row in rows:
        print(json.dumps(row))


if __name__ == "__main__":
    main()
