"""Suites for the documentation's commands: started as a page says, on ports of their own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
from free_ports import free_port

sys.path.insert(0, str(Path(__file__).parent))

from docs_blocks import blocks_of

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
UP = re.compile(r"^.*\bwaybill up\b.*$", re.MULTILINE)
START_SECONDS = 60


@dataclass
class RunningSuite:
    """One `waybill up`, and the addresses that the documentation's default ones stand for."""

    process: subprocess.Popen[bytes]
    grpc_port: int
    http_port: int

    def addressed(self, text: str) -> str:
        """The text with the default addresses and data directory replaced by those of this suite."""
        text = text.replace(".waybill/", f"data-{self.grpc_port}/")
        text = text.replace("127.0.0.1:7400", f"127.0.0.1:{self.grpc_port}")
        return text.replace("127.0.0.1:7480", f"127.0.0.1:{self.http_port}")

    def redis_url(self) -> str:
        """URL of the suite's store."""
        children = psutil.Process(self.process.pid).children()
        worker = next(child for child in children if "waybill_worker" in child.cmdline())
        return worker.environ()["WAYBILL_REDIS_URL"]

    def stop(self) -> int:
        """Ctrl-C; the exit code."""
        self.process.terminate()
        return self.process.wait(60)


def environment(folder: Path, extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """What a reader has after the installation: the tools on the path, and nothing set for Waybill."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("WAYBILL_", "MAKE"))}
    modules = os.pathsep.join([str(folder), *filter(None, [os.environ.get("PYTHONPATH")])])
    return {**clean, "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}", "PYTHONPATH": modules, **(extra or {})}


def start_suite(command: str, folder: Path) -> RunningSuite:
    """Run a page's `waybill up` line in a folder, with free ports, and wait until it is up."""
    grpc_port, http_port = free_port(), free_port()
    command += f" --grpc-port {grpc_port} --http-port {http_port} --data-dir data-{grpc_port}"
    log = folder / f"up-{grpc_port}.log"
    line, _, command = command.rpartition("waybill up")
    with log.open("wb") as output:
        process = subprocess.Popen(
            ["bash", "-c", f"{line} exec waybill up{command}"],
            cwd=folder,
            env=environment(folder),
            stdout=output,
            stderr=output,
        )
    deadline = time.monotonic() + START_SECONDS
    while "Waybill is up" not in log.read_text():
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.05)
    return RunningSuite(process, grpc_port, http_port)


@pytest.fixture(scope="module")
def shared_suite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningSuite]:
    """A suite for the pages that start none."""
    suite = start_suite("waybill up", tmp_path_factory.mktemp("suite"))
    yield suite
    assert suite.stop() == 0


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[[str], RunningSuite]]:
    """Starts suites in the test's folder by a `waybill up` line; whatever runs at the end is stopped."""
    running: list[RunningSuite] = []

    def begin(command: str) -> RunningSuite:
        running.append(start_suite(command, tmp_path))
        return running[-1]

    yield begin
    assert [suite.stop() for suite in running] == [0] * len(running)


@pytest.fixture
def reader(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs a command in the test's folder, as a reader would, and fails the test if the command fails."""

    def run(*command: str, cwd: Path = tmp_path, **extra: str) -> subprocess.CompletedProcess[str]:
        ran = subprocess.run(
            command, cwd=cwd, env=environment(tmp_path, extra), capture_output=True, text=True, timeout=90
        )
        assert ran.returncode == 0, f"{' '.join(command)}\n{ran.stdout}\n{ran.stderr}"
        return ran

    return run


@pytest.fixture
def service_ports() -> dict[str, str]:
    """Free ports for services that are started one by one, as environment variables."""
    names = [f"WAYBILL_{service}_{kind}_PORT" for service in ("PLANNER", "DISPATCHER", "WORKER", "GATEWAY")
             for kind in ("GRPC", "METRICS")]  # fmt: skip
    ports = {name: str(free_port()) for name in [*names, "WAYBILL_GATEWAY_HTTP_PORT"]}
    planner, dispatcher = ports["WAYBILL_PLANNER_GRPC_PORT"], ports["WAYBILL_DISPATCHER_GRPC_PORT"]
    return {
        **ports,
        "WAYBILL_DISPATCHER_PLANNER_ADDRESS": f"127.0.0.1:{planner}",
        "WAYBILL_GATEWAY_DISPATCHER_ADDRESS": f"127.0.0.1:{dispatcher}",
    }


@pytest.fixture
def run_page(
    shared_suite: RunningSuite,
    start: Callable[[str], RunningSuite],
    reader: Callable[..., subprocess.CompletedProcess[str]],
    service_ports: dict[str, str],
    tmp_path: Path,
) -> Callable[[Path], None]:
    """Runs the blocks of a page in order in the test's folder, and then the tests that it wrote there.

    A block under `<!-- file: NAME -->` is written to that file. A `waybill up` keeps running until the end of the
    page; a page without one gets a shared suite. `make` commands install or recurse, so they are only checked to be
    targets. `text` blocks are output.
    """

    def run(page: Path) -> None:
        suite = shared_suite
        for block in blocks_of(page):
            kind, code = block["kind"], block["code"].replace(".venv/bin/", "")
            if block["file"]:
                (tmp_path / block["file"]).write_text(code)
            elif kind == "python":
                reader(sys.executable, "-c", suite.addressed(code))
            elif kind == "sh" and (up := UP.search(code)):
                suite = start(up[0])
            elif kind == "sh" and code.startswith("make "):
                reader("bash", "-euc", re.sub(r"^make ", "make -n ", code, flags=re.MULTILINE), cwd=ROOT)
            elif kind == "sh" and "python -m waybill_" in code:
                code = code.replace("redis://127.0.0.1:6379/0", suite.redis_url())
                code = code.replace("127.0.0.1:7480", f"127.0.0.1:{service_ports['WAYBILL_GATEWAY_HTTP_PORT']}")
                reader("bash", "-uc", code, **service_ports)
            elif kind == "sh":
                address = {"WAYBILL_ADDRESS": f"127.0.0.1:{suite.grpc_port}"}
                reader("bash", "-euo", "pipefail", "-c", suite.addressed(code), **address)
        for test in tmp_path.glob("test_*.py"):
            reader(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-o", "asyncio_mode=auto", test.name)

    return run
