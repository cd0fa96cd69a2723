"""The client in Node on a real suite, also over a connection that breaks."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

FOLDER = Path(__file__).parent
TIDES = "A tide is the rise and fall of the sea. The pull of the moon causes most of it."
FIND = {"steps": [{"name": "find", "agent": "retriever", "input": {"question": "What causes a tide?"}}]}
pytestmark = pytest.mark.skipif(shutil.which("npm") is None, reason="Node is not installed")


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder, installed as its page says, with a source and a plan."""
    folder = tmp_path_factory.mktemp("node") / "client"
    shutil.copytree(FOLDER, folder, ignore=shutil.ignore_patterns("node_modules", "test_*", "__pycache__"))
    subprocess.run(["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"], cwd=folder, check=True, timeout=120)
    (folder / "tides.md").write_text(TIDES)
    (folder / "plan.json").write_text(json.dumps(FIND))
    return folder


async def node(folder: Path, *arguments: str) -> tuple[int, str, str]:
    """One run of the client: its exit code, and what it wrote to both outputs."""
    pipe = asyncio.subprocess.PIPE
    running = await asyncio.create_subprocess_exec(
        "node", "client.mjs", *arguments, cwd=folder, stdout=pipe, stderr=pipe
    )
    output, told = await asyncio.wait_for(running.communicate(), 60)
    return running.returncode or 0, output.decode(), told.decode()


def numbers_of(told: str) -> list[int]:
    return [int(line.split()[0]) for line in told.splitlines()]


async def test_a_goal_is_followed_to_its_report(client: Path, suite: Any) -> None:
    code, output, told = await node(client, suite.address, "What is a tide?", "tides.md")
    assert (code, "A tide is the rise and fall of the sea" in output) == (0, True), told
    assert numbers_of(told) == list(range(1, len(told.splitlines()) + 1))
    assert told.splitlines()[-1].split()[1] == "task_finished"


async def test_a_plan_returns_the_output_of_its_last_step(client: Path, suite: Any) -> None:
    code, output, _ = await node(client, suite.address, "@plan.json", "tides.md")
    assert code == 0
    assert "The pull of the moon" in json.dumps(json.loads(output))


async def test_what_is_refused_says_why(client: Path, suite: Any) -> None:
    code, _, told = await node(client, suite.address, " ")
    assert (code, told.startswith("INVALID_ARGUMENT: goal: is blank")) == (2, True)


@pytest.mark.parametrize("allowed_bytes", [0, 700, 1_400])
async def test_a_run_whose_connection_breaks_is_followed_to_its_end(
    client: Path, suite: Any, allowed_bytes: int
) -> None:
    async with await asyncio.start_server(CutOnce(suite.address, allowed_bytes).serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        code, _, told = await node(client, f"127.0.0.1:{port}", "What is a tide?", "tides.md")
    assert code == 0, told
    assert numbers_of(told) == list(range(1, len(told.splitlines()) + 1))


class CutOnce:
    """A connection to an address whose first use is cut off after so many bytes of the answer."""

    def __init__(self, address: str, allowed_bytes: int) -> None:
        self._address = address
        self._left: int | None = allowed_bytes

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Pass bytes on in both directions until one side ends, or the first connection has had its share."""
        host, _, port = self._address.rpartition(":")
        there, back = await asyncio.open_connection(host, int(port))
        sending = asyncio.create_task(self._pass(reader, back))
        while data := await there.read(65_536):
            if self._left is not None:
                self._left -= len(data)
                if self._left < 0:
                    self._left = None
                    break
            writer.write(data)
            await writer.drain()
        sending.cancel()
        for side in (writer, back):
            side.close()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()


def test_the_lock_names_no_registry() -> None:
    lock = json.loads((FOLDER / "package-lock.json").read_text())
    assert lock["packages"]["node_modules/@grpc/grpc-js"]["integrity"]
    assert [name for name, package in lock["packages"].items() if "resolved" in package] == []
