"""One submitter and two workers that are nothing but clients of the ledger's functions."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

from own_processes import Answerer, answering

WORKERS = 2
ASK_SECONDS = 0.02


class BareLedger:
    """The processes, connected to a store."""

    def __init__(self, submitter: Answerer, workers: Sequence[Answerer]) -> None:
        self.pids = [process.pid for process in (submitter, *workers)]
        self._submitter = submitter
        self._workers = workers
        self._settled = 0

    async def run(self, tasks: int) -> float:
        """Submit and finish so many one-step tasks; seconds from the first submission to the last settlement."""
        self._settled += tasks
        submitting = asyncio.ensure_future(self._submitter.ask(str(tasks)))
        while True:
            told = await asyncio.gather(*(worker.ask("") for worker in self._workers))
            if sum(one["settled"] for one in told) >= self._settled:
                began = (await submitting)["began"]
                return max(one["last"] for one in told) - began
            if submitting.done():
                submitting.result()
            await asyncio.sleep(ASK_SECONDS)


@asynccontextmanager
async def bare_ledger(url: str, agent: str) -> AsyncIterator[BareLedger]:
    """Start them on a store; their steps are of an agent that nobody else runs."""
    async with AsyncExitStack() as stack:
        submitter = await stack.enter_async_context(answering("ledger_driver.py", "submit", url, agent))
        workers = [
            await stack.enter_async_context(answering("ledger_driver.py", "work", url, agent, f"hand-{number}"))
            for number in range(1, WORKERS + 1)
        ]
        yield BareLedger(submitter, workers)
