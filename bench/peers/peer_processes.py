"""The processes of a run on another system, and the sure end of them."""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

WORKERS = 2
"""Worker processes of every peer, or what it has in their place on two cores."""
STOP_SECONDS = 5.0
PEERS = Path(__file__).resolve().parent
_READY = "ready-"
_DIE_WITH_PARENT = 1  # PR_SET_PDEATHSIG


class RunFailed(Exception):
    """The run gives no figure; the message says why."""


@dataclass
class Processes:
    """Owns the processes of a run: each is the head of its own process group, and all groups end with the run."""

    folder: Path
    _running: list[tuple[str, subprocess.Popen[bytes]]] = field(default_factory=list)

    def start(
        self,
        name: str,
        command: Sequence[str],
        environment: Mapping[str, str] | None = None,
        user: str | None = None,
    ) -> None:
        """Start a process whose output goes to a file of the run's folder. It dies with this process."""
        with (self.folder / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(
                command,
                cwd=self.folder,
                env={**os.environ, "PYTHONPATH": str(PEERS), **(environment or {})},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                preexec_fn=_die_with_parent,
                user=user,
                group=user,
            )
        self._running.append((name, process))

    def python(self, name: str, *arguments: str, environment: Mapping[str, str] | None = None) -> None:
        """Start a Python of the peer's environment; modules of this folder can be imported there."""
        self.start(name, [sys.executable, *arguments], environment)

    def check(self) -> None:
        """Raise RunFailed if a process has ended."""
        for name, process in self._running:
            if process.poll() is not None:
                raise RunFailed(f"{name} ended with {process.returncode}\n{self.tail(name)}")

    def tail(self, name: str) -> str:
        """Return the last lines that a process wrote."""
        lines = (self.folder / f"{name}.log").read_text(errors="replace").splitlines()
        return "\n".join(lines[-30:])

    def tails(self) -> str:
        """Return the last lines of every process, each under its name."""
        return "\n".join(f"--- {name}\n{self.tail(name)}" for name, _ in self._running)

    async def ready(self, count: int = WORKERS) -> None:
        """Wait until `count` worker processes have announced themselves."""
        while sum(1 for _ in self.folder.glob(f"{_READY}*")) < count:
            self.check()
            await asyncio.sleep(0.05)

    def stop(self) -> None:
        """Ask every process to end, the last one first, and kill what does not; whole groups, without exception."""
        for _, process in reversed(self._running):
            _signal_group(process.pid, signal.SIGTERM)
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                pass
            finally:
                _signal_group(process.pid, signal.SIGKILL)
                process.wait()
        self._running.clear()


def announce() -> None:
    """Tell the run that this worker process is about to take work."""
    (Path.cwd() / f"{_READY}{os.getpid()}").touch()


def descendants_cpu_seconds() -> float:
    """Return what the processes that run below this one have used."""
    ticks = os.sysconf("SC_CLK_TCK")
    found: dict[int, tuple[int, float]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            # The name of the command may hold anything; what follows its last bracket is numbers.
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        found[int(stat.parent.name)] = int(fields[1]), (int(fields[11]) + int(fields[12])) / ticks
    total, above = 0.0, {os.getpid()}
    while above:
        below = {pid for pid, (parent, _) in found.items() if parent in above}
        total += sum(found[pid][1] for pid in below)
        above = below
    return total


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(_DIE_WITH_PARENT, signal.SIGTERM)


def _signal_group(group: int, number: signal.Signals) -> None:
    try:
        os.killpg(group, number)
    except (ProcessLookupError, PermissionError):
        return


def free_ports(count: int) -> list[int]:
    """Return ports of the loopback that nothing listens on."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [int(one.getsockname()[1]) for one in sockets]
