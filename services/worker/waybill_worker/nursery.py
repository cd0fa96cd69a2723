"""The worker's side of its forker: starts it when the first process is wanted, and again if it has died."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
from collections import deque

from waybill.errors import AgentError
from waybill.telemetry.logs import get_logger
from waybill_worker import frames
from waybill_worker.forker import REPORT
from waybill_worker.process import AgentProcess

_log = get_logger(__name__)


class Nursery:
    """Makes processes that run agents."""

    def __init__(self, setup: frames.Setup) -> None:
        self._setup = setup
        self._forker: _Connection | None = None

    async def new_process(self) -> AgentProcess:
        """A new process. Raises AgentError (PROCESS_NOT_STARTED) if there can be none."""
        if self._forker is None or not self._forker.alive:
            self._forker = _Connection(self._setup)
        ours, theirs = socket.socketpair()
        with theirs:
            started = self._forker.ask(theirs)
        try:
            pid = await started
        except asyncio.CancelledError:
            ours.close()  # the process ends as soon as it reads
            raise
        if pid is None:
            ours.close()
            raise AgentError("no process could be started for the agent", reason="PROCESS_NOT_STARTED")
        return await AgentProcess.connect(ours, pid, self._forker.exit_of(pid))

    async def close(self) -> None:
        """End the forker and, with it, every process."""
        if self._forker is not None:
            await self._forker.close()


class _Connection:
    """One incarnation of the forker."""

    def __init__(self, setup: frames.Setup) -> None:
        self._socket, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "waybill_worker.forker", str(theirs.fileno()), str(os.getpid())],
                pass_fds=(theirs.fileno(),),
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
        self._socket.sendall(frames.encode(setup))
        self._socket.setblocking(False)
        self._starting: deque[asyncio.Future[int | None]] = deque()
        self._exits: dict[int, asyncio.Future[int | None]] = {}
        self.alive = True
        self._listening = asyncio.get_running_loop().create_task(self._listen())

    def ask(self, connection: socket.socket) -> asyncio.Future[int | None]:
        """Ask for a process that holds `connection`; its id, or None if there will be none."""
        started: asyncio.Future[int | None] = asyncio.get_running_loop().create_future()
        try:
            socket.send_fds(self._socket, [b"f"], [connection.fileno()])
        except OSError:
            started.set_result(None)
        else:
            self._starting.append(started)
        return started

    def exit_of(self, pid: int) -> asyncio.Future[int | None]:
        """The exit code of a process that was started, once it has ended."""
        return self._exits[pid]

    async def close(self) -> None:
        """Hang up and wait until it has gone."""
        if self.alive:
            self._socket.shutdown(socket.SHUT_RDWR)
        await self._listening

    async def _listen(self) -> None:
        loop = asyncio.get_running_loop()
        pending = b""
        try:
            while data := await loop.sock_recv(self._socket, 4096):
                pending += data
                while len(pending) >= REPORT.size:
                    self._hear(*REPORT.unpack_from(pending))
                    pending = pending[REPORT.size :]
        except OSError:
            pass  # as good as the end of the connection
        finally:
            self._end()
        code = await asyncio.to_thread(self._process.wait)
        if code != 0:
            _log.warning("the process that starts processes for agents died", exit_code=code)

    def _hear(self, ended: bool, pid: int, code: int) -> None:
        if ended:
            _settle(self._exits.pop(pid, None), code)
        else:
            self._exits[pid] = asyncio.get_running_loop().create_future()
            _settle(self._starting.popleft(), pid)

    def _end(self) -> None:
        self.alive = False
        self._socket.close()
        for future in (*self._starting, *self._exits.values()):
            _settle(future, None)
        self._starting.clear()
        self._exits.clear()


def _settle(future: asyncio.Future[int | None] | None, value: int | None) -> None:
    if future is not None and not future.done():
        future.set_result(value)
