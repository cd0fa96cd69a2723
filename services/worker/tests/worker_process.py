"""A worker as a process of its own."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psutil

from waybill.ledger.ledger import Ledger
from waybill.ledger.records import WorkerRecord


class Process:
    """One worker process."""

    def __init__(self, url: str, log: Path, name: str, **environment: str) -> None:
        self.name = name
        self.log = log
        variables = {
            "WAYBILL_REDIS_URL": url,
            "WAYBILL_WORKER_NAME": name,
            "WAYBILL_WORKER_AGENTS": "worker_sample_agents",
            "WAYBILL_WORKER_GRPC_PORT": "0",
            "WAYBILL_WORKER_METRICS_PORT": "0",
            "WAYBILL_WORKER_SHUTDOWN_GRACE_SECONDS": "3",
            "PYTHONPATH": os.pathsep.join(filter(None, (str(Path(__file__).parent), os.environ.get("PYTHONPATH")))),
            **environment,
        }
        with log.open("a") as stderr:
            self.popen = subprocess.Popen(
                [sys.executable, "-m", "waybill_worker"],
                env={**os.environ, **variables},
                stdout=subprocess.PIPE,
                stderr=stderr,
            )

    def family(self) -> list[psutil.Process]:
        """The processes it has started."""
        return psutil.Process(self.popen.pid).children(recursive=True)

    async def record(self, ledger: Ledger) -> WorkerRecord:
        """What the ledger knows of it, once it does."""
        async with asyncio.timeout(60):
            while True:
                assert self.popen.poll() is None, self.log.read_text()
                for record in await ledger.workers():
                    if record.id.startswith(f"{self.name}."):
                        return record
                await asyncio.sleep(0.05)

    async def exit_code(self) -> int:
        """How it ended, once it has."""
        return await asyncio.wait_for(asyncio.to_thread(self.popen.wait), 60)

    def output(self) -> bytes:
        """All it wrote to stdout."""
        return self.popen.communicate()[0]


StartProcess = Callable[..., Process]
