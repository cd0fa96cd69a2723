"""A whole suite of real processes for a measurement: the same store and services that `waybill up` starts."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
import redis

from waybill.cli.datadir import DataDirectory
from waybill.cli.suite import READY_TIMEOUT_SECONDS, Suite, SuiteOptions, lay_out
from waybill.cli.supervisor import Supervisor

BENCH = Path(__file__).resolve().parent


@dataclass(frozen=True)
class RunningSuite:
    """A suite that is ready."""

    suite: Suite
    supervisor: Supervisor
    store: redis.Redis

    def pid(self, name: str) -> int | None:
        """Process id of a child, None while it is not running."""
        return next(child.pid for child in self.supervisor.children if child.spec.name == name)

    @property
    def store_url(self) -> str:
        """Where the suite's store is."""
        dispatcher = next(spec for spec in self.suite.specs if spec.name == "dispatcher")
        return dispatcher.environment["WAYBILL_REDIS_URL"]

    def rss_bytes(self) -> dict[str, int]:
        """Resident memory of every child by name, with all processes that it has started."""
        return {child.spec.name: _family_rss_bytes(child.pid) for child in self.supervisor.children if child.pid}


def _family_rss_bytes(pid: int) -> int:
    try:
        parent = psutil.Process(pid)
        return sum(process.memory_info().rss for process in (parent, *parent.children(recursive=True)))
    except psutil.NoSuchProcess:
        return 0


@asynccontextmanager
async def running_suite(*, workers: int, environment: Mapping[str, str]) -> AsyncIterator[RunningSuite]:
    """Start a suite whose workers know `bench_agents`, on a data directory that goes with it; stop it at the end."""
    path = os.pathsep.join(part for part in (str(BENCH), os.environ.get("PYTHONPATH", "")) if part)
    os.environ.update({"PYTHONPATH": path, "WAYBILL_WORKER_AGENTS": "bench_agents", **environment})
    with tempfile.TemporaryDirectory(prefix="waybill-bench-") as folder, DataDirectory(Path(folder)) as data:
        suite = lay_out(SuiteOptions(workers=workers), data)
        async with Supervisor(suite.specs, data.logs, _say) as supervisor:
            await supervisor.ready(READY_TIMEOUT_SECONDS)
            dispatcher = next(spec for spec in suite.specs if spec.name == "dispatcher")
            store = redis.Redis.from_url(dispatcher.environment["WAYBILL_REDIS_URL"], protocol=2)
            try:
                yield RunningSuite(suite, supervisor, store)
            finally:
                store.close()


def _say(message: str) -> None:
    print(message, file=sys.stderr, flush=True)
