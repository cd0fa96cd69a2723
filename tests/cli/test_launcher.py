"""A program started by the launcher ends with the process that started it, however that ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from waybill.cli import launcher

START = "import os, subprocess, sys; print(subprocess.Popen({command}).pid, flush=True); sys.stdin.read()"
LAUNCH = f"[sys.executable, {launcher.__file__!r}, str(os.getpid()), sys.executable, '-c', {{program!r}}]"
WATCH = (
    "[sys.executable, '-c', 'import os, sys; from waybill.cli.launcher import watch;"
    " sys.exit(watch(os.getppid(), sys.argv[1:]))', sys.executable, '-c', {program!r}]"
)


@pytest.mark.parametrize("way", [LAUNCH, WATCH], ids=["by-the-kernel", "by-watching"])
def test_given_a_killed_parent_then_the_program_dies(
    way: str, tmp_path: Path, until: Callable[[Callable[[], object]], None], running: Callable[[int], bool]
) -> None:
    if way is LAUNCH and sys.platform != "linux":
        pytest.skip("only Linux kernels keep the promise themselves")
    mark = tmp_path / "pid"
    program = f"import os, pathlib, time; pathlib.Path({str(mark)!r}).write_text(str(os.getpid())); time.sleep(100)"
    parent = subprocess.Popen(
        [sys.executable, "-c", START.format(command=way.format(program=program))],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with parent:
        until(lambda: mark.exists() and mark.read_text())
        program_pid = int(mark.read_text())
        assert running(program_pid)
        parent.kill()
    until(lambda: not running(program_pid))


def test_given_a_parent_that_is_gone_already_then_nothing_is_started(tmp_path: Path) -> None:
    if sys.platform != "linux":
        pytest.skip("elsewhere the program is started and killed")
    mark = tmp_path / "mark"
    ended = subprocess.run([sys.executable, launcher.__file__, "1", "/usr/bin/touch", str(mark)], check=False)
    assert ended.returncode == launcher.PARENT_GONE
    assert not mark.exists()


def test_the_watching_launcher_passes_sigterm_and_the_exit_code_on(
    tmp_path: Path, until: Callable[[Callable[[], object]], None]
) -> None:
    mark = tmp_path / "up"
    program = (
        f"import signal, pathlib, sys, time; signal.signal(signal.SIGTERM, lambda *_: sys.exit(7));"
        f" pathlib.Path({str(mark)!r}).touch(); time.sleep(100)"
    )
    watch = "import os, sys; from waybill.cli.launcher import watch; sys.exit(watch(os.getppid(), sys.argv[1:]))"
    with subprocess.Popen([sys.executable, "-c", watch, sys.executable, "-c", program]) as watching:
        until(mark.exists)
        os.kill(watching.pid, signal.SIGTERM)
    assert watching.returncode == 7
