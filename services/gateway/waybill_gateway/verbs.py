"""The verbs of the public API, once: the gRPC servicer and the HTTP app both call these, so they cannot drift."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import grpc

from waybill.api.v1 import dispatcher_pb2, dispatcher_pb2_grpc, gateway_pb2, task_pb2
from waybill.errors import InvalidArgument
from waybill_gateway import fields
from waybill_gateway.asking import ask
from waybill_gateway.caller import Caller
from waybill_gateway.fanout import Fanout
from waybill_gateway.filters import check_filter
from waybill_gateway.letters import Letters
from waybill_gateway.pauses import Pauses
from waybill_gateway.place import Place
from waybill_gateway.results import ResultStreams
from waybill_gateway.run import Run
from waybill_gateway.schedules import Schedules
from waybill_gateway.spending import Spending
from waybill_gateway.steering import Steering
from waybill_gateway.submitting import Submitting
from waybill_gateway.templates import Templates
from waybill_gateway.watch import Watch

if TYPE_CHECKING:
    from waybill.api.v1.dispatcher_pb2_grpc import DispatcherServiceAsyncStub

_READ_TIMEOUT_SECONDS = 5.0
"""Longest wait for one read of a run, which goes on reading as long as its caller stays."""


class Verbs:
    """The verbs that submit, read and watch, one method each, and the groups of all the others.

    Each takes a caller and a request of the public API, and raises `WaybillError` alone.
    """

    def __init__(self, channel: grpc.aio.Channel) -> None:
        stub = dispatcher_pb2_grpc.DispatcherServiceStub(channel)
        self._dispatcher = cast("DispatcherServiceAsyncStub", stub)
        self._submitting = Submitting(self._dispatcher)
        self.fanout = Fanout(self._dispatcher)
        self.results = ResultStreams(channel)
        self.steering = Steering(self._dispatcher)
        self.letters = Letters(self._dispatcher)
        self.pauses = Pauses(self._dispatcher)
        self.spending = Spending(self._dispatcher)
        self.schedules = Schedules(self._dispatcher)
        self.templates = Templates(self._dispatcher)

    async def submit_task(
        self, caller: Caller, request: gateway_pb2.SubmitTaskRequest
    ) -> gateway_pb2.SubmitTaskResponse:
        """Accept a task."""
        return await self._submitting.submit(caller, request)

    async def batch_submit_tasks(
        self, caller: Caller, request: gateway_pb2.BatchSubmitTasksRequest
    ) -> gateway_pb2.BatchSubmitTasksResponse:
        """Accept or refuse each of many tasks. Raises only if the dispatcher answered for none of them."""
        return await self._submitting.submit_batch(caller, request)

    async def get_task(self, caller: Caller, request: gateway_pb2.GetTaskRequest) -> gateway_pb2.GetTaskResponse:
        """Read a task."""
        name = fields.task_name("name", request.name)
        response = await ask(self._dispatcher.ReadTask, dispatcher_pb2.ReadTaskRequest(name=name), caller)
        return gateway_pb2.GetTaskResponse(task=response.task)

    async def list_tasks(self, caller: Caller, request: gateway_pb2.ListTasksRequest) -> gateway_pb2.ListTasksResponse:
        """List the caller's tasks."""
        check_filter(request.filter)
        response = await ask(
            self._dispatcher.ReadTasks,
            dispatcher_pb2.ReadTasksRequest(
                page_size=fields.page_size(request.page_size), page_token=request.page_token, filter=request.filter
            ),
            caller,
        )
        return gateway_pb2.ListTasksResponse(tasks=response.tasks, next_page_token=response.next_page_token)

    async def list_steps(self, caller: Caller, request: gateway_pb2.ListStepsRequest) -> gateway_pb2.ListStepsResponse:
        """List the steps of a task."""
        reading = dispatcher_pb2.ReadStepsRequest(
            parent=fields.task_name("parent", request.parent),
            page_size=fields.page_size(request.page_size),
            page_token=request.page_token,
        )
        response = await ask(self._dispatcher.ReadSteps, reading, caller)
        return gateway_pb2.ListStepsResponse(steps=response.steps, next_page_token=response.next_page_token)

    async def get_task_metrics(
        self, caller: Caller, request: gateway_pb2.GetTaskMetricsRequest
    ) -> gateway_pb2.GetTaskMetricsResponse:
        """Read latency and cost of a task."""
        name = fields.task_name("name", request.name)
        response = await ask(self._dispatcher.ReadTaskMetrics, dispatcher_pb2.ReadTaskMetricsRequest(name=name), caller)
        return gateway_pb2.GetTaskMetricsResponse(metrics=response.metrics)

    async def list_attempts(
        self, caller: Caller, request: gateway_pb2.ListAttemptsRequest
    ) -> gateway_pb2.ListAttemptsResponse:
        """List the attempts of a step."""
        reading = dispatcher_pb2.ReadAttemptsRequest(parent=fields.step_name("parent", request.parent))
        response = await ask(self._dispatcher.ReadAttempts, reading, caller)
        return gateway_pb2.ListAttemptsResponse(attempts=response.attempts)

    async def list_effects(
        self, caller: Caller, request: gateway_pb2.ListEffectsRequest
    ) -> gateway_pb2.ListEffectsResponse:
        """List the effects of a task."""
        reading = dispatcher_pb2.ReadEffectsRequest(parent=fields.task_name("parent", request.parent))
        response = await ask(self._dispatcher.ReadEffects, reading, caller)
        return gateway_pb2.ListEffectsResponse(effects=response.effects)

    async def watch_task(self, caller: Caller, request: gateway_pb2.WatchTaskRequest, *, rewind: bool = False) -> Watch:
        """Open a watch; it is known to be good when this returns.

        With `rewind`, a first event beyond the next one starts the history over instead of being refused.
        """
        name = fields.task_name("name", request.name)
        return await self.fanout.open(caller, name, _place(request), rewind=rewind)

    async def run_task(self, caller: Caller, request: gateway_pb2.RunTaskRequest, *, rewind: bool = False) -> Run:
        """Accept a task and return the way to its end; the task is durable by then. `rewind` is as in a watch."""
        place = _place(request)
        submission = gateway_pb2.SubmitTaskRequest(spec=request.spec, request_id=request.request_id)
        task = (await self.submit_task(caller, submission)).task
        reading = gateway_pb2.GetTaskRequest(name=task.name)

        def reader() -> Caller:
            return Caller.within(caller.tenant, _READ_TIMEOUT_SECONDS)

        async def read_task() -> task_pb2.Task:
            return (await self.get_task(reader(), reading)).task

        return Run(
            task,
            place,
            open_watch=lambda wanted: self.fanout.open(reader(), task.name, wanted, rewind=rewind),
            read_task=read_task,
            stopping=lambda: self.fanout.closed,
        )

    async def list_agents(
        self, caller: Caller, _request: gateway_pb2.ListAgentsRequest
    ) -> gateway_pb2.ListAgentsResponse:
        """List the agents that workers have announced."""
        response = await ask(self._dispatcher.ReadAgents, dispatcher_pb2.ReadAgentsRequest(), caller)
        return gateway_pb2.ListAgentsResponse(agents=response.agents)


def _place(request: gateway_pb2.WatchTaskRequest | gateway_pb2.RunTaskRequest) -> Place:
    """Where a watch begins. Raises `InvalidArgument` for a number that no event has."""
    if request.from_sequence < 0:
        raise InvalidArgument.of_field("from_sequence", f"is {request.from_sequence}; events are numbered from 1")
    return Place(request.from_sequence or 1, request.after_digest)
