"""Processes are restarted when they die, reported when they keep dying, and stopped in order to the last one."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from waybill.cli.child import ChildSpec
from waybill.cli.supervisor import Supervisor, breakdown
from waybill.errors import Unavailable

SLEEP = "import time; time.sleep(100)"
STUBBORN = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('on', flush=True); time.sleep(100)"
)
WITH_CHILD = "import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(100)']);"


def child(name: str, code: str, **options: object) -> ChildSpec:
    return ChildSpec(name, (sys.executable, "-c", code), **options)  # type: ignore[arg-type]


async def soon(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.02)


async def test_given_a_killed_process_then_it_is_started_again_and_that_is_told(
    tmp_path: Path, running: Callable[[int], bool]
) -> None:
    told: list[str] = []
    async with Supervisor([child("a", SLEEP), child("b", SLEEP)], tmp_path, told.append) as supervisor:
        await supervisor.ready(30)
        first, other = (entry.pid for entry in supervisor.children)
        assert first is not None
        os.kill(first, signal.SIGKILL)
        await soon(lambda: supervisor.children[0].pid not in (None, first))
        assert told == ["a died (killed by SIGKILL); starting it again in 0.1 s"]
        assert supervisor.children[1].pid == other
        assert not running(first)
        pids = [entry.pid for entry in supervisor.children]
    assert not any(psutil.pid_exists(pid) for pid in pids if pid is not None)


async def test_given_a_process_that_dies_at_once_then_the_end_of_its_log_is_shown(tmp_path: Path) -> None:
    told: list[str] = []
    specs = [child("good", SLEEP), child("bad", "import sys; sys.exit('the port is taken')", probe=_never)]
    async with Supervisor(specs, tmp_path, told.append) as supervisor:
        with pytest.raises(Unavailable, match=r"(?s)bad dies whenever.*exit code 1.*\| the port is taken") as failed:
            await supervisor.ready(60)
        assert failed.value.reason == "SERVICE_BROKEN"
        death = await supervisor.broken()
        assert breakdown(death).message == failed.value.message
        assert failed.value.message.count("the port is taken") == 1  # five starts said it
    assert "bad has died at once 5 times in a row" in told


async def _never() -> bool:
    return False


async def test_given_a_process_that_never_becomes_ready_then_it_is_named(tmp_path: Path) -> None:
    async with Supervisor([child("good", SLEEP), child("slow", SLEEP, probe=_never)], tmp_path, print) as supervisor:
        with pytest.raises(Unavailable, match=r"not ready after 0.3 seconds: slow\n"):
            await supervisor.ready(0.3)


async def test_stages_stop_one_after_the_other(tmp_path: Path) -> None:
    order = tmp_path / "order"
    code = (
        "import os, signal, sys, time\n"
        "def end(*_):\n"
        "    time.sleep({delay})\n"
        f"    open({str(order)!r}, 'a').write('{{name}} ')\n"
        "    sys.exit()\n"
        "signal.signal(signal.SIGTERM, end)\n"
        f"open({str(tmp_path)!r} + '/{{name}}.up', 'w').close()\n"
        "time.sleep(100)\n"
    )
    stages = {"store": (4, 0.0), "gateway": (0, 0.3), "worker": (1, 0.1)}
    specs = [
        child(name, code.format(name=name, delay=delay), stop_stage=stage) for name, (stage, delay) in stages.items()
    ]
    async with Supervisor(specs, tmp_path, print):
        await soon(lambda: all((tmp_path / f"{name}.up").exists() for name in stages))
    assert order.read_text().split() == ["gateway", "worker", "store"]


async def test_given_a_process_deaf_to_sigterm_then_it_is_killed_after_its_grace(tmp_path: Path) -> None:
    async with Supervisor([child("a", STUBBORN, stop_grace_seconds=0.2)], tmp_path, print) as supervisor:
        await soon(lambda: (tmp_path / "a.log").exists() and (tmp_path / "a.log").read_text())
        pid = supervisor.children[0].pid
    assert pid is not None
    assert not psutil.pid_exists(pid)


async def test_kill_waits_for_no_grace(tmp_path: Path) -> None:
    async with Supervisor([child("a", STUBBORN, stop_grace_seconds=1000)], tmp_path, print) as supervisor:
        await soon(lambda: (tmp_path / "a.log").exists() and (tmp_path / "a.log").read_text())
        supervisor.kill()


async def test_what_a_dead_process_had_started_dies_too_and_is_reaped(tmp_path: Path) -> None:
    spec = child("a", WITH_CHILD + SLEEP)
    async with Supervisor([spec], tmp_path, print) as supervisor:
        await soon(lambda: supervisor.children[0].pid and psutil.Process(supervisor.children[0].pid).children())
        first = supervisor.children[0].pid
        assert first is not None
        grandchild = psutil.Process(first).children()[0]
        os.kill(first, signal.SIGKILL)
        await soon(lambda: supervisor.children[0].pid not in (None, first))
        assert not psutil.pid_exists(grandchild.pid)


async def test_stopping_while_a_process_is_being_started_leaves_nothing(tmp_path: Path) -> None:
    for _ in range(5):
        async with Supervisor([child("a", SLEEP), child("b", SLEEP)], tmp_path, print):
            await asyncio.sleep(0)
