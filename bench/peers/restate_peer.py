"""Restate: durable invocations of handlers, in a server of its own with a log and RocksDB.

What it guarantees: every invocation and what it has got so far are in its log on disk before they count, with an fsync
for each batch of the log; what was running when a process died goes on from there, in another one. Steps are calls of
a service, so that each can run on any worker; graphs are handlers that call them. The client calls the ingress, and
each reply is a result.

Set up with the service on granian and uvloop (two processes), 4 partitions, no journals kept of what has ended. Tried:
hypercorn (twice the CPU time of an invocation), 1, 4 and 24 partitions (1 and 4 are alike; 24 cost half more CPU
time), 128 and 16 streams a connection (with 128 one process may get nearly all).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import subprocess
from collections.abc import Sequence
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

from peer_processes import WORKERS, RunFailed, free_ports
from peer_run import Peer, Run, main, side_by_side

if TYPE_CHECKING:
    import aiohttp

CALLS_AT_ONCE = 200
PARTITIONS = 4
STREAMS_OF_A_CONNECTION = 16
"""With fewer streams there are more connections, and so both processes get some."""
CHECK_SECONDS = 0.1


class RestatePeer(Peer):
    """A Restate server, two processes with the service, and a client that calls its ingress."""

    packages = ("restate-sdk", "granian", "aiohttp", "uvloop")
    uvloop = True
    _session: aiohttp.ClientSession

    def __init__(self, run: Run) -> None:
        super().__init__(run)
        self._stack = AsyncExitStack()

    async def start(self) -> None:
        """Start the server and the service, and register the one with the other."""
        import aiohttp

        ingress, admin, node, service = free_ports(4)
        self._ingress = f"http://127.0.0.1:{ingress}/Bench"
        server = shutil.which("restate-server")
        if server is None:
            raise RunFailed("restate-server is not on the PATH")
        config = self.run.folder / "restate.toml"
        config.write_text(_config(ingress, admin, node, str(self.run.folder / "data")))
        self.run.processes.start("server", [server, "--no-logo", "--config-file", str(config)])
        serve = ["-m", "granian", "--interface", "asgi", "--http", "2", "--no-ws", "--loop", "uvloop"]
        serve += ["--workers", str(WORKERS), "--host", "127.0.0.1", "--port", str(service)]
        self.run.processes.python("service", *serve, "restate_services:app")
        self._session = await self._stack.enter_async_context(
            aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=CALLS_AT_ONCE))
        )
        body = {"uri": f"http://127.0.0.1:{service}"}
        await self._until_ok(f"http://127.0.0.1:{admin}/deployments", body)
        await self._until_ok(f"{self._ingress}/task", 12)
        await self.run.processes.ready()

    async def _until_ok(self, url: str, body: object) -> None:
        """Repeat a call until whoever answers it has started."""
        import aiohttp

        while True:
            self.run.processes.check()
            with contextlib.suppress(aiohttp.ClientConnectionError):
                async with self._session.post(url, json=body) as reply:
                    if reply.ok:
                        return
            await asyncio.sleep(CHECK_SECONDS)

    async def tasks(self, count: int) -> Sequence[object]:
        """Call the handler, many calls at once."""
        return await side_by_side([lambda: self._call("task", 12)] * count, CALLS_AT_ONCE)

    async def chains(self, count: int, steps: int) -> Sequence[object]:
        """Call the handler that calls one step after another."""
        return await side_by_side([lambda: self._call("chain", steps)] * count, CALLS_AT_ONCE)

    async def joined(self, count: int, width: int, given: int) -> Sequence[object]:
        """Call the handler that calls the steps of a graph side by side, for each graph."""
        graph = {"width": width, "given": given}
        return await side_by_side([lambda: self._call("graph", graph)] * count, CALLS_AT_ONCE)

    async def _call(self, handler: str, argument: object) -> object:
        async with self._session.post(f"{self._ingress}/{handler}", json=argument) as reply:
            told = await reply.read()
            if not reply.ok:
                raise RunFailed(f"{handler} was answered {reply.status}: {told[:500]!r}")
            return json.loads(told)

    def versions(self) -> dict[str, str]:
        """Return the server's version beside those of the packages."""
        server = shutil.which("restate-server") or ""
        told = subprocess.run([server, "--version"], capture_output=True, text=True, check=True).stdout
        return {**super().versions(), "restate-server": told.split()[-1]}

    async def stop(self) -> None:
        """Close the connections."""
        await self._stack.aclose()


def _config(ingress: int, admin: int, node: int, folder: str) -> str:
    """The server's settings, where they differ from what it comes with."""
    lines = [
        f'base-dir = "{folder}"',
        'node-name = "bench"',
        'listen-mode = "tcp"',
        'bind-ip = "127.0.0.1"',
        f"bind-port = {node}",
        'log-filter = "warn"',
        "disable-telemetry = true",
        f"default-num-partitions = {PARTITIONS}",
        'default-journal-retention = "0s"',
        "[ingress]",
        f"bind-port = {ingress}",
        "[admin]",
        f"bind-port = {admin}",
        "disable-web-ui = true",
        "[worker.invoker]",
        f"http2-streams-per-connection-limit = {STREAMS_OF_A_CONNECTION}",
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main(RestatePeer, __doc__)
