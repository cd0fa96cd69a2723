"""The campaign itself: it runs by itself, finds nothing wrong, and leaves nothing running; Ctrl-C stops all of it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from chaos.injector import KINDS
from chaos.suite import MARK_VARIABLE

PACKAGE_ROOT = Path(__file__).parents[1]
SEED = 20
SECONDS = float(os.environ.get("WAYBILL_TEST_CHAOS_SECONDS", "60"))
AROUND_SECONDS = 400.0
"""Starting, draining and checking may take so long besides."""
PROMISED = ("lost", "duplicate_commits", "duplicate_effects", "gaps", "leaks", "other_violations")


def start(tmp_path: Path, seconds: float) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "chaos.campaign", "--duration", str(seconds), "--seed", str(SEED)]
    path = os.pathsep.join(part for part in (str(PACKAGE_ROOT), os.environ.get("PYTHONPATH", "")) if part)
    environment = {**os.environ, "PYTHONPATH": path, "TMPDIR": str(tmp_path)}
    return subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )


def left_running(tmp_path: Path) -> list[str]:
    """Processes of campaigns below a folder."""
    found = []
    for process in psutil.process_iter():
        try:
            mark = process.environ().get(MARK_VARIABLE, "")
        except psutil.Error:
            continue
        if mark.startswith(str(tmp_path)):
            found.append(" ".join(process.cmdline()))
    return found


@pytest.mark.timeout(SECONDS + AROUND_SECONDS + 60)
def test_a_campaign_finds_nothing_wrong(tmp_path: Path) -> None:
    process = start(tmp_path, SECONDS)
    try:
        output, errors = process.communicate(timeout=SECONDS + AROUND_SECONDS)
    finally:
        process.kill()
    assert output.count("\n") == 1, output + errors
    report = json.loads(output)
    assert {name: report[name] for name in PROMISED} == dict.fromkeys(PROMISED, 0), errors
    assert process.returncode == 0, errors
    assert set(report["kills_by_process"]) == set(KINDS)
    assert all(report["kills_by_process"].values())
    assert report["kills"] == sum(report["kills_by_process"].values())
    assert report["tasks"] > 0
    assert Path(report["folder"], "logs", "store.log").exists()
    assert left_running(tmp_path) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_given_a_campaign_when_it_is_interrupted_then_nothing_is_left_running(
    tmp_path: Path, number: signal.Signals
) -> None:
    process = start(tmp_path, 60)
    assert process.stderr is not None
    try:
        for line in process.stderr:
            if "load and" in line:
                break
        time.sleep(2)
        assert left_running(tmp_path)
        process.send_signal(number)
        output, errors = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130, errors
    assert output == ""
    assert left_running(tmp_path) == []
