"""How many single SubmitTask calls a second does a gateway answer, of those that a bare gRPC server would?

Fifty callers, each with one call at a time, in a few processes; the tasks that they submit run meanwhile. The same
callers then call a server that only echoes.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

from callers import LABEL
from load import ONE_STEP, Bench, running_bench
from measurement import WAYBILL, Measured, Scale
from own_processes import Answerer, answering

from waybill.cli.ports import LOOPBACK

CALLERS = 50
PROCESSES = 2
CALLS = 20_000
WARM_UP_CALLS = 2_000
ECHO = "grpc-echo"


async def measure(scale: Scale) -> Sequence[Measured]:
    """On a suite of its own."""
    async with running_bench() as bench:
        return await measure_on(bench, scale)


async def measure_on(bench: Bench, scale: Scale) -> Sequence[Measured]:
    """Calls a second of both servers, in turns."""
    calls, warm_up = scale.count(CALLS, PROCESSES), scale.count(WARM_UP_CALLS, PROCESSES)
    await bench.wave(ONE_STEP, scale.count(500))
    async with AsyncExitStack() as stack:
        echo = await stack.enter_async_context(answering("echo_server.py"))
        echoing = await stack.enter_async_context(caller_processes(f"{LOOPBACK}:{echo.greeting}", "echo"))
        submitting = await stack.enter_async_context(caller_processes(bench.running.suite.grpc_address, "submit"))
        submitted = 0
        cpu: dict[str, float] = {}
        rates: dict[str, list[float]] = {ECHO: [], WAYBILL: []}
        await echoing.rate(warm_up)
        for turn in range(scale.runs + 1):
            before, count = bench.cpu_seconds(), calls if turn else warm_up
            rate = await submitting.rate(count)
            submitted += count
            await _until_ended(bench, submitted)
            if turn:
                cpu = bench.cpu_us(before, count)
                rates[WAYBILL].append(rate)
                rates[ECHO].append(await echoing.rate(count))
    shared = {"calls": calls, "callers": CALLERS, "caller_processes": PROCESSES}
    return [
        Measured(WAYBILL, "calls/s", rates[WAYBILL], {**shared, "cpu_us": cpu}, bench.versions),
        Measured(ECHO, "calls/s", rates[ECHO], shared),
    ]


async def _until_ended(bench: Bench, submitted: int) -> None:
    """Wait until all that was submitted has ended, so that it takes no time of what comes next."""
    async for _ in bench.client.results(labels={LABEL: "submit"}):
        submitted -= 1
        if not submitted:
            return


class Callers:
    """All caller processes of one server."""

    def __init__(self, processes: Sequence[Answerer]) -> None:
        self._processes = processes

    async def rate(self, calls: int) -> float:
        """Calls a second, from the first that began to the last that ended."""
        share = calls // len(self._processes)
        told = await asyncio.gather(*(process.ask(str(share)) for process in self._processes))
        seconds = max(one["ended"] for one in told) - min(one["began"] for one in told)
        return share * len(self._processes) / seconds


@asynccontextmanager
async def caller_processes(address: str, label: str) -> AsyncIterator[Callers]:
    """Start callers of a server, connected and ready."""
    async with AsyncExitStack() as stack:
        arguments = ("callers.py", address, str(CALLERS // PROCESSES), label)
        yield Callers([await stack.enter_async_context(answering(*arguments)) for _ in range(PROCESSES)])
