"""Runs the command of an MCP server so that nothing of it outlives the worker.

Started as `python tools_launcher.py PARENT COMMAND ARGS...` as the leader of a process group of its own, with the
server's stdin and stdout. It ends with the command, and when the process PARENT is gone it ends the whole group: the
command may be a script or a package runner that starts the server as a process of its own, and a server that hangs
does not notice that its stdin was closed. It imports nothing outside Python's own library, to start fast.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import FrameType
from typing import NoReturn

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from waybill_worker import lifeline

POLL_SECONDS = 1.0
"""How often it looks whether the parent lives, where the kernel does not tell."""
NOT_STARTED = 127
"""Exit code if there is no such command."""


def main(parent: int, command: list[str]) -> NoReturn:
    """Run the command and end the group after it."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        # Handlers instead of SIG_IGN: the command begins with the default again, and is told by the group's signal.
        signal.signal(number, _do_nothing)
    signal.signal(signal.SIGUSR1, _end_group)
    lifeline.die_with(parent, signal.SIGUSR1)
    try:
        process = subprocess.Popen(command)
    except OSError:
        os._exit(NOT_STARTED)
    for handle in (0, 1):
        os.close(handle)  # the command alone holds its ends, so that both sides see when the other hangs up
    while True:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(POLL_SECONDS)
            _end_group(0, None)
        if os.getppid() != parent:
            _end_group(0, None)


def _end_group(_number: int, _frame: FrameType | None) -> NoReturn:
    """Kill every process of the group, this one among them."""
    os.killpg(0, signal.SIGKILL)
    os._exit(0)


def _do_nothing(_number: int, _frame: FrameType | None) -> None:
    """A signal that is meant for the command."""


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
