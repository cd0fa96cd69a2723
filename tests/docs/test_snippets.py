"""Every command and snippet of the documentation runs, and every link leads somewhere.

A fenced `sh` or `python` block is run against a suite of its own; a block under `<!-- file: NAME -->` is written to
that file first. Blocks of one page run in order, in one folder. `make` commands install or recurse, so they are only
checked to be targets; `text` blocks are output.
"""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), *sorted((ROOT / "docs/howto").glob("*.md"))]
BLOCK = re.compile(r"(?:<!-- file: (?P<file>\S+) -->\n)?```(?P<kind>sh|python|json)\n(?P<code>.*?)```", re.DOTALL)
LINK = re.compile(r"\]\((?!https?:)([^)#]+)")
DEFAULT_PORTS = ("7400", "7480")


def free_port() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


@pytest.fixture(scope="module")
def ports(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """gRPC and HTTP port of a running suite."""
    folder = tmp_path_factory.mktemp("docs")
    chosen = (free_port(), free_port())
    command = [sys.executable, "-m", "waybill.cli.main", "up", "--grpc-port", chosen[0], "--http-port", chosen[1]]
    log = folder / "up.log"
    with log.open("w") as output:
        process = subprocess.Popen([*command, "--data-dir", str(folder / "data")], stdout=output, stderr=output)
    deadline = time.monotonic() + 60
    while "Waybill is up" not in log.read_text():
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.05)
    yield chosen
    process.terminate()
    assert process.wait(60) == 0


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_snippet_of_a_page_runs(page: Path, ports: tuple[str, str], tmp_path: Path) -> None:
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "WAYBILL_ADDRESS": f"127.0.0.1:{ports[0]}",
        "PYTHONPATH": str(tmp_path),
    }
    for block in BLOCK.finditer(page.read_text()):
        code = block["code"]
        for default, port in zip(DEFAULT_PORTS, ports, strict=True):
            code = code.replace(f"127.0.0.1:{default}", f"127.0.0.1:{port}")
        if block["file"]:
            (tmp_path / block["file"]).write_text(code)
        elif block["kind"] == "sh" and code.startswith("make "):
            subprocess.run(
                ["bash", "-euc", code.replace("make ", "make -n ")], cwd=ROOT, check=True, capture_output=True
            )
        elif block["kind"] != "json":
            command = ["bash", "-euo", "pipefail", "-c"] if block["kind"] == "sh" else [sys.executable, "-c"]
            ran = subprocess.run(
                [*command, code], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=90
            )
            assert ran.returncode == 0, f"{code}\n{ran.stdout}\n{ran.stderr}"
    for test in tmp_path.glob("test_*.py"):
        ran = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-o", "asyncio_mode=auto", test.name],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
        )
        assert ran.returncode == 0, ran.stdout


@pytest.mark.parametrize("page", sorted({*ROOT.glob("*.md"), *ROOT.glob("[de]*/**/*.md")}), ids=lambda page: page.name)
def test_every_link_between_pages_leads_somewhere(page: Path) -> None:
    broken = [link for link in LINK.findall(page.read_text()) if not (page.parent / link).exists()]
    assert broken == []


def test_the_example_plan_runs_with_the_agents_beside_it(tmp_path: Path) -> None:
    folder = ROOT / "examples" / "wordcount"
    environment = {**os.environ, "PYTHONPATH": str(folder), "WAYBILL_WORKER_AGENTS": "wordcount"}
    port = free_port()
    command = [sys.executable, "-m", "waybill.cli.main"]
    up = [*command, "up", "--grpc-port", port, "--http-port", "0", "--data-dir", str(tmp_path / "data")]
    process = subprocess.Popen(up, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        assert process.stdout is not None
        assert any("Waybill is up" in line for line in process.stdout)
        submit = [*command, "submit", "--plan", str(folder / "plan.json"), "--input", '{"verb": "barks"}', "--watch"]
        ran = subprocess.run([*submit, "--address", f"127.0.0.1:{port}"], capture_output=True, text=True, timeout=90)
        assert ran.returncode == 0, ran.stderr
        assert "task_finished   succeeded" in ran.stdout
    finally:
        process.terminate()
        process.communicate(timeout=60)
