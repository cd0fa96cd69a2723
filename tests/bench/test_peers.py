"""Every script of a peer follows the protocol that the benchmarks run it by."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

PEERS = Path(__file__).resolve().parents[2] / "bench" / "peers"
SCRIPTS = sorted(PEERS.glob("*_peer.py"))
SECONDS = 60


def _run(script: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-B", str(script), *arguments], capture_output=True, text=True, timeout=SECONDS
    )


def _pins(script: Path) -> list[str]:
    return script.with_name(f"{script.name.removesuffix('_peer.py')}.txt").read_text().splitlines()


@pytest.fixture(params=SCRIPTS, ids=lambda script: script.stem)
def script(request: pytest.FixtureRequest) -> Path:
    """A peer's script."""
    return Path(request.param)


def test_there_are_scripts() -> None:
    assert len(SCRIPTS) > 1


def test_all_that_a_peer_installs_is_pinned_and_names_no_place(script: Path) -> None:
    pins = _pins(script)
    assert pins
    for pin in pins:
        assert re.fullmatch(r"[a-z0-9._-]+(\[[a-z,-]+\])?==[0-9][0-9a-z.+!-]*", pin), pin


def test_packages_for_node_are_pinned() -> None:
    for file in PEERS.glob("*.npm"):
        for pin in file.read_text().split():
            assert re.fullmatch(r"(@[a-z0-9-]+/)?[a-z0-9-]+@[0-9]+\.[0-9]+\.[0-9]+", pin), pin


def test_the_help_needs_nothing_of_the_peer_and_tells_what_it_guarantees(script: Path) -> None:
    ran = _run(script, "--help")
    assert ran.returncode == 0, ran.stderr
    assert "What it guarantees" in ran.stdout
    assert {"--bench", "--store", "--count"} <= set(re.findall(r"--[a-z]+", ran.stdout))


def test_a_benchmark_that_a_peer_has_not_ends_with_3_and_says_so(script: Path) -> None:
    ran = _run(script, "--bench", "watchers", "--store", "redis://127.0.0.1:1/0", "--count", "1")
    assert ran.returncode == 3, ran.stderr
    assert "watchers" in ran.stderr
    assert ran.stdout == ""


def test_work_of_no_size_is_refused(script: Path) -> None:
    ran = _run(script, "--bench", "chain_latency", "--count", "0")
    assert ran.returncode == 2
    assert "--count must be at least 1" in ran.stderr
