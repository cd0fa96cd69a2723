"""Running one snippet in a process of its own, and ending that process, whatever it does."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import platform
import signal
import sys
from collections.abc import AsyncIterator
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from waybill_worker.sandbox.folder import Folder
from waybill_worker.sandbox.limits import Limits
from waybill_worker.sandbox.syscalls import MACHINES

OWN_PATH = str(Path(__file__).resolve().parents[2])
"""Where the package of these modules is imported from."""
_WATCH_SECONDS = 0.05
_CHUNK_BYTES = 64 * 1024
_BOOT = (
    "import sys; sys.path.insert(0, sys.argv[4]); from waybill_worker.sandbox.inside import main; "
    "main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4])"
)


class Ending(StrEnum):
    """How a snippet ended."""

    RETURNED = "returned"
    RAISED = "raised"
    EXITED = "exited"
    """It ended its process by itself, without an answer."""
    CPU = "cpu"
    CLOCK = "clock"
    OUTPUT = "output"
    DISK = "disk"
    KILLED = "killed"
    """By a signal that nobody here has sent, such as from a kernel that is out of memory."""
    MISSING = "missing"
    """It never ran: the kernel or the machine cannot keep it inside."""


@dataclass(frozen=True, slots=True)
class Run:
    """What came of a snippet. `detail` is what it raised, its exit code, what crossed a limit, or what is missing."""

    ending: Ending
    output: Any = None
    detail: str = ""
    stdout: str = ""
    stderr: str = ""


class _Ended(Exception):
    """The snippet crossed a limit that is watched from outside."""

    def __init__(self, ending: Ending, detail: str = "") -> None:
        super().__init__(detail)
        self.ending = ending
        self.detail = detail


async def run(code: str, given: Any, limits: Limits, parent: str = "") -> Run:
    """Run a snippet on an input in a new folder below `parent`. Its process has ended when this returns or raises.

    Raises OSError if there can be no process or no folder.
    """
    if sys.platform != "linux" or platform.machine() not in MACHINES or sys.maxsize < 2**32:
        return Run(Ending.MISSING, detail=f"it needs Linux on {' or '.join(MACHINES)}")
    folder = Folder.make(parent)
    try:
        async with _process(folder.path) as (process, answer):
            asked = json.dumps({"code": code, "input": given, "limits": asdict(limits)}).encode()
            return await _attend(process, answer, asked, limits, folder)
    finally:
        await asyncio.shield(asyncio.to_thread(folder.remove))


@contextlib.asynccontextmanager
async def _process(folder: str) -> AsyncIterator[tuple[asyncio.subprocess.Process, asyncio.StreamReader]]:
    """A process, and what it answers; killed at the end."""
    ours, theirs = os.pipe()
    answer = asyncio.StreamReader(limit=_CHUNK_BYTES)
    loop = asyncio.get_running_loop()
    transport, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(answer), os.fdopen(ours, "rb", 0))
    try:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-I", "-S", "-B", "-X", "utf8", "-c", _BOOT),
            *(str(os.getpid()), str(theirs), folder, OWN_PATH),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={"HOME": folder, "TMPDIR": folder},
            pass_fds=(theirs,),
            start_new_session=True,
            limit=_CHUNK_BYTES,
        )
    except BaseException:
        transport.close()
        raise
    finally:
        os.close(theirs)
    try:
        yield process, answer
    finally:
        transport.close()
        await asyncio.shield(_end(process))


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    if process.stdin is not None:
        process.stdin.close()
    # What is still in its pipes is read and dropped: they are closed only at their ends.
    await process.communicate()


async def _attend(
    process: asyncio.subprocess.Process, answer: asyncio.StreamReader, asked: bytes, limits: Limits, folder: Folder
) -> Run:
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    said = {"stdout": bytearray(), "stderr": bytearray(), "result": bytearray()}
    streams = {"stdout": process.stdout, "stderr": process.stderr, "result": answer}
    working: list[asyncio.Future[None]] = [
        asyncio.ensure_future(_read(name, stream, said[name], limits)) for name, stream in streams.items()
    ]
    working += [asyncio.ensure_future(each) for each in (_ask(process.stdin, asked), _wait(process))]
    whole = asyncio.gather(*working)
    watching = asyncio.ensure_future(_watch(folder, limits))
    crossed: _Ended | None = None
    try:
        async with asyncio.timeout(limits.wall_seconds):
            await _first(whole, watching)
    except _Ended as ended:
        crossed = ended
    except TimeoutError:
        crossed = _Ended(Ending.CLOCK)
    finally:
        for each in (*working, watching):
            each.cancel()
        await asyncio.gather(whole, *working, watching, return_exceptions=True)
    texts = {name: said[name].decode("utf-8", "replace") for name in ("stdout", "stderr")}
    if crossed is not None:
        return Run(crossed.ending, detail=crossed.detail, **texts)
    assert process.returncode is not None
    return _judged(process.returncode, bytes(said["result"]), texts)


def _judged(exit_code: int, answer: bytes, texts: dict[str, str]) -> Run:
    if exit_code == -signal.SIGXCPU:
        return Run(Ending.CPU, **texts)
    if exit_code < 0:
        return Run(Ending.KILLED, detail=signal.Signals(-exit_code).name, **texts)
    try:
        told = json.loads(answer)
    except (ValueError, RecursionError):
        told = None
    match told:
        case {"output": output} if exit_code == 0:
            return Run(Ending.RETURNED, output, **texts)
        case {"raised": str(raised)}:
            return Run(Ending.RAISED, detail=raised, **texts)
        case {"missing": str(missing)}:
            return Run(Ending.MISSING, detail=missing, **texts)
    return Run(Ending.EXITED, detail=str(exit_code), **texts)


async def _first(working: asyncio.Future[Any], watching: asyncio.Future[None]) -> None:
    """Wait until the process has ended. Raises _Ended as soon as a limit is crossed."""
    done, _ = await asyncio.wait({working, watching}, return_when=asyncio.FIRST_COMPLETED)
    for each in done:
        each.result()


async def _wait(process: asyncio.subprocess.Process) -> None:
    await process.wait()


async def _ask(stdin: asyncio.StreamWriter, asked: bytes) -> None:
    # A process that ends before it has read all has its reasons, which are told otherwise.
    with contextlib.suppress(OSError):
        stdin.write(asked)
        await stdin.drain()
        stdin.close()


async def _read(name: str, stream: asyncio.StreamReader, into: bytearray, limits: Limits) -> None:
    while part := await stream.read(_CHUNK_BYTES):
        over = len(into) + len(part) > limits.output_bytes
        into += part[: limits.output_bytes - len(into)]
        if over:
            raise _Ended(Ending.OUTPUT, name)


async def _watch(folder: Folder, limits: Limits) -> None:
    """Look at the folder for ever. Raises _Ended if there is too much in it."""
    while True:
        await asyncio.sleep(_WATCH_SECONDS)
        # Not in a thread: others may keep all of them busy, and the folder would fill meanwhile.
        total_bytes, files = folder.taken(limits.files)
        if total_bytes > limits.disk_bytes:
            raise _Ended(Ending.DISK, f"{limits.disk_bytes} bytes")
        if files > limits.files:
            raise _Ended(Ending.DISK, f"{limits.files} files")
