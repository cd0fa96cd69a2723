"""How the agents of one worker are run: async ones on the loop, plain ones in processes or threads, and every suspect
alone in a process of its own.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import TypeVar

from waybill.adding import AddedSteps
from waybill.agent import AgentDefinition
from waybill.core.budget import TaskPolicy
from waybill.core.patch import LinkedPatch
from waybill.core.task import Document
from waybill.errors import AgentError, Unavailable
from waybill.invocation import Result, call_async, run_in_thread
from waybill.ledger.records import Grant
from waybill.models.client import ModelClient
from waybill.telemetry import tracing
from waybill.telemetry.logs import get_logger
from waybill_worker import frames
from waybill_worker.accounts import Accounts
from waybill_worker.context import AttemptContext, Hook
from waybill_worker.ledger_port import WorkerLedger
from waybill_worker.patience import Patience
from waybill_worker.pool import ProcessPool
from waybill_worker.starts import Starts

_log = get_logger(__name__)
Read = TypeVar("Read")


class Execution:
    """What attempts need of the worker that runs them."""

    def __init__(
        self,
        ledger: WorkerLedger,
        worker_id: str,
        agents: Mapping[str, AgentDefinition],
        pool: ProcessPool,
        models: ModelClient | None = None,
    ) -> None:
        self.ledger = ledger
        self.worker_id = worker_id
        self.models = models
        self.accounts = Accounts(ledger)
        self.starts = Starts()
        self.traced = tracing.recording()
        """Whether attempts are recorded as spans."""
        self.tells_steps = _log.is_enabled_for(logging.DEBUG)
        """Whether the log has a line for every attempt, and not only for those that fail."""
        self._agents = agents
        self._pool = pool

    async def execute(self, grant: Grant, make_context: Callable[[], AttemptContext], data: bytes) -> Result:
        """Run the agent of a step on its resolved input. Raises AgentError, and CancelledError when interrupted.

        `make_context` is called at most once: an agent on the loop that takes no context needs none.
        """
        definition = self._agents.get(grant.agent)
        if definition is None:
            raise AgentError(f"this worker has no agent {grant.agent}", reason="AGENT_UNKNOWN")
        if definition.is_async and not grant.suspect:
            return await call_async(definition, make_context() if definition.takes_context else None, data)
        context = make_context()
        if definition.isolation == "thread" and not grant.suspect:
            return await run_in_thread(definition, context, data)
        run = frames.Run(
            agent=grant.agent,
            input=data,
            task=context.task,
            step=context.step,
            attempt=context.attempt,
            tenant=context.tenant,
            deadline=context.deadline,
            traceparent=tracing.current_traceparent(),
            has_model=context.has_model,
        )
        return await self._pool.run(run, context, alone=grant.suspect)

    def hook(self, agent: str) -> Hook | None:
        """The reconcile hook of an agent, if it has one."""
        definition = self._agents.get(agent)
        return definition.reconcile if definition else None

    async def documents(self, task_id: str) -> list[Document]:
        """The documents of a task; waits while the store is away, as long as the attempt may run."""
        return await _patiently(lambda: self.ledger.documents(task_id))

    async def additions(self, grant: Grant, added: AddedSteps) -> LinkedPatch | None:
        """What an attempt adds to its plan; waits likewise. Raises Permanent (PATCH_INVALID)."""
        from waybill_worker.additions import linked_additions  # few need it, and it comes with much

        return await _patiently(lambda: linked_additions(self.ledger, grant, added))

    async def policy(self, task_id: str) -> TaskPolicy:
        """What a task may do; waits likewise."""
        return await _patiently(lambda: self.ledger.task_policy(task_id))


async def _patiently(read: Callable[[], Awaitable[Read]]) -> Read:
    patience = Patience()
    while True:
        try:
            return await read()
        except Unavailable:
            await patience.wait()
