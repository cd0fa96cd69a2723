"""Steering: tasks are cancelled, paused, resumed and retried, agents and tenants paused and resumed."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from dataclasses import replace

from waybill.api.v1 import dispatcher_pb2, task_pb2
from waybill.core.task import TaskState
from waybill.errors import FailedPrecondition, InvalidArgument, NotFound
from waybill.ledger.ledger import Ledger
from waybill.ledger.reads import EVERY_TASK, ListPosition
from waybill.ledger.records import AgentRecord, Request, TaskFilter
from waybill.ledger.steering import PauseKind
from waybill_dispatcher import views
from waybill_dispatcher.directory import AgentDirectory
from waybill_dispatcher.history import History

RETRIABLE = frozenset({TaskState.FAILED, TaskState.CANCELLED})
_RETRIES_AT_ONCE = 16


class Steering:
    """What operators and clients may do with tasks, agents and tenants."""

    def __init__(self, ledger: Ledger, history: History, directory: AgentDirectory) -> None:
        self._ledger = ledger
        self._history = history
        self._directory = directory
        self._verbs: dict[int, Callable[[str, Request], Awaitable[TaskState]]] = {
            dispatcher_pb2.TASK_ACTION_CANCEL: ledger.cancel,
            dispatcher_pb2.TASK_ACTION_PAUSE: ledger.pause,
            dispatcher_pb2.TASK_ACTION_RESUME: ledger.resume,
            dispatcher_pb2.TASK_ACTION_RETRY: ledger.retry,
        }

    async def steer(self, request: Request, task_id: str, action: int) -> task_pb2.Task:
        """Do something with a task; the task after the call. May be repeated under its request.

        Raises InvalidArgument, NotFound, FailedPrecondition, AlreadyExists, and ResourceExhausted for a retry.
        """
        verb = self._verbs.get(action)
        if verb is None:
            raise InvalidArgument.of_field("action", f"is {action}, which names nothing that can be done with a task")
        await self._history.changeable(request.tenant, task_id)
        await verb(task_id, request)
        return await self._history.task(request.tenant, task_id)

    async def retry_many(
        self, request: Request, limit: int, after: ListPosition | None, wanted: TaskFilter
    ) -> tuple[list[str], ListPosition | None]:
        """Retry a page of failed and cancelled tasks; the ids of those that run again, and where the next page starts.

        Pages follow the time at which tasks were accepted, so that none is skipped when others change their state, and
        each task is retried under an id of its own, so that none is retried twice under one request.
        """
        if wanted == EVERY_TASK:
            raise InvalidArgument.of_field("filter", "is empty; name what to retry, such as a state or a label")
        if wanted.states - RETRIABLE:
            raise InvalidArgument.of_field("filter.states", "may hold FAILED and CANCELLED alone")
        wanted = replace(wanted, states=wanted.states or RETRIABLE)
        records, position = await self._ledger.list_tasks(request.tenant, limit, after, wanted)
        free = asyncio.Semaphore(_RETRIES_AT_ONCE)

        async def retried(task_id: str) -> bool:
            async with free:
                return await self._retried(task_id, Request(request.tenant, _id_for(request, task_id)))

        again = await asyncio.gather(*(retried(record.id) for record in records))
        return [record.id for record, runs in zip(records, again, strict=True) if runs], position

    async def _retried(self, task_id: str, request: Request) -> bool:
        """Whether a task runs again; it may have gone, or on, since it was listed."""
        try:
            return not (await self._ledger.retry(task_id, request)).ended
        except (NotFound, FailedPrecondition):
            return False

    async def pause_agent(self, request: Request, agent: str, paused: bool) -> task_pb2.Agent:
        """Pause or resume an agent; the agent after the call. Raises NotFound, AlreadyExists."""
        await self._announced(agent)
        await self._ledger.set_paused(PauseKind.AGENT, agent, paused, request)
        return views.agent_message(await self._announced(agent))

    async def _announced(self, agent: str) -> AgentRecord:
        record = (await self._directory.records(newest=True)).get(agent)
        if record is None:
            raise NotFound(f"no worker has ever announced agent {agent}")
        return record

    async def pause_tenant(self, request: Request, paused: bool) -> task_pb2.Tenant:
        """Pause or resume the caller's tenant; the tenant after the call. Raises AlreadyExists."""
        await self._ledger.set_paused(PauseKind.TENANT, request.tenant, paused, request)
        return task_pb2.Tenant(name=request.tenant, paused=await self._ledger.is_paused(request.tenant))


def _id_for(request: Request, task_id: str) -> str:
    """The request id under which one task of many is retried."""
    return "retry-many." + hashlib.sha256(f"{request.id} {task_id}".encode()).hexdigest()
