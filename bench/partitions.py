"""Does work spread over the masters of a cluster, and does a step cost the same there?

The services attend to one partition. So what is measured is what they stand on: the ledger's functions, driven by this
process for several partitions at once, on a cluster of one master and on one of three. The tags of the partitions are
chosen so that each master has as many, and a task goes to the partition that its request id hashes to.

The value is the largest deviation of a master's processor time from the mean of all three, as a share of it.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import tempfile
import time
import uuid
import zlib
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
from ledger_driver import OUTPUT, TRACEPARENT
from measurement import WAYBILL, Measured, Scale, rounded, say, store_version
from redis.crc import key_slot

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from store_servers import SLOTS, Server, Servers, cluster, until

from waybill.cancellation import cancel_all
from waybill.core.plan import AgentSchema, Graph, Plan, PlanStep
from waybill.core.task import Usage
from waybill.core.validation import link
from waybill.ledger import keys
from waybill.ledger.ledger import Ledger, new_task_id
from waybill.ledger.records import Accepted, AgentOffer, NewTask, Outcome, QueueEntry, Settlement, WorkerOffer

AGENT = "bare"
MASTERS = (1, 3)
PARTITIONS_A_MASTER = 4
TASKS = 24_000
WARM_UP_TASKS = 2_400
LEAST_TASKS = 1_200
"""The system counts processor time in hundredths of a second: fewer would tell nothing of a master."""
SUBMITTED_AT_ONCE = 64
SLOTS_A_HAND = 64
BLOCK_MS = 200
PREDICTED_MASTERS = 30


@dataclass(frozen=True)
class Run:
    """What one run of all tasks took, by master: seconds of processor time, and steps."""

    seconds: float
    cpu_seconds: Sequence[float]
    steps: Sequence[int]

    @property
    def cost_us(self) -> list[float]:
        """Microseconds of processor time for a step on each master."""
        return [spent / steps * 1e6 for spent, steps in zip(self.cpu_seconds, self.steps, strict=True)]

    @property
    def deviation(self) -> float:
        """The largest deviation of a master's processor time from the mean of all, as a share of it."""
        mean = statistics.mean(self.cpu_seconds)
        return max(abs(spent - mean) for spent in self.cpu_seconds) / mean


