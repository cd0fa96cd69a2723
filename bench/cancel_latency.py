"""How long after a cancellation has the running step ended? One line of JSON.

A whole suite with default settings. One step of a cooperative agent runs at a time, its task is cancelled through the
gateway and watched: the time runs from before the call to the arrival of the event that the step has ended. Exits with
1 if the 99th percentile is 500 ms or more. Agents that do not cooperate are killed; they are measured apart.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import sys
import time
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from bench_suite import running_suite

from waybill.client import Client
from waybill.core.task import EventType, StepState

COOPERATIVE = ("interrupted", "attentive", "attentive-in-thread")
UNCOOPERATIVE = "uncooperative"
P99_MS = 500.0


async def cancel_once(client: Client, agent: str) -> float:
    """Cancel one running step; milliseconds until it was known to have ended."""
    task = await client.submit(plan={"steps": [{"name": "only", "agent": agent, "input": {}}]})
    cancelling: asyncio.Task[float] | None = None
    async for event in client.watch(task):
        if event.type is EventType.STEP_PROGRESS and cancelling is None:
            cancelling = asyncio.create_task(_cancel(client, task.name))
        elif event.type is EventType.STEP_FINISHED:
            ended_at = time.perf_counter()
            assert cancelling is not None, "the step ended before it was cancelled"
            # Who returns in time when asked to stop has succeeded.
            assert event.step_state is StepState.CANCELLED or agent.startswith("attentive"), event
            return (ended_at - await cancelling) * 1000
    raise AssertionError(f"{task.name} ended without its step")


async def _cancel(client: Client, task: str) -> float:
    """Cancel a task; when that was begun."""
    begun = time.perf_counter()
    await client.cancel(task)
    return begun


async def measure(cancels: int, uncooperative: int) -> dict[str, object]:
    """Latencies of so many cancellations of cooperative agents, and of some of an uncooperative one."""
    async with (
        running_suite(workers=1, environment={"WAYBILL_WORKER_AGENTS": "cancel_agents"}) as running,
        Client(running.suite.grpc_address) as client,
    ):
        for agent in COOPERATIVE:  # the first process takes longer to come up
            await cancel_once(client, agent)
        by_agent: dict[str, list[float]] = {agent: [] for agent in COOPERATIVE}
        for number in range(cancels):
            agent = COOPERATIVE[number % len(COOPERATIVE)]
            by_agent[agent].append(await cancel_once(client, agent))
        killed = [await cancel_once(client, UNCOOPERATIVE) for _ in range(uncooperative)]
    every = [latency for latencies in by_agent.values() for latency in latencies]
    return {
        "cancels": len(every),
        "p50_ms": percentile(every, 50),
        "p99_ms": percentile(every, 99),
        "max_ms": percentile(every, 100),
        "p99_ms_by_agent": {agent: percentile(latencies, 99) for agent, latencies in by_agent.items()},
        "killed": len(killed),
        "killed_p50_ms": percentile(killed, 50),
        "killed_max_ms": percentile(killed, 100),
    }


def percentile(values: Sequence[float], percent: float) -> float:
    """The value that so many percent of them do not exceed."""
    ordered = sorted(values)
    return round(ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)], 1) if ordered else 0.0


def main() -> None:
    """Measure as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cancels", type=int, default=210, help="cancellations of cooperative agents")
    parser.add_argument("--uncooperative", type=int, default=10, help="cancellations of an agent that has to be killed")
    options = parser.parse_args()
    result = asyncio.run(measure(options.cancels, options.uncooperative))
    print(json.dumps(result))
    p99_ms = result["p99_ms"]
    assert isinstance(p99_ms, float)
    sys.exit(0 if p99_ms < P99_MS else 1)


if __name__ == "__main__":
    main()
