"""Do adaptive batches beat batches of 1 and of 64 on mixed loads? Writes `results/batching.json`.

Two workers, two loads, each laid down at once: `two agents`, where steps that end at once wait beside steps of another
agent that take their time; and `one agent`, of whose steps one in twenty takes its time. Of each: steps a second over
all, and how long after they were ready short steps have ended. The three ways to batch take turns on the same suite, so
that what else the machine does is fair to all.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from load import Bench, running_bench
from measurement import machine, percentile, rounded, say

from waybill.core.task import TaskState
from waybill.resources import Step

RESULTS = Path(__file__).resolve().parent / "results" / "batching.json"
FOLLOWED_SECONDS = 4.0
"""So long the dispatcher may take to notice that its file has changed."""
SLOW_SECONDS = 0.1
QUICK_STEPS, SLOW_STEPS, WIDTH = 8_000, 800, 400
WAYS = {"adaptive": "", "batches of 1": "batch = 1", "batches of 64": "batch = 64"}


@dataclass(frozen=True)
class Run:
    """One load, all of it run."""

    steps_per_second: float
    short_p50_ms: float
    short_p99_ms: float


def _plan(steps: Sequence[tuple[str, Mapping[str, Any]]]) -> dict[str, Any]:
    return {"steps": [{"name": f"s{at}", "agent": agent, "input": given} for at, (agent, given) in enumerate(steps)]}


QUICK, SLOW, SHORT = ("noop", {}), ("pause", {"seconds": SLOW_SECONDS}), ("pause", {"seconds": 0})
UNEVEN = [SLOW if at % 20 == 10 else SHORT for at in range(WIDTH)]


def loads(share: float) -> dict[str, list[dict[str, Any]]]:
    """The plans of each load; slow steps are there first."""
    quick, slow = (max(1, round(share * count / WIDTH)) for count in (QUICK_STEPS, SLOW_STEPS))
    return {
        "two agents": [_plan([SLOW] * WIDTH)] * slow + [_plan([QUICK] * WIDTH)] * quick,
        "one agent": [_plan(UNEVEN)] * quick,
    }


def _is_short(plan: Mapping[str, Any], step: Step) -> bool:
    given = plan["steps"][int(step.id.removeprefix("s"))]["input"]
    return not given.get("seconds")


async def run_once(bench: Bench, plans: Sequence[Mapping[str, Any]]) -> Run:
    """Submit all plans and wait for all to end."""
    began = time.perf_counter()
    tasks = await asyncio.gather(*(bench.client.submit(plan=plan) for plan in plans))
    left = {task.name for task in tasks}
    while left:
        await asyncio.sleep(0.1)
        for name in list(left):
            found = await bench.client.get(name)
            if found.state.ended:
                assert found.state is TaskState.SUCCEEDED, found.failure
                left.remove(name)
    seconds = time.perf_counter() - began
    shorts = []
    for plan, task in zip(plans, tasks, strict=True):
        for step in await bench.client.steps(task):
            assert step.ready_time
            assert step.end_time
            if _is_short(plan, step):
                shorts.append((step.end_time - step.ready_time).total_seconds() * 1000)
    count = sum(len(plan["steps"]) for plan in plans)
    return Run(count / seconds, percentile(shorts, 50), percentile(shorts, 99))


async def measure(runs: int, share: float) -> dict[str, dict[str, list[Run]]]:
    """Runs by load and way."""
    found: dict[str, dict[str, list[Run]]] = {}
    with tempfile.TemporaryDirectory(prefix="waybill-shares-") as folder:
        file = Path(folder) / "shares.toml"
        file.write_text("")
        async with running_bench({"WAYBILL_DISPATCHER_SHARES_FILE": str(file)}) as bench:
            for name, plans in loads(share).items():
                await run_once(bench, [_plan([QUICK] * 50), _plan([SHORT] * 50)])
                for number in range(runs):
                    for way, terms in WAYS.items():
                        file.write_text("".join(f"[agents.{agent}]\n{terms}\n" for agent in ("noop", "pause") if terms))
                        await asyncio.sleep(FOLLOWED_SECONDS)
                        run = await run_once(bench, plans)
                        say(f"{name}, {way}, run {number + 1}: {run}")
                        found.setdefault(name, {}).setdefault(way, []).append(run)
    return found


def summary(found: Mapping[str, Mapping[str, Sequence[Run]]]) -> list[dict[str, Any]]:
    """Medians of each load and way, and what each comes to beside the adaptive one of the same load."""
    rows = []
    for load, ways in found.items():
        for way, runs in ways.items():
            row: dict[str, Any] = {"bench": "batching", "load": load, "way": way, "machine": machine()}
            for field in ("steps_per_second", "short_p50_ms", "short_p99_ms"):
                values = [getattr(run, field) for run in runs]
                row[field] = rounded(statistics.median(values))
                # Within one round, so that the machine is as busy for both.
                ratios = [value / getattr(best, field) for value, best in zip(values, ways["adaptive"], strict=True)]
                row[f"{field}_of_adaptive"] = rounded(statistics.median(ratios))
            rows.append(row)
    return rows


def main() -> None:
    """Measure, write and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--share", type=float, default=1.0, help="part of the full load, for a quick look")
    arguments = parser.parse_args()
    rows = summary(asyncio.run(measure(arguments.runs, arguments.share)))
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(rows, indent=2) + "\n")
    for row in rows:
        print(json.dumps(row))


if __name__ == "__main__":
    main()
