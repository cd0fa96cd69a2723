"""The whole suite as real processes, started by `waybill up`, spoken to through the gateway alone."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
from free_ports import free_port

sys.path.insert(0, str(Path(__file__).parent))

from model_plans import environment_of

AGENTS = Path(__file__).parent / "agents"
KINDS = ("store", "planner", "dispatcher", "worker", "gateway")
START_SECONDS = 60


@dataclass
class RunningSuite:
    """One `waybill up` and where it listens."""

    process: subprocess.Popen[str]
    grpc_port: int
    http_port: int
    data_dir: Path

    @property
    def address(self) -> str:
        """Of the gateway's gRPC server."""
        return f"127.0.0.1:{self.grpc_port}"

    @property
    def http(self) -> str:
        """Base URL of the gateway's HTTP server."""
        return f"http://127.0.0.1:{self.http_port}"

    def pids(self, kind: str) -> list[int]:
        """Processes of one kind that run now."""
        return [child.pid for child in psutil.Process(self.process.pid).children() if is_kind(child, kind)]

    def kill(self, kind: str) -> None:
        """kill -9 every process of one kind."""
        pids = self.pids(kind)
        assert pids, f"no {kind} is running"
        for pid in pids:
            os.kill(pid, signal.SIGKILL)

    def environment_of(self, kind: str) -> dict[str, str]:
        """Environment of a process of one kind."""
        return psutil.Process(self.pids(kind)[0]).environ()

    def stop(self) -> int:
        """Ctrl-C; the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        return self.process.wait(60)


def is_kind(process: psutil.Process, kind: str) -> bool:
    """Whether a process is the store or a certain service."""
    with contextlib.suppress(psutil.NoSuchProcess, psutil.ZombieProcess):
        command = process.cmdline()
        name = Path(command[0]).name if command else ""
        return f"waybill_{kind}" in command if kind != "store" else ("valkey" in name or "redis" in name)
    return False


@pytest.fixture(scope="session")
def kinds() -> tuple[str, ...]:
    """Every kind of process of a suite."""
    return KINDS


@pytest.fixture(scope="session")
def trial_environment() -> dict[str, str]:
    """Environment in which workers know the trial agents besides those that ship."""
    path = os.pathsep.join(filter(None, [str(AGENTS), os.environ.get("PYTHONPATH")]))
    return {**os.environ, "WAYBILL_WORKER_AGENTS": "trial_agents", "PYTHONPATH": path}


def start_suite(data_dir: Path, environment: dict[str, str], port: Callable[[], int], workers: int = 2) -> RunningSuite:
    """A suite that is ready."""
    grpc_port, http_port = port(), port()
    command = [sys.executable, "-m", "waybill.cli.main", "up", "--grpc-port", str(grpc_port)]
    command += ["--http-port", str(http_port), "--data-dir", str(data_dir), "--workers", str(workers)]
    log = data_dir.parent / f"{data_dir.name}.log"
    with log.open("a") as output:
        process = subprocess.Popen(command, env=environment, stdout=output, stderr=output, text=True)
    seen, deadline = log.stat().st_size, time.monotonic() + START_SECONDS
    while "Waybill is up" not in log.read_text()[seen:]:
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.05)
    return RunningSuite(process, grpc_port, http_port, data_dir)


@pytest.fixture
def start(tmp_path: Path, trial_environment: dict[str, str]) -> Iterator[Callable[..., RunningSuite]]:
    """Starts suites; whatever still runs at the end is stopped."""
    running: list[RunningSuite] = []

    def begin(name: str = "data", environment: dict[str, str] | None = None, **options: int) -> RunningSuite:
        suite = start_suite(tmp_path / name, {**trial_environment, **(environment or {})}, free_port, **options)
        running.append(suite)
        return suite

    yield begin
    for suite in running:
        suite.stop()


@pytest.fixture(scope="module")
def suite(tmp_path_factory: pytest.TempPathFactory, trial_environment: dict[str, str]) -> Iterator[RunningSuite]:
    """A suite that the tests of a module share, and leave able to go on, whatever they kill."""
    running = start_suite(tmp_path_factory.mktemp("suite") / "data", trial_environment, free_port)
    yield running
    assert running.stop() == 0


@pytest.fixture(scope="module")
def model_port() -> int:
    """Where the model of `modelled_suite` is: a server of models for the tests of a module, one after another."""
    return free_port()


@pytest.fixture(scope="module")
def modelled_suite(
    tmp_path_factory: pytest.TempPathFactory, trial_environment: dict[str, str], model_port: int
) -> Iterator[RunningSuite]:
    """A suite with one worker whose model is on that port; shared as `suite` is."""
    environment = {**trial_environment, **environment_of(f"http://127.0.0.1:{model_port}/v1")}
    running = start_suite(tmp_path_factory.mktemp("modelled") / "data", environment, free_port, workers=1)
    yield running
    assert running.stop() == 0
