"""A process full of watchers: `python watching.py ADDRESS CONNECTIONS`.

Prints `ready` when its connections stand. For a line of stdin with names of tasks, a watcher each, it opens all
watches, answers when each has seen something, and from then on every tenth stalls: it reads no more. For the line
`report` it waits until the others have seen the end of their tasks, has the stalled ones read on to the end too, and
tells: the delays of texts that were read as they came, in milliseconds and how many had each, and how many events are
missing anywhere.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections import Counter
from typing import Any

import grpc
import psutil
import uvloop

from waybill.api.v1 import gateway_pb2, gateway_pb2_grpc, task_pb2

STALLED_EVERY = 10
CONNECT_SECONDS = 30.0
DRAIN_SECONDS = 60.0
# Channels to one address share a connection unless each is told to keep its own.
OWN_CONNECTION = (("grpc.use_local_subchannel_pool", 1),)


class Watcher:
    """One WatchTask stream, read message by message; `missing` counts events that others came before."""

    def __init__(self, call: Any, stalls: bool) -> None:
        self.stalls = stalls
        self.delays_ms: list[int] = []
        self.missing = 0
        self.texts = 0
        self.has_ended = False
        self._call = call
        self._next = 1

    async def begin(self) -> None:
        """Read the first message."""
        await self._read()

    async def read_on(self, *, is_late: bool = False) -> None:
        """Read until the stream ends; what is read late has no delay."""
        while await self._read(is_late=is_late):
            pass

    async def _read(self, *, is_late: bool = True) -> bool:
        message: Any = await self._call.read()
        now_ms = time.time() * 1000
        if message is grpc.aio.EOF:
            return False
        for event in message.events:
            self.missing += event.sequence - self._next
            self._next = event.sequence + 1
            self.has_ended = event.type == task_pb2.EVENT_TYPE_TASK_FINISHED
            if event.type == task_pb2.EVENT_TYPE_STEP_TEXT:
                self.texts += 1
                if not is_late:
                    self.delays_ms.append(max(0, round(now_ms - event.time.ToMilliseconds())))
        return True


class Watchers:
    """All watchers of this process, over its connections in turn."""

    def __init__(self, channels: list[grpc.aio.Channel]) -> None:
        self._stubs = [gateway_pb2_grpc.GatewayServiceStub(channel) for channel in channels]
        self._watchers: list[Watcher] = []
        self._reading: list[asyncio.Task[None]] = []
        self._began_seconds = 0.0

    async def open(self, names: list[str]) -> dict[str, Any]:
        """Watch tasks, and let those read on that do not stall."""
        self._watchers = []
        for at, name in enumerate(names):
            stub = self._stubs[at % len(self._stubs)]
            call = stub.WatchTask(gateway_pb2.WatchTaskRequest(name=name))
            # On another connection each time, where the others have to get past it.
            self._watchers.append(Watcher(call, stalls=(at + at // STALLED_EVERY) % STALLED_EVERY == 0))
        await asyncio.gather(*(watcher.begin() for watcher in self._watchers))
        self._reading = [asyncio.create_task(watcher.read_on()) for watcher in self._watchers if not watcher.stalls]
        self._began_seconds = _cpu_seconds()
        return {"stalled": sum(watcher.stalls for watcher in self._watchers)}

    async def report(self) -> dict[str, Any]:
        """Wait for the end of all streams; the delays, and what is missing."""
        await asyncio.gather(*self._reading)
        cpu_seconds = _cpu_seconds() - self._began_seconds
        async with asyncio.timeout(DRAIN_SECONDS):
            await asyncio.gather(*(watcher.read_on(is_late=True) for watcher in self._watchers if watcher.stalls))
        delays = Counter(delay for watcher in self._watchers for delay in watcher.delays_ms)
        return {
            "delays_ms": sorted(delays.items()),
            "texts": [watcher.texts for watcher in self._watchers],
            "missing": sum(watcher.missing for watcher in self._watchers),
            "unfinished": sum(not watcher.has_ended for watcher in self._watchers),
            "cpu_seconds": cpu_seconds,
        }


def _cpu_seconds() -> float:
    times = psutil.Process().cpu_times()
    return float(times.user + times.system)


async def main() -> None:
    """Watch when told to, until stdin ends."""
    address, connections = sys.argv[1], int(sys.argv[2])
    channels = [grpc.aio.insecure_channel(address, options=OWN_CONNECTION) for _ in range(connections)]
    async with asyncio.timeout(CONNECT_SECONDS):
        await asyncio.gather(*(channel.channel_ready() for channel in channels))
    watchers = Watchers(channels)
    print("ready", flush=True)
    while line := await asyncio.to_thread(sys.stdin.readline):
        answer = await (watchers.report() if line.strip() == "report" else watchers.open(line.split()))
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    uvloop.run(main())
