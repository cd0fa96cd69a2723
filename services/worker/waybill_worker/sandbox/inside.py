"""What runs inside: the process shuts every door behind itself, and then runs the snippet.

It gets one JSON object on stdin, writes one to the descriptor that it was given, and ends. Its parent judges by that
and by how it ended; nothing that the snippet does can make more of it than an answer of the snippet.
"""

from __future__ import annotations

import json
import linecache
import os
import platform
import sys
import sysconfig
import traceback
from typing import Any

from waybill_worker.lifeline import die_with
from waybill_worker.sandbox import landlock, seccomp
from waybill_worker.sandbox.limits import Limits, apply, drop_privileges

FILE = "<snippet>"
_LIBRARIES = ("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib")
_READABLE = ("/usr/share/zoneinfo", "/etc/localtime", "/etc/ld.so.cache", "/etc/ssl/openssl.cnf")
_DEVICES = ("/dev/null", "/dev/zero", "/dev/random", "/dev/urandom")


def main(parent: int, answer_fd: int, folder: str, own_path: str) -> None:
    """Run what stdin says, in `folder`. Never returns. `own_path` is where these modules were imported from."""
    die_with(parent)
    sys.path.remove(own_path)
    with open(0, "rb", closefd=False) as stdin:
        asked: dict[str, Any] = json.load(stdin)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.chdir(folder)
    try:
        enter(Limits(**asked["limits"]), folder)
    except (OSError, ValueError, KeyError, AttributeError) as error:
        _answer(answer_fd, json.dumps({"missing": f"{type(error).__name__}: {error}"}))
        os._exit(1)
    os._exit(_run(asked["code"], asked["input"], answer_fd))


def enter(limits: Limits, folder: str) -> None:
    """Put this process into the sandbox, for good. Raises OSError, ValueError, KeyError or AttributeError if it cannot
    be had.
    """
    machine = platform.machine()
    filter_code = seccomp.program(machine, os.getpid())
    paths = sysconfig.get_paths()
    drop_privileges(machine)
    own = {os.path.realpath(paths[name]) for name in ("stdlib", "platstdlib")}
    shared = {os.path.join(os.path.realpath(sys.base_prefix), "lib")}
    allowed = [(path, landlock.READ) for path in (*own, *shared, *_LIBRARIES, *_READABLE)]
    allowed += [(path, landlock.USE) for path in _DEVICES]
    landlock.restrict([*allowed, (folder, landlock.WRITE)])
    apply(limits)
    seccomp.install(filter_code)


def _run(code: str, given: Any, answer_fd: int) -> int:
    names: dict[str, Any] = {"__name__": "__snippet__", "input": given}
    try:
        _remember(code)
        exec(compile(code, FILE, "exec"), names)  # noqa: S102 - this is what the process is for
        returned = names["main"](given) if callable(names.get("main")) else names.get("output")
        answer = json.dumps({"output": returned}, allow_nan=False)
    except SystemExit as end:
        if end.code not in (None, 0):
            return _raised(answer_fd, f"SystemExit: {end.code}", end)
        # What it has made so far counts.
        answer = json.dumps({"output": names.get("output")}, allow_nan=False)
    except BaseException as error:
        return _raised(answer_fd, _described(error), error)
    _flush()
    _answer(answer_fd, answer)
    return 0


def _raised(answer_fd: int, description: str, error: BaseException) -> int:
    """Tells what the snippet raised, and where. In a process that is out of memory even that may fail."""
    try:
        if not isinstance(error, SystemExit):
            # The first frame is this module's.
            inner = error.__traceback__.tb_next if error.__traceback__ else None
            traceback.print_exception(type(error), error, inner)
        _flush()
    except BaseException:
        os.write(2, b"the traceback cannot be shown\n")
    _answer(answer_fd, json.dumps({"raised": description}))
    return 1


def _described(error: BaseException) -> str:
    try:
        return f"{type(error).__name__}: {error}"[:1_000] if str(error) else type(error).__name__
    except BaseException:
        return type(error).__name__


def _remember(code: str) -> None:
    """Let tracebacks show the lines of the snippet."""
    linecache.cache[FILE] = (len(code), None, code.splitlines(keepends=True), FILE)


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError, AttributeError):
            continue


def _answer(answer_fd: int, answer: str) -> None:
    data = answer.encode()
    while data:
        data = data[os.write(answer_fd, data) :]
