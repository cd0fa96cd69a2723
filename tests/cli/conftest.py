"""What the tests of the command line share: questions to the system about processes, and no process left behind."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
from typer.testing import CliRunner, Result

from waybill.cli.main import app

PATIENCE_SECONDS = 30.0
WAYBILL = (sys.executable, "-m", "waybill.cli.main")


@dataclass(frozen=True)
class RunningSuite:
    """One `waybill up`, as what it printed as JSON tells of it."""

    grpc: str
    http: str
    folder: Path

    def waybill(self, *arguments: str, stdin: str = "", **environment: str) -> Result:
        """What a command does that speaks to this suite."""
        ours = {"WAYBILL_ADDRESS": self.grpc, "WAYBILL_TENANT": "default", **environment}
        with contextlib.chdir(self.folder):
            return CliRunner().invoke(app, arguments, prog_name="waybill", input=stdin, env=ours)


@pytest.fixture(scope="module")
def suite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningSuite]:
    """A suite with agents of a project's own."""
    folder = tmp_path_factory.mktemp("suite")
    (folder / "own_agents.py").write_text(AGENTS)
    (folder / "templates").mkdir()
    (folder / "templates" / "greet.yaml").write_text(TEMPLATE)
    command = [*WAYBILL, "up", "--json", "--grpc-port", "0", "--http-port", "0", "--agents", "own_agents"]
    command += ["--templates", "templates"]
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        told = json.loads(process.stdout.readline())
        yield RunningSuite(told["grpc"], told["console"], folder)
        process.terminate()
        assert process.wait(60) == 0


AGENTS = """
from waybill import agent
from waybill.errors import Permanent


@agent
async def echo(value: object = None) -> object:
    \"\"\"Say it again.\"\"\"
    return value


@agent
async def refuse(why: str) -> None:
    \"\"\"Fail for good.\"\"\"
    raise Permanent(why)
"""

TEMPLATE = """
name: greet
description: Greets somebody.
parameters:
  who: {type: string, description: Whom to greet}
  times: {type: integer, minimum: 1, default: 1}
required: [who]
plan:
  steps:
  - {name: say, agent: echo, input: {value: ["Hello ${parameters.who}", "${parameters.times}"]}}
"""


@pytest.fixture
def until() -> Callable[[Callable[[], object]], None]:
    """Waits until a condition holds."""

    def wait(condition: Callable[[], object]) -> None:
        give_up = time.monotonic() + PATIENCE_SECONDS
        while not condition():
            assert time.monotonic() < give_up, "it never came to hold"
            time.sleep(0.02)

    return wait


@pytest.fixture
def running() -> Callable[[int], bool]:
    """Tells whether a process runs; a zombie does not."""

    def ask(pid: int) -> bool:
        try:
            return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return False

    return ask


@pytest.fixture(autouse=True)
def _no_process_stays() -> Iterator[None]:
    """Fails a test that leaves a child behind, be it as a zombie."""
    before = {child.pid for child in psutil.Process().children(recursive=True)}
    yield
    assert [child for child in psutil.Process().children(recursive=True) if child.pid not in before] == []
