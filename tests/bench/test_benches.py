"""Every benchmark of Waybill's own runs on a real suite, with a few tasks each; one suite for all."""

from __future__ import annotations

import importlib.util
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType

import chain_latency
import chain_throughput
import diamond
import fan
import growth
import idle
import ledger_ceiling
import memory
import partitions
import psutil
import pytest
import throughput
import unary
from benches import BY_NAME
from latest import read_results
from load import running_bench
from measurement import Measured, Result, Scale
from peer_environments import Peer
from peer_store import store_server

BENCH = Path(throughput.__file__).parent
OWN = (throughput, chain_latency, chain_throughput, fan, diamond, unary, ledger_ceiling, growth, idle)
FEW = Scale(runs=1, share=0.0005)
SUITE_PROCESSES = 6
"""A store, a gateway, a dispatcher, a planner and two workers."""


@pytest.fixture
def frame(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The program `python bench`."""
    spec = importlib.util.spec_from_file_location("bench_main", BENCH / "__main__.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "bench_main", module)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("module", [memory, partitions], ids=lambda module: module.__name__)
async def test_a_benchmark_that_starts_what_it_needs_measures_with_a_few_tasks(
    monkeypatch: pytest.MonkeyPatch, module: ModuleType
) -> None:
    monkeypatch.setenv("PYTHONPATH", os.environ.get("PYTHONPATH", ""))
    monkeypatch.setenv("WAYBILL_WORKER_AGENTS", "bench_agents")
    (measured,) = await module.measure(FEW)
    assert measured.system == "waybill"
    assert all(value >= 0 and math.isfinite(value) for value in measured.runs)


async def test_every_benchmark_measures_what_it_says_with_a_few_tasks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", os.environ.get("PYTHONPATH", ""))
    monkeypatch.setenv("WAYBILL_WORKER_AGENTS", "bench_agents")
    async with running_bench() as bench:
        found = {module.__name__: await module.measure_on(bench, FEW) for module in OWN}
        assert bench.running.store.config_get("appendfsync") == {"appendfsync": "always"}
    systems = {name: [one.system for one in measured] for name, measured in found.items()}
    assert systems.pop("unary") == ["waybill", "grpc-echo"]
    assert systems.pop("ledger_ceiling") == ["waybill", "ledger"]
    assert set(map(tuple, systems.values())) == {("waybill",)}
    for name, measured in found.items():
        for one in measured:
            assert len(one.runs) == FEW.runs
            assert all(value >= 0 and math.isfinite(value) for value in one.runs), name
            # A suite without work may send its store nothing in so short a time.
            assert name == "idle" or all(one.runs), name
            result_of = Result.of(name, one, {}, "one", "now")
            assert result_of.unit
        assert measured[0].versions["store"].startswith("Valkey")
    latency = found["chain_latency"][0].detail
    assert latency["fsync_ms"]["p50"] > 0
    assert latency["p99_ms"] > 0
    assert {"store", "gateway", "dispatcher", "worker-1", "worker-2", "client", "sum"} <= found["throughput"][0].detail[
        "cpu_us"
    ].keys()


def test_a_result_is_written_before_the_next_benchmark_begins(
    frame: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def measure(_scale: Scale) -> list[Measured]:
        return [Measured("waybill", "s", [1.0])]

    async def fail(_scale: Scale) -> list[Measured]:
        raise RuntimeError("it broke")

    for name, function in (("fan", measure), ("diamond", fail)):
        module = ModuleType(name)
        module.__dict__["measure"] = function
        monkeypatch.setitem(sys.modules, name, module)
    invocation = frame.Invocation(tmp_path / "latest.json", FEW)
    invocation.waybill(BY_NAME["fan"])
    invocation.waybill(BY_NAME["diamond"])
    (kept,) = read_results(tmp_path / "latest.json")
    assert (kept.bench, kept.value, kept.invocation) == ("fan", 1.0, invocation.id)
    assert invocation.problems == ["diamond on waybill: RuntimeError('it broke')"]


def test_a_peer_is_measured_in_the_same_invocation_with_versions_of_its_own(frame: ModuleType, tmp_path: Path) -> None:
    peer = Peer("fake", tmp_path, tmp_path)
    peer.python.parent.mkdir(parents=True)
    peer.python.symlink_to(sys.executable)
    peer.script.write_text("""print('{"value": 2, "unit": "s", "versions": {"fake": "1.0"}}')""")
    invocation = frame.Invocation(tmp_path / "latest.json", FEW)
    with store_server() as url:
        invocation.peer(BY_NAME["fan"], peer, url)
        peer.script.write_text("raise SystemExit(3)")
        invocation.peer(BY_NAME["diamond"], peer, url)
        peer.script.write_text("raise SystemExit('broken')")
        invocation.peer(BY_NAME["throughput"], peer, url)
    (kept,) = read_results(tmp_path / "latest.json")
    assert (kept.bench, kept.system, kept.runs, kept.invocation) == ("fan", "fake", [2.0], invocation.id)
    assert kept.versions.keys() == {"fake", "store", "machine"}
    assert invocation.problems == ["throughput on fake ended with 1: broken"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_whoever_interrupts_a_measurement_finds_nothing_running(number: signal.Signals, tmp_path: Path) -> None:
    command = [sys.executable, str(BENCH), "--only", "throughput", "--systems", "waybill"]
    command += ["--results", str(tmp_path / "latest.json")]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL) as process:
        started: list[psutil.Process] = []
        while len(started) < SUITE_PROCESSES:
            assert process.poll() is None
            started = psutil.Process(process.pid).children(recursive=True)
            time.sleep(0.05)
        process.send_signal(number)
        assert process.wait(60) == 130
    assert [one for one in started if one.is_running() and one.status() != psutil.STATUS_ZOMBIE] == []
    assert not (tmp_path / "latest.json").exists()
