"""One attempt of a step in memory, from its start to what it came to: as a worker runs it."""

from __future__ import annotations

import asyncio
import time

from waybill.agent import AgentDefinition
from waybill.core.references import resolve
from waybill.core.task import Failure
from waybill.errors import Permanent
from waybill.invocation import Result, call_async, result_of, run_in_thread
from waybill.ledger.records import Outcome
from waybill.testing.context import MemoryContext
from waybill.testing.plan_steps import MemoryStep

STOP_GRACE_SECONDS = 5.0
"""How long an agent that was told to stop may take before its attempt is settled without it."""


class MemoryAttempt:
    """Runs an agent once. Async agents run on the loop, plain ones in a thread each."""

    def __init__(
        self, definition: AgentDefinition, step: MemoryStep, context: MemoryContext, inputs: dict[str, bytes]
    ) -> None:
        self.step = step
        self.context = context
        self.number = step.attempt
        self.run_ms = 0
        self._definition = definition
        self._inputs = inputs
        self._stopped = asyncio.Event()

    def stop(self) -> None:
        """Its task stops: interrupt the agent. What it returns all the same counts."""
        self._stopped.set()

    async def run(self, limit_seconds: float) -> Result:
        """What it comes to."""
        begun = time.perf_counter()
        agent = asyncio.ensure_future(self._invoke())
        stopped = asyncio.ensure_future(self._stopped.wait())
        try:
            await asyncio.wait([agent, stopped], timeout=limit_seconds, return_when=asyncio.FIRST_COMPLETED)
            is_late = not agent.done() and not self._stopped.is_set()
            if not agent.done():
                self.context.cancel()
                agent.cancel()
                await asyncio.wait([agent], timeout=STOP_GRACE_SECONDS)
            return self._verdict(agent, is_late, limit_seconds)
        finally:
            stopped.cancel()
            agent.cancel()
            self.run_ms = round((time.perf_counter() - begun) * 1000)

    async def _invoke(self) -> Result:
        try:
            data = resolve(self.step.step.input, self._inputs)
        except Permanent as error:
            return result_of(error)
        run = call_async if self._definition.is_async else run_in_thread
        try:
            return await run(self._definition, self.context, data)
        except asyncio.CancelledError as error:
            if self.context.cancelled:
                raise
            return result_of(error)

    def _verdict(self, agent: asyncio.Future[Result], is_late: bool, limit_seconds: float) -> Result:
        if self.context.crashed:
            return Result(Outcome.DIED, failure=Failure("PROCESS_DIED", "the process that ran the step died"))
        if is_late:
            return Result(
                Outcome.FAILED, failure=Failure("TIMEOUT", f"ran longer than its {limit_seconds * 1000:.0f} ms")
            )
        has_result = agent.done() and not agent.cancelled()
        if has_result and (not self._stopped.is_set() or agent.result().outcome is Outcome.SUCCEEDED):
            return agent.result()
        return Result(Outcome.CANCELLED)
