"""The promise that no process of a worker outlives it: the kernel kills it with its parent, where the kernel can."""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1
PARENT_GONE = 125
"""Exit code of a process whose parent died before it could ask to die with it."""


def die_with(parent: int, number: int = signal.SIGKILL) -> None:
    """Get the signal `number`, which kills unless told otherwise, when the process `parent` ends.

    Without Linux this does nothing: the socket to the worker tells.
    """
    _set_death_signal(number)
    if os.getppid() != parent:
        os._exit(PARENT_GONE)


def outlive_parent() -> None:
    """Take `die_with` back."""
    _set_death_signal(0)


def _set_death_signal(number: int) -> None:
    if sys.platform != "linux":
        return
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, int(number), 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) failed")
