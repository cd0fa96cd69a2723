"""The processes that run plain agents: made when they are needed, used again, and let go when idle.

An agent that blocks, hangs, leaks or crashes harms its own process alone, and killing that one disturbs no other:
nothing is shared but the forker, which never touches what an agent does.
"""

from __future__ import annotations

import asyncio

from waybill.invocation import Result
from waybill_worker import frames
from waybill_worker.context import AttemptContext
from waybill_worker.nursery import Nursery
from waybill_worker.process import AgentProcess

KILL_GRACE_SECONDS = 0.5
"""How long an agent may take to notice `Context.cancelled` before its process is killed."""
IDLE_SECONDS = 30.0
"""How long a process is kept after its last attempt."""


class ProcessPool:
    """As many processes as attempts run at once."""

    def __init__(self, setup: frames.Setup, *, idle_seconds: float = IDLE_SECONDS) -> None:
        self._nursery = Nursery(setup)
        self._idle_seconds = idle_seconds
        self._idle: list[tuple[AgentProcess, asyncio.TimerHandle]] = []

    async def run(self, run: frames.Run, context: AttemptContext, *, alone: bool = False) -> Result:
        """Run one attempt. When this is cancelled the agent is asked to stop, and its process killed soon after.

        With `alone` in a new process, which runs nothing else before or after.
        Raises AgentError (PROCESS_NOT_STARTED) if there is no process to run it.
        """
        process = await (self._nursery.new_process() if alone else self._take())
        running = asyncio.ensure_future(process.run(run, context))
        try:
            return await asyncio.shield(running)
        except asyncio.CancelledError:
            process.ask_to_stop()
            await asyncio.wait([running], timeout=KILL_GRACE_SECONDS)
            if running.done() and running.exception() is None:
                return running.result()
            raise
        finally:
            self._put_back(process, running, keep=not alone)

    async def close(self) -> None:
        """End every process, whatever it does."""
        for process, timer in self._idle:
            timer.cancel()
            process.kill()
        self._idle.clear()
        await self._nursery.close()

    async def _take(self) -> AgentProcess:
        while self._idle:
            process, timer = self._idle.pop()
            timer.cancel()
            if process.alive:
                return process
        return await self._nursery.new_process()

    def _put_back(self, process: AgentProcess, running: asyncio.Future[Result], *, keep: bool) -> None:
        if not running.done():
            running.cancel()
            process.kill()
        elif not keep or running.exception() is not None:
            process.kill()
        elif process.alive:
            timer = asyncio.get_running_loop().call_later(self._idle_seconds, self._let_go, process)
            self._idle.append((process, timer))

    def _let_go(self, process: AgentProcess) -> None:
        self._idle = [(other, timer) for other, timer in self._idle if other is not process]
        process.kill()
