"""The whole suite as real processes, and what a test needs beside the browser: the API, and gates for agents."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import httpx
from free_ports import free_port

AGENTS = Path(__file__).parent / "agents"
START_SECONDS = 60
WORST_SECONDS = 60


class Gate:
    """A file that agents wait for; each line lets one more of their words pass."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def open(self, lines: int = 1) -> None:
        """Let more pass."""
        with self.path.open("a") as file:
            file.write("\n" * lines)


@dataclass
class ConsoleSuite:
    """One `waybill up`, reached by HTTP."""

    process: subprocess.Popen[str]
    http_port: int
    folder: Path
    _numbers: count[int] = field(default_factory=count)

    @property
    def url(self) -> str:
        """Of the gateway's HTTP server."""
        return f"http://127.0.0.1:{self.http_port}"

    def gate(self) -> Gate:
        """A gate that is closed."""
        return Gate(self.folder / f"gate-{next(self._numbers)}")

    def call(self, method: str, path: str, tenant: str = "default", **body: Any) -> dict[str, Any]:
        """A call of the API that succeeds."""
        asked = {"json": body} if method != "GET" else {"params": body}
        with httpx.Client(base_url=self.url, headers={"x-waybill-tenant": tenant}, timeout=30) as client:
            response = client.request(method, f"/v1/{path}", **asked)
        assert response.is_success, response.text
        answer: dict[str, Any] = response.json()
        return answer

    def submit(self, tenant: str = "default", **spec: Any) -> str:
        """The name of a new task."""
        return str(self.call("POST", "tasks", tenant, **spec)["name"])

    def wait(self, task: str, *states: str, tenant: str = "default") -> dict[str, Any]:
        """The task once it has one of these states."""
        deadline = time.monotonic() + WORST_SECONDS
        while (shown := self.call("GET", task, tenant))["state"] not in states:
            assert time.monotonic() < deadline, f"{task} is {shown['state']}"
            time.sleep(0.03)
        return shown

    def stop(self) -> int:
        """Ctrl-C; the exit code."""
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(60)


def started(folder: Path, **more: str) -> ConsoleSuite:
    """A suite that is ready."""
    grpc_port, http_port = free_port(), free_port()
    command = [sys.executable, "-m", "waybill.cli.main", "up", "--grpc-port", str(grpc_port)]
    command += ["--http-port", str(http_port), "--data-dir", str(folder / "data"), "--workers", "1"]
    paths = [str(AGENTS), *filter(None, [os.environ.get("PYTHONPATH")])]
    known = {"WAYBILL_WORKER_AGENTS": "console_agents", "PYTHONPATH": os.pathsep.join(paths)}
    environment = {**os.environ, **known, **more}
    log = folder / "suite.log"
    with log.open("w") as output:
        process = subprocess.Popen(command, env=environment, stdout=output, stderr=output, text=True)
    deadline = time.monotonic() + START_SECONDS
    while "Waybill is up" not in log.read_text():
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.05)
    return ConsoleSuite(process, http_port, folder)
