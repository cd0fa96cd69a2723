"""Parsing sources in a process of their own, which is given so much time and memory for each, and ended over that."""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from types import TracebackType

import msgspec

from waybill_worker.sources.excerpts import Part
from waybill_worker.sources.formats import Format
from waybill_worker.sources.parsed import Note
from waybill_worker.sources.parsing import CPU_SECONDS, HEADER_BYTES, TOO_MUCH_MEMORY, Asked, Told
from waybill_worker.sources.roots import Refusal

WALL_SECONDS = 120.0
"""By the clock, for one source; processor time is what limits it unless the machine is overloaded."""
MAX_GIVEN_UP = 10
"""Sources of one reading on which the process may end; no more are parsed then, so that they cannot take for ever."""
MAX_MESSAGE_BYTES = 64 * 1024 * 1024
TOO_SLOW = f"takes over {CPU_SECONDS} seconds to read"
BROKE_OFF = "made its parser end"
TOO_MANY_GIVEN_UP = f"left out, {MAX_GIVEN_UP} other files here could not be parsed in bounded time and memory"
_ASK_SECONDS = 0.25
_CHUNK_BYTES = 1024 * 1024
_BOOT = (
    "import json,sys; sys.path[:] = json.loads(sys.argv[1]); from waybill_worker.sources.parsing import main; main()"
)


class Passing(Refusal):
    """A source that was refused for what the machine did meanwhile, and may be read another time."""


class Stopped(Exception):
    """Whoever wanted the source does not want it any more."""


class Parser:
    """Parses sources, one at a time. Starts its process when it is first needed; close it, or use it in `with`."""

    def __init__(self, stopped: Callable[[], bool] = lambda: False) -> None:
        self._stopped = stopped
        self._process: subprocess.Popen[bytes] | None = None
        self._decoder = msgspec.msgpack.Decoder(Told)
        self._given_up = 0

    def __enter__(self) -> Parser:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the process, if there is one."""
        process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()
        process.wait()

    def parts(self, kind: Format, media_type: str, data: bytes) -> Iterator[Part | Note]:
        """The parts of a source as they come, and notes on what is left out, such as all after a limit was crossed.

        Raises `Refusal` if there is no part at all, and `Stopped`.
        """
        if self._given_up >= MAX_GIVEN_UP:
            raise Passing(TOO_MANY_GIVEN_UP)
        some = False
        try:
            for told in self._asked(Asked(kind, media_type, data)):
                if told.part is not None:
                    some = True
                    yield told.part
                elif told.note:
                    yield Note(told.note)
                elif told.refused:
                    self._given_up += told.refused == TOO_MUCH_MEMORY
                    raise Refusal(told.refused)
        except Refusal as refusal:
            if not some:
                raise
            yield Note(f"was cut, what follows {refusal}", lasting=not isinstance(refusal, Passing))

    def _asked(self, asked: Asked) -> Iterator[Told]:
        """What the process tells of a source. Raises `Refusal` if it ends on it, or had to be ended."""
        ended = False
        try:
            process = self._running()
            assert process.stdin is not None
            assert process.stdout is not None
            until = time.monotonic() + WALL_SECONDS
            _write(process.stdin.fileno(), msgspec.msgpack.encode(asked))
            for message in self._messages(process.stdout.fileno(), until):
                told = self._decoder.decode(message)
                ended = told.ended
                yield told
                if ended:
                    return
            raise self._cause()
        except TimeoutError as error:
            self._given_up += 1
            raise Passing(TOO_SLOW) from error
        except (OSError, msgspec.MsgspecError) as error:
            raise self._cause() from error
        finally:
            if not ended:
                self.close()

    def _cause(self) -> Refusal:
        """Why the process has ended, or has to."""
        self._given_up += 1
        process = self._process
        code = None
        if process is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                code = process.wait(timeout=1)
        if code == -signal.SIGXCPU:
            return Refusal(TOO_SLOW)
        return Passing(BROKE_OFF)

    def _messages(self, descriptor: int, until: float) -> Iterator[bytes]:
        """The messages of the process until it ends. Raises TimeoutError when it is too late, and `Stopped`."""
        waiting = bytearray()
        with selectors.DefaultSelector() as selector:
            selector.register(descriptor, selectors.EVENT_READ)
            while time.monotonic() < until:
                if self._stopped():
                    raise Stopped
                if not selector.select(_ASK_SECONDS):
                    continue
                chunk = os.read(descriptor, _CHUNK_BYTES)
                if not chunk:
                    return
                waiting += chunk
                yield from _taken(waiting)
            raise TimeoutError

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-B", "-c", _BOOT, json.dumps(sys.path)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env={},
                bufsize=0,
            )
        return self._process


def _write(descriptor: int, message: bytes) -> None:
    """Write a message whole. The process reads it whole before it does anything else."""
    rest = memoryview(len(message).to_bytes(HEADER_BYTES, "big") + message)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def _taken(waiting: bytearray) -> Iterator[bytes]:
    """The whole messages at the beginning of what came, which are taken from it. Raises OSError if one is too long."""
    while len(waiting) >= HEADER_BYTES:
        length = int.from_bytes(waiting[:HEADER_BYTES], "big")
        if length > MAX_MESSAGE_BYTES:
            raise OSError("the message is too long")
        if len(waiting) < HEADER_BYTES + length:
            return
        message = bytes(waiting[HEADER_BYTES : HEADER_BYTES + length])
        del waiting[: HEADER_BYTES + length]
        yield message
