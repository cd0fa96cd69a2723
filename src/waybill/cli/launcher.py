"""Owns one promise: the program it starts does not outlive the process that asked for it.

Run as a script by path, `python -I -S launcher.py PARENT_PID PROGRAM [ARGUMENT...]`, with the standard library
alone, because it stands in the way of every start. On Linux the kernel keeps the promise and the launcher turns
into the program; elsewhere the launcher stays in between and watches.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from types import FrameType

PARENT_GONE = 125
"""Exit code when the parent died before the program could start."""
_PR_SET_PDEATHSIG = 1
_WATCH_SECONDS = 0.2


def main(arguments: list[str]) -> int:
    """Start `arguments[1:]` under the promise to the parent with the id `arguments[0]`; the program's exit code."""
    parent, command = int(arguments[0]), arguments[1:]
    if sys.platform == "linux":
        _die_with_parent()
        if os.getppid() != parent:
            return PARENT_GONE
        os.execv(command[0], command)  # noqa: S606 - the very purpose; no shell is involved
    return watch(parent, command)


def _die_with_parent() -> None:
    import ctypes  # only Linux pays for this import

    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) failed")


def watch(parent: int, command: list[str]) -> int:
    """Run a program as our own child, pass SIGTERM and SIGINT on, and kill it once the parent has gone."""
    child = subprocess.Popen(command)

    def forward(number: int, _frame: FrameType | None) -> None:
        child.send_signal(number)

    signal.signal(signal.SIGTERM, forward)
    signal.signal(signal.SIGINT, forward)
    while child.poll() is None:
        if os.getppid() != parent:
            child.kill()
        time.sleep(_WATCH_SECONDS)
    return child.returncode if child.returncode >= 0 else 128 - child.returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