class Partition:
    """One partition: a submitter of one-step tasks, and a worker that settles them at once."""

    def __init__(self, url: str, tag: str, graph: Graph) -> None:
        self.settled = 0
        self._tag = tag
        self._graph = graph
        self._ledger = Ledger(url, partition=tag)
        self._worker = f"hand.{uuid.uuid4().hex[:10]}"
        self._working: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Register the worker, and have it work."""
        await self._ledger.connect()
        offer = AgentOffer(AGENT, "", '{"type": "object"}', "", SLOTS_A_HAND)
        await self._ledger.register(WorkerOffer(self._worker, "hand", "127.0.0.1:1", SLOTS_A_HAND, (offer,)))
        self._working = asyncio.create_task(self._work())

    async def submit(self, request_ids: Sequence[str]) -> None:
        """Submit a task for each, a group at a time."""
        for first in range(0, len(request_ids), SUBMITTED_AT_ONCE):
            group = request_ids[first : first + SUBMITTED_AT_ONCE]
            for outcome in await self._ledger.submit([self._new_task(request_id) for request_id in group]):
                if not isinstance(outcome, Accepted):
                    raise outcome

    async def until_settled(self, steps: int) -> None:
        """Wait until so many steps have been settled in all. Raises what the worker ended by."""
        assert self._working is not None
        while self.settled < steps:
            if self._working.done():
                self._working.result()
            await asyncio.sleep(0.005)

    async def stop(self) -> None:
        """Stop the worker and close the connections."""
        if self._working is not None:
            await cancel_all([self._working])
        await self._ledger.close()

    def _new_task(self, request_id: str) -> NewTask:
        task_id = new_task_id(self._tag)
        return NewTask(task_id, "default", request_id, request_id, graph=self._graph, traceparent=TRACEPARENT)

    async def _work(self) -> None:
        seq, ended = 0, list[Settlement]()
        entries: Sequence[QueueEntry] = ()
        while True:
            seq += 1
            reply = await self._ledger.exchange(self._worker, seq, seq - 1, ended, entries, (AGENT,), SLOTS_A_HAND)
            self.settled += len(ended)
            ended = [
                Settlement(grant.ref, Outcome.SUCCEEDED, OUTPUT, usage=Usage(), run_ms=1) for grant in reply.grants
            ]
            entries = () if ended else await self._ledger.wait_for_work(self._worker, (AGENT,), BLOCK_MS)


class Cluster:
    """A cluster with as many partitions on each of its masters, and those who work there."""

    def __init__(self, servers: Servers, graph: Graph) -> None:
        self._servers = servers
        tags = [tag for at in range(len(servers.masters)) for tag in tags_of(at, len(servers.masters))]
        self.partitions = [Partition(servers.url, tag, graph) for tag in tags]

    async def run(self, tasks: int) -> Run:
        """Submit and finish so many tasks."""
        shares: list[list[str]] = [[] for _ in self.partitions]
        for _ in range(tasks):
            request_id = uuid.uuid4().hex
            shares[zlib.crc32(request_id.encode()) % len(shares)].append(request_id)
        before, settled, began = self._cpu_seconds(), self._settled(), time.perf_counter()
        await asyncio.gather(*(one.submit(share) for one, share in zip(self.partitions, shares, strict=True)))
        wanted = [sum(pair) for pair in zip(settled, map(len, shares), strict=True)]
        await asyncio.gather(*(one.until_settled(steps) for one, steps in zip(self.partitions, wanted, strict=True)))
        seconds = time.perf_counter() - began
        spent = [after - used for after, used in zip(self._cpu_seconds(), before, strict=True)]
        steps = [
            sum(map(len, shares[first : first + PARTITIONS_A_MASTER]))
            for first in range(0, len(shares), PARTITIONS_A_MASTER)
        ]
        return Run(seconds, spent, steps)

    @property
    def versions(self) -> dict[str, str]:
        """The version of the store."""
        with self._servers.masters[0].client() as client:
            return {"store": store_version(client)}

    def _settled(self) -> list[int]:
        return [partition.settled for partition in self.partitions]

    def _cpu_seconds(self) -> list[float]:
        return [_cpu_seconds(master) for master in self._servers.masters]


def tags_of(master: int, masters: int) -> list[str]:
    """Tags of as many partitions as each master has, whose slots this one of so many has."""
    first, last = round(SLOTS * master / masters), round(SLOTS * (master + 1) / masters) - 1
    found: list[str] = []
    number = 0
    while len(found) < PARTITIONS_A_MASTER:
        tag, number = f"p{number}", number + 1
        if first <= key_slot(keys.prefix(tag).encode()) <= last:
            found.append(tag)
    return found


@asynccontextmanager
async def running_cluster(masters: int) -> AsyncIterator[Cluster]:
    """Start a cluster that writes to disk before it answers, and everybody who works there."""
    graph = link(Plan((PlanStep(name="only", agent=AGENT, input=b"{}"),)), {AGENT: AgentSchema(AGENT, "", "{}")})
    with tempfile.TemporaryDirectory() as folder, cluster(Path(folder), masters=masters) as servers:
        for master in servers.masters:
            master.tell("CONFIG", "SET", "appendfsync", "always")
            master.tell("CONFIG", "SET", "appendonly", "yes")
            until(lambda: _is_durable(master), "the log is there")  # noqa: B023
        running = Cluster(servers, graph)
        try:
            await asyncio.gather(*(partition.start() for partition in running.partitions))
            yield running
        finally:
            await asyncio.gather(*(partition.stop() for partition in running.partitions))


async def measure(scale: Scale) -> Sequence[Measured]:
    """The deviation of each run on three masters, and what a step costs on them and on one."""
    tasks, warm_up = scale.count(TASKS, LEAST_TASKS), scale.count(WARM_UP_TASKS, 100)
    runs: dict[int, list[Run]] = {}
    versions: dict[str, str] = {}
    for masters in MASTERS:
        say(f"partitions: {masters} masters")
        async with running_cluster(masters) as running:
            versions = running.versions
            await running.run(warm_up)
            runs[masters] = [await running.run(tasks) for _ in range(scale.runs)]
    detail = {
        "measures": "bare ledger functions: the services attend to one partition",
        "tasks": tasks,
        "partitions_a_master": PARTITIONS_A_MASTER,
        **{f"masters_{masters}": _told(found) for masters, found in runs.items()},
        **_predicted(runs),
    }
    return [Measured(WAYBILL, "share", [run.deviation for run in runs[MASTERS[-1]]], detail, versions)]


def _told(runs: Sequence[Run]) -> dict[str, Any]:
    costs = [statistics.median(each) for each in zip(*(run.cost_us for run in runs), strict=True)]
    return {
        "cpu_us_a_step": [rounded(cost) for cost in costs],
        "steps": list(runs[-1].steps),
        "tasks_s": rounded(statistics.median(sum(run.steps) / run.seconds for run in runs)),
    }


def _predicted(runs: dict[int, list[Run]]) -> dict[str, float]:
    """What a master can do that has a processor to itself, and many that each cost what the dearest of three did."""
    alone, among = (statistics.median(max(run.cost_us) for run in runs[masters]) for masters in MASTERS)
    return {
        "cost_among_three_to_alone": rounded(among / alone),
        "predicted_tasks_s_of_one": rounded(1e6 / alone),
        f"predicted_tasks_s_of_{PREDICTED_MASTERS}": rounded(PREDICTED_MASTERS * 1e6 / among),
    }


def _cpu_seconds(server: Server) -> float:
    assert server.process is not None
    used = psutil.Process(server.process.pid).cpu_times()
    return used.user + used.system


def _is_durable(server: Server) -> bool:
    with server.client() as client:
        told = client.info("persistence")
    return bool(told["aof_enabled"]) and not told["aof_rewrite_in_progress"]
