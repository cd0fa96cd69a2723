"""DispatcherService: each call is handed to the module that knows how."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from waybill.api.v1 import dispatcher_pb2 as pb
from waybill.api.v1 import dispatcher_pb2_grpc
from waybill.core.limits import MAX_BATCH_SUBMISSIONS
from waybill.core.task import TaskState
from waybill.errors import InvalidArgument
from waybill.ledger.ledger import Ledger
from waybill.ledger.records import Request, TaskFilter
from waybill.rpc.caller import tenant_of
from waybill.rpc.enums import TASK_STATE_FROM_PROTO
from waybill.rpc.events import event_to_proto
from waybill_dispatcher import paging
from waybill_dispatcher.accept import Acceptance
from waybill_dispatcher.directory import AgentDirectory
from waybill_dispatcher.history import History
from waybill_dispatcher.views import agent_message
from waybill_dispatcher.workforce import read_workers

MAX_EVENTS = 1_000
DEFAULT_TASKS = 50
DEFAULT_STEPS = 100


class DispatcherServicer(dispatcher_pb2_grpc.DispatcherServiceServicer):
    """The dispatcher's RPCs; errors are those of `dispatcher.proto`."""

    def __init__(self, ledger: Ledger, acceptance: Acceptance, history: History, directory: AgentDirectory) -> None:
        self._ledger = ledger
        self._acceptance = acceptance
        self._history = history
        self._directory = directory

    async def CreateTasks(self, request: pb.CreateTasksRequest, context: Any) -> pb.CreateTasksResponse:
        """Accept tasks durably."""
        if not 1 <= len(request.submissions) <= MAX_BATCH_SUBMISSIONS:
            raise InvalidArgument.of_field("submissions", f"give 1 to {MAX_BATCH_SUBMISSIONS}")
        return pb.CreateTasksResponse(results=await self._acceptance.accept(request.submissions))

    async def ReadTask(self, request: pb.ReadTaskRequest, context: Any) -> pb.ReadTaskResponse:
        """Read a task."""
        task = await self._history.task(_tenant(context), paging.task_id_of(request.name))
        return pb.ReadTaskResponse(task=task)

    async def ReadTasks(self, request: pb.ReadTasksRequest, context: Any) -> pb.ReadTasksResponse:
        """List tasks."""
        tasks, position = await self._history.tasks(
            _tenant(context),
            paging.page_size_of(request.page_size, DEFAULT_TASKS),
            paging.task_position(request.page_token),
            TaskFilter(states=frozenset(_state(value) for value in request.filter.states)),
        )
        return pb.ReadTasksResponse(tasks=tasks, next_page_token=paging.task_token(position))

    async def ReadSteps(self, request: pb.ReadStepsRequest, context: Any) -> pb.ReadStepsResponse:
        """List a task's steps."""
        steps, last, count = await self._history.steps(
            _tenant(context),
            paging.task_id_of(request.parent, "parent"),
            paging.step_position(request.page_token),
            paging.page_size_of(request.page_size, DEFAULT_STEPS),
        )
        return pb.ReadStepsResponse(steps=steps, next_page_token=paging.step_token(last, count))

    async def ReadTaskMetrics(self, request: pb.ReadTaskMetricsRequest, context: Any) -> pb.ReadTaskMetricsResponse:
        """Read latency and cost."""
        metrics = await self._history.metrics(_tenant(context), paging.task_id_of(request.name))
        return pb.ReadTaskMetricsResponse(metrics=metrics)

    async def ReadEvents(self, request: pb.ReadEventsRequest, context: Any) -> pb.ReadEventsResponse:
        """Read events that exist."""
        if not 0 <= request.limit <= MAX_EVENTS:
            raise InvalidArgument.of_field("limit", f"must lie between 1 and {MAX_EVENTS}")
        events = await self._history.events(
            _tenant(context),
            paging.task_id_of(request.name),
            _first(request.from_sequence),
            request.limit or MAX_EVENTS,
        )
        return pb.ReadEventsResponse(events=[event_to_proto(event) for event in events])

    async def StreamEvents(
        self, request: pb.StreamEventsRequest, context: Any
    ) -> AsyncIterator[pb.StreamEventsResponse]:
        """Stream events as they come."""
        followed = self._history.follow(
            _tenant(context), paging.task_id_of(request.name), _first(request.from_sequence)
        )
        async for events in followed:
            yield pb.StreamEventsResponse(events=[event_to_proto(event) for event in events])

    async def SteerTask(self, request: pb.SteerTaskRequest, context: Any) -> pb.SteerTaskResponse:
        """Cancel, pause, resume or retry a task."""
        tenant, task_id = _tenant(context), paging.task_id_of(request.name)
        await self._history.record(tenant, task_id)
        steer = {
            pb.TASK_ACTION_CANCEL: self._ledger.cancel,
            pb.TASK_ACTION_PAUSE: self._ledger.pause,
            pb.TASK_ACTION_RESUME: self._ledger.resume,
            pb.TASK_ACTION_RETRY: self._ledger.retry,
        }.get(request.action)
        if steer is None:
            raise InvalidArgument.of_field("action", "names nothing that can be done with a task")
        await steer(task_id, Request(tenant, request.request_id))
        return pb.SteerTaskResponse(task=await self._history.task(tenant, task_id))

    async def ReadAgents(self, request: pb.ReadAgentsRequest, context: Any) -> pb.ReadAgentsResponse:
        """List agents."""
        records = await self._directory.records(newest=True)
        return pb.ReadAgentsResponse(agents=[agent_message(record) for record in records.values()])

    async def ReadWorkers(self, request: pb.ReadWorkersRequest, context: Any) -> pb.ReadWorkersResponse:
        """List live workers."""
        return pb.ReadWorkersResponse(workers=await read_workers(self._ledger))


def _tenant(context: Any) -> str:
    return tenant_of(context.invocation_metadata())


def _first(sequence: int) -> int:
    if sequence < 0:
        raise InvalidArgument.of_field("from_sequence", f"is {sequence}; sequence numbers start at 1")
    return sequence or 1


def _state(value: int) -> TaskState:
    state = TASK_STATE_FROM_PROTO.get(value)
    if state is None:
        raise InvalidArgument.of_field("states", "holds a value that is no state of a task")
    return state
