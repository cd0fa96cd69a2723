"""Servers that run full: of memory by `maxmemory`, of disk by a limit on how large a file of theirs may grow."""

from __future__ import annotations

import asyncio
import contextlib
import resource
import sys
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import TypeVar

from store_servers import Server

from waybill.errors import Unavailable
from waybill.ledger import keys
from waybill.ledger.records import NewTask

# A write beyond the limit is then an error, as it is on a full disk, instead of the end of the process.
_WITHOUT_SIGNAL = (
    "import os, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); os.execvp(sys.argv[1], sys.argv[1:])"
)
AnyServer = TypeVar("AnyServer", bound=Server)
Reply = TypeVar("Reply")


@dataclass
class DurableServer(Server):
    """A server with an append-only file, for which the disk can be full."""

    def _command(self) -> list[str]:
        return [sys.executable, "-I", "-S", "-c", _WITHOUT_SIGNAL, *super()._command(), "--appendonly", "yes"]

    def file_bytes(self) -> int:
        """Size of the largest file of the append-only log."""
        return max(path.stat().st_size for path in (self.folder / "appendonlydir").iterdir())

    def fill_disk(self, *, room_bytes: int = 0) -> None:
        """No file can grow by more than this from now on."""
        self._limit(self.file_bytes() + room_bytes)

    def make_room(self) -> None:
        """The disk has room again."""
        self._limit(resource.RLIM_INFINITY)

    def _limit(self, size_bytes: int) -> None:
        assert self.process is not None
        resource.prlimit(self.process.pid, resource.RLIMIT_FSIZE, (size_bytes, resource.RLIM_INFINITY))

    @property
    def ended(self) -> bool:
        """Whether the process has ended by itself."""
        return self.process is not None and self.process.poll() is not None

    def wait_for_end(self) -> int:
        """Wait until the process has ended by itself; its exit code."""
        assert self.process is not None
        return self.process.wait(30)


@contextlib.contextmanager
def running(server: AnyServer) -> Iterator[AnyServer]:
    """The server, started; whatever became of it, it is gone afterwards."""
    try:
        server.start()
        yield server
    finally:
        server.kill()


def used_bytes(server: Server) -> int:
    """Memory that the server's data takes."""
    with contextlib.closing(server.client()) as client:
        return int(client.info("memory")["used_memory"])


def limit_memory(server: Server, most_bytes: int) -> None:
    """Set `maxmemory`; 0 for no limit."""
    server.tell("CONFIG", "SET", "maxmemory", most_bytes)


def fill_hard(server: Server) -> None:
    """Let the server hold more than it may."""
    limit_memory(server, used_bytes(server) // 2)


def traces_of(server: Server, task: NewTask) -> list[str]:
    """Keys, queue entries and index entries that name a task or its request."""
    with contextlib.closing(server.client()) as client:
        names = [name.decode() for name in client.scan_iter(count=1_000)]
        found = [name for name in names if task.id in name or task.request_id in name]
        for name in names:
            kind = name.removeprefix(keys.prefix("0") + ":").partition(":")[0]
            if keys.KEYS[kind].type == "zset":
                held = client.zrange(name, 0, -1)
            elif keys.KEYS[kind].type == "stream":
                held = [fields[b"steps"] for _, fields in client.xrange(name)]
            elif kind == "waiting":
                held = client.lrange(name, 0, -1)
            else:
                continue
            found += [name for entry in held if task.id.encode() in entry]
    return found


async def patiently(call: Callable[[], Awaitable[Reply]]) -> Reply:
    """Repeat a call until the store takes it, as clients and workers do."""
    async with asyncio.timeout(30):
        while True:
            try:
                return await call()
            except Unavailable:
                await asyncio.sleep(0.02)
