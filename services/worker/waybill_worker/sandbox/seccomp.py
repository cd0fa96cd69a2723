"""The filter of system calls: a program for the kernel, which decides by the number of a call and its plain arguments.

It lets through what `syscalls` lists and refuses the rest, so what a later kernel adds is refused too. Pointers cannot
be followed by such a program: which files may be opened is up to `landlock`.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from waybill_worker.sandbox.syscalls import NEWEST, always, under_conditions

_PR_SET_SECCOMP = 22
_MODE_FILTER = 2

_LOAD, _AND = 0x20, 0x54
_EQUAL, _GREATER_EQUAL, _RETURN = 0x15, 0x35, 0x06
_ALLOW, _KILL = 0x7FFF0000, 0x80000000
_REFUSE, _UNKNOWN = 0x00050000 | errno.EPERM, 0x00050000 | errno.ENOSYS
_NUMBER_AT, _MACHINE_AT, _ARGUMENTS_AT = 0, 4, 16
_X32 = 0x40000000
"""Calls of another kind on x86-64, which would slip through a list of numbers."""
_AUDIT = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}

_FLAGS = 0xFFFFFFFF
_UNIX, _STREAM, _STREAM_FLAGS = 1, 1, 0x80800
_TRUNCATE_UNWRITTEN, _ACCESS_AND_TRUNCATE = 0o1000, 0o1003
_IOCTLS = (0x5401, 0x5413, 0x541B, 0x5421, 0x5450, 0x5451)
"""What Python asks of a file: whether it is a terminal, its size, what waits in it, blocking, and inheritance."""
_FCNTLS = (0, 1, 2, 3, 4, 5, 6, 7, 36, 37, 38, 1030, 1031, 1032)
"""Duplicates, flags, locks and sizes of pipes; not whom to send signals to."""

Instruction = tuple[int, int, int, int]


@dataclass(frozen=True, slots=True)
class Test:
    """One argument, under a mask, is one of `values`; or, if that is `forbidden`, it is not the one value."""

    argument: int
    values: Sequence[int]
    mask: int = _FLAGS
    forbidden: bool = False
    high: bool = False
    """Whether the upper half of the argument is meant, which only pointers use."""


def program(machine: str, process: int) -> bytes:
    """The filter for this kind of machine, for the process of this id: nothing else can be sent signals to."""
    lines: list[Instruction] = [
        (_LOAD, 0, 0, _MACHINE_AT),
        (_EQUAL, 1, 0, _AUDIT[machine]),
        (_RETURN, 0, 0, _KILL),
        (_LOAD, 0, 0, _NUMBER_AT),
    ]
    if machine == "x86_64":
        lines += [(_GREATER_EQUAL, 0, 1, _X32), (_RETURN, 0, 0, _REFUSE)]
    for number in always(machine).values():
        lines += [(_EQUAL, 0, 1, number), (_RETURN, 0, 0, _ALLOW)]
    conditions = _conditions(process)
    for name, number in under_conditions(machine).items():
        lines += _branch(number, conditions.get(name))
    lines += [(_GREATER_EQUAL, 0, 1, NEWEST + 1), (_RETURN, 0, 0, _UNKNOWN), (_RETURN, 0, 0, _REFUSE)]
    return b"".join(struct.pack("=HBBI", *line) for line in lines)


def install(code: bytes) -> None:
    """Put this process under the filter, for good. Needs no_new_privs. Raises OSError where the kernel has none."""

    class Program(ctypes.Structure):
        _fields_ = [("length", ctypes.c_ushort), ("filter", ctypes.c_void_p)]

    buffer = ctypes.create_string_buffer(code, len(code))
    prog = Program(len(code) // 8, ctypes.addressof(buffer))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_SECCOMP, _MODE_FILTER, ctypes.byref(prog), 0, 0) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def _conditions(process: int) -> dict[str, tuple[Test, ...] | None]:
    """What the arguments of a call must be; a call that is not here does not exist inside."""
    return {
        "socketpair": (Test(0, (_UNIX,)), Test(1, (_STREAM,), mask=_FLAGS & ~_STREAM_FLAGS)),
        "sendto": (Test(4, (0,)), Test(4, (0,), high=True)),  # to the other end alone
        "ioctl": (Test(1, _IOCTLS),),
        "fcntl": (Test(1, _FCNTLS),),
        "kill": (Test(0, (process,)),),
        "tgkill": (Test(0, (process,)),),
        "prlimit64": (Test(2, (0,)), Test(2, (0,), high=True)),  # looks, and changes nothing
        # Early versions of Landlock let a file be cut off by who may only read it.
        "open": (Test(1, (_TRUNCATE_UNWRITTEN,), mask=_ACCESS_AND_TRUNCATE, forbidden=True),),
        "openat": (Test(2, (_TRUNCATE_UNWRITTEN,), mask=_ACCESS_AND_TRUNCATE, forbidden=True),),
    }


def _branch(number: int, tests: Iterable[Test] | None) -> list[Instruction]:
    """What is decided for one call; falls through for every other."""
    if tests is None:
        return [(_EQUAL, 0, 1, number), (_RETURN, 0, 0, _UNKNOWN)]
    body: list[Instruction] = []
    for test in tests:
        body.append((_LOAD, 0, 0, _ARGUMENTS_AT + 8 * test.argument + 4 * test.high))
        body.append((_AND, 0, 0, test.mask))
        if test.forbidden:
            body.append((_EQUAL, 0, 1, test.values[0]))
        else:
            # A value that fits skips those after it, and the refusal.
            body += [(_EQUAL, len(test.values) - at, 0, value) for at, value in enumerate(test.values)]
        body.append((_RETURN, 0, 0, _REFUSE))
    body.append((_RETURN, 0, 0, _ALLOW))
    return [(_EQUAL, 0, len(body), number), *body]
