"""A process that answers no more is replaced, one that answers is left alone, and nothing dead is left lying about."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import Callable
from pathlib import Path

import psutil

from waybill.cli.child import ChildSpec
from waybill.cli.supervisor import Supervisor

SLEEP = "import time; time.sleep(100)"
LEAVES_AN_ORPHAN = """
import pathlib, subprocess, sys, time
if not (once := pathlib.Path(sys.argv[1])).exists():
    once.touch()
    subprocess.Popen([sys.executable, "-c", "import time; time.sleep(0.3)"], start_new_session=True)
time.sleep(100)
"""


async def soon(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.02)


async def test_given_a_stopped_process_when_it_does_not_answer_for_long_then_it_is_replaced(tmp_path: Path) -> None:
    told: list[str] = []
    pids: list[int | None] = [None]

    async def runs() -> bool:
        return pids[0] is None or psutil.Process(pids[0]).status() != psutil.STATUS_STOPPED

    spec = ChildSpec("stuck", (sys.executable, "-c", SLEEP), answers=runs)
    async with Supervisor([spec], tmp_path, told.append, look_seconds=0.01) as supervisor:
        await supervisor.ready(30)
        (child,) = supervisor.children
        first = pids[0] = child.pid
        assert first is not None
        await asyncio.sleep(0.3)
        assert child.pid == first, "a process that answers was replaced"
        psutil.Process(first).suspend()
        await soon(lambda: child.pid not in (None, first))
        pids[0] = None
    assert told[0] == "stuck does not answer any more; replacing it"
    assert told[1].startswith("stuck died (killed by SIGKILL)")


async def test_given_an_orphan_of_a_dead_process_then_it_is_reaped(tmp_path: Path) -> None:
    spec = ChildSpec("parent", (sys.executable, "-c", LEAVES_AN_ORPHAN, str(tmp_path / "once")))
    async with Supervisor([spec], tmp_path, lambda _: None, look_seconds=0.02) as supervisor:
        await supervisor.ready(30)
        (child,) = supervisor.children
        await soon(lambda: child.pid is not None and psutil.Process(child.pid).children())
        assert child.pid is not None
        (orphan,) = psutil.Process(child.pid).children()
        child.replace()
        await soon(lambda: not psutil.pid_exists(orphan.pid))
        with contextlib.suppress(psutil.NoSuchProcess):
            assert orphan.status() != psutil.STATUS_ZOMBIE
