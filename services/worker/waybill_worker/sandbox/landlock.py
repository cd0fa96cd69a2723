"""Which files a process may open, by Landlock: what is not named cannot be read, written or made.

Landlock holds for whatever user the process runs as, root included. It also keeps the process from looking into
processes outside of the sandbox, /proc/<id>/environ among that.
"""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Iterable

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_VERSION_FLAG = 1
_RULE_PATH_BENEATH = 1

_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1, 2, 4, 8
_REMOVE_DIR, _REMOVE_FILE = 1 << 4, 1 << 5
_MAKE_DIR, _MAKE_REG = 1 << 7, 1 << 8
_REFER, _TRUNCATE = 1 << 13, 1 << 14
_RIGHTS_BY_VERSION = (0, 13, 14, 15, 15, 16)
"""How many of the rights each version knows, from version 0."""

READ = _READ_FILE | _READ_DIR
WRITE = READ | _WRITE_FILE | _REMOVE_DIR | _REMOVE_FILE | _MAKE_DIR | _MAKE_REG | _REFER | _TRUNCATE
USE = _READ_FILE | _WRITE_FILE
"""For devices such as /dev/null."""
_OF_FILES = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE
_O_PATH = 0o10000000


def version() -> int:
    """The version of Landlock that the kernel has on; 0 if none."""
    found = _syscall(_CREATE_RULESET, None, 0, _VERSION_FLAG)
    return max(0, found)


def restrict(allowed: Iterable[tuple[str, int]]) -> None:
    """Allow these paths, each with what is below it, and nothing else: for good. Needs no_new_privs.

    A path that does not exist is left out. Raises OSError where Landlock is missing or refuses.
    """
    kernel = version()
    if kernel == 0:
        raise OSError(38, "the kernel has no Landlock, or it is off")
    known = (1 << _RIGHTS_BY_VERSION[min(kernel, len(_RIGHTS_BY_VERSION) - 1)]) - 1
    # Network and scopes come with later versions: no TCP, no sockets of others, no signals to others.
    attributes = struct.pack("=QQQ", known, 3 if kernel >= 4 else 0, 3 if kernel >= 6 else 0)
    size = 24 if kernel >= 6 else 16 if kernel >= 4 else 8
    ruleset = _checked(_syscall(_CREATE_RULESET, attributes, size, 0))
    try:
        for path, rights in allowed:
            _allow(ruleset, path, rights & known)
        _checked(_syscall(_RESTRICT_SELF, ruleset, 0))
    finally:
        os.close(ruleset)


def _allow(ruleset: int, path: str, rights: int) -> None:
    try:
        place = os.open(path, _O_PATH | os.O_CLOEXEC)
    except OSError:
        return
    try:
        if not os.path.isdir(path):
            rights &= _OF_FILES
        _checked(_syscall(_ADD_RULE, ruleset, _RULE_PATH_BENEATH, struct.pack("=Qi", rights, place), 0))
    finally:
        os.close(place)


def _syscall(number: int, *arguments: int | bytes | None) -> int:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.syscall.restype = ctypes.c_long
    passed = [ctypes.c_long(each) if isinstance(each, int) else ctypes.c_char_p(each) for each in arguments]
    return int(libc.syscall(ctypes.c_long(number), *passed))


def _checked(result: int) -> int:
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result
