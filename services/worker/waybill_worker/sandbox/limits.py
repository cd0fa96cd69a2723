"""What one snippet may take of the machine, and how the kernel is told."""

from __future__ import annotations

import ctypes
import os
import resource
import struct
from dataclasses import dataclass

MIB = 1024 * 1024
_PR_SET_DUMPABLE, _PR_SET_NO_NEW_PRIVS, _PR_CAP_AMBIENT = 4, 38, 47
_CAP_AMBIENT_CLEAR_ALL = 4
_CAPSET = {"x86_64": 126, "aarch64": 91}
_CAPABILITIES_V3 = 0x20080522
_NICE = 10


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of one snippet. The wall clock and the sums over streams and folders are watched from outside."""

    cpu_seconds: int = 10
    memory_bytes: int = 256 * MIB
    wall_seconds: float = 30.0
    output_bytes: int = MIB
    """For each of stdout, stderr and the result."""
    disk_bytes: int = 16 * MIB
    """All files together; and the most that any one file may have, whether it still has a name or not."""
    files: int = 500
    open_files: int = 24


def apply(limits: Limits) -> None:
    """Hold this process to its limits, for good. Raises OSError and ValueError."""
    _limit(resource.RLIMIT_CORE, 0)
    # The first is told by a signal that says why; the second is the end.
    resource.setrlimit(resource.RLIMIT_CPU, (limits.cpu_seconds, limits.cpu_seconds + 1))
    _limit(resource.RLIMIT_AS, limits.memory_bytes)
    _limit(resource.RLIMIT_FSIZE, limits.disk_bytes)
    _limit(resource.RLIMIT_NOFILE, limits.open_files)
    _limit(resource.RLIMIT_NPROC, 0)
    _limit(resource.RLIMIT_MEMLOCK, 0)
    os.nice(_NICE)


def drop_privileges(machine: str) -> None:
    """Give up every capability, and all ways to new ones. Others of the same user cannot look in. Raises OSError."""
    libc = ctypes.CDLL(None, use_errno=True)
    _check(libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
    _check(libc.prctl(_PR_CAP_AMBIENT, _CAP_AMBIENT_CLEAR_ALL, 0, 0, 0))
    header = struct.pack("=Ii", _CAPABILITIES_V3, 0)
    _check(libc.syscall(ctypes.c_long(_CAPSET[machine]), header, bytes(24)))
    _check(libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0))


def _limit(kind: int, most: int) -> None:
    hard = resource.getrlimit(kind)[1]
    most = most if hard == resource.RLIM_INFINITY else min(most, hard)
    resource.setrlimit(kind, (most, most))


def _check(result: int) -> None:
    if result != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
