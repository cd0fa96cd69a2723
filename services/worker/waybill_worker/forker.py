"""The process that forks processes for plain agents: it has imported every agent, runs none, and has one thread.

Started as `python -m waybill_worker.forker FD PARENT`. Over the socket FD come a `Setup` frame, then one byte for
each process wanted, with that process's own socket attached; back go the ids of processes that started, in that
order, and of those that ended. When the worker is gone it takes every process with it.
"""

from __future__ import annotations

import contextlib
import gc
import os
import selectors
import signal
import socket
import struct
import sys
import traceback
from collections.abc import Mapping
from types import FrameType

from waybill.agent import AgentDefinition, load_agents
from waybill.telemetry import logs, tracing
from waybill_worker import child, frames, lifeline

REPORT = struct.Struct("!?qq")
"""Whether a process has ended, its id, and its exit code: negative for the signal that killed it."""


def main(connection: socket.socket, parent: int) -> None:
    """Fork for the worker `parent` until it hangs up."""
    lifeline.die_with(parent)
    # What agents print must not end up in the output of whoever started the worker.
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    setup = frames.setup_decoder.decode(frames.receive(connection))
    sys.path[:] = setup.sys_path
    logs.configure("worker", setup.log_level)
    tracing.configure("worker", exports=False)
    agents = load_agents(setup.modules, entry_points=False)
    gc.collect()
    gc.freeze()  # keep the pages that the processes share from being written by their collectors
    # From here on the end of the connection tells, and leaves time to end whole process groups.
    lifeline.outlive_parent()
    _Forker(connection, agents).serve()


class _Forker:
    def __init__(self, connection: socket.socket, agents: Mapping[str, AgentDefinition]) -> None:
        self._connection = connection
        self._agents = agents
        self._running: set[int] = set()
        self._alarm, self._wakeup = socket.socketpair()
        self._alarm.setblocking(False)
        self._wakeup.setblocking(False)

    def serve(self) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # a drain is the worker's to decide
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGCHLD, _do_nothing)
        signal.set_wakeup_fd(self._wakeup.fileno())
        with selectors.DefaultSelector() as selector:
            selector.register(self._connection, selectors.EVENT_READ)
            selector.register(self._alarm, selectors.EVENT_READ)
            try:
                while True:
                    ready = {key.fileobj for key, _ in selector.select()}
                    if self._alarm in ready:
                        self._alarm.recv(4096)
                        self._reap()
                    if self._connection in ready and not self._fork_one():
                        return
            except (BrokenPipeError, ConnectionResetError):
                return  # the worker is gone
            finally:
                signal.set_wakeup_fd(-1)
                self._kill_all()

    def _fork_one(self) -> bool:
        """False when the worker is gone."""
        data, handles, _, _ = socket.recv_fds(self._connection, 1, 1)
        if not data or not handles:
            return False
        parent = os.getpid()
        pid = os.fork()
        if pid == 0:
            self._become_child(parent, socket.socket(fileno=handles[0]))
        os.close(handles[0])
        with contextlib.suppress(OSError):
            os.setpgid(pid, pid)  # the child does the same; whoever comes first
        self._running.add(pid)
        self._connection.sendall(REPORT.pack(False, pid, 0))
        return True

    def _become_child(self, parent: int, connection: socket.socket) -> None:
        code = 1
        try:
            lifeline.die_with(parent)
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            # A handler instead of SIG_IGN: programs that an agent starts begin with the default again.
            signal.signal(signal.SIGTERM, _do_nothing)
            signal.signal(signal.SIGINT, _do_nothing)
            with contextlib.suppress(OSError):
                os.setpgid(0, 0)
            for inherited in (self._connection, self._alarm, self._wakeup):
                inherited.close()
            child.serve(connection, self._agents)
        except SystemExit as error:
            code = error.code if isinstance(error.code, int) else int(error.code is not None)
        except BaseException:
            traceback.print_exc()
        finally:
            with contextlib.suppress(Exception):
                sys.stdout.flush()
                sys.stderr.flush()
            os._exit(code & 0xFF)

    def _reap(self) -> None:
        while self._running:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                return
            self._running.discard(pid)
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(pid, signal.SIGKILL)  # what it forked and left behind
            self._connection.sendall(REPORT.pack(True, pid, os.waitstatus_to_exitcode(status)))

    def _kill_all(self) -> None:
        for pid in self._running:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(pid, signal.SIGKILL)


def _do_nothing(_number: int, _frame: FrameType | None) -> None:
    """A signal that only has to wake the process up."""


if __name__ == "__main__":
    with socket.socket(fileno=int(sys.argv[1])) as inherited_socket:
        main(inherited_socket, int(sys.argv[2]))
