"""A dispatcher that keeps tasks in memory, behind a real server."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from typing import Any

from fixed_answers import FixedAnswers

from waybill.api.v1 import dispatcher_pb2, dispatcher_pb2_grpc, gateway_pb2, task_pb2
from waybill.errors import AlreadyExists, InvalidArgument, NotFound, Unavailable, WaybillError
from waybill.rpc.caller import tenant_of
from waybill.rpc.events import timestamp
from waybill.rpc.server import ServiceServer
from waybill.settings import ServiceSettings

FINISHED = task_pb2.EVENT_TYPE_TASK_FINISHED
RETRIED = task_pb2.EVENT_TYPE_TASK_RETRIED
RESET = task_pb2.EVENT_TYPE_STREAM_RESET
PROGRESS = task_pb2.EVENT_TYPE_STEP_PROGRESS
ACCEPTED = task_pb2.EVENT_TYPE_TASK_ACCEPTED


class FakeDispatcher(FixedAnswers):
    """Keeps tasks and events by tenant, counts what it is asked, and fails when told to."""

    def __init__(self) -> None:
        super().__init__()
        self.tasks: dict[tuple[str, str], task_pb2.Task] = {}
        self.events: dict[str, list[task_pb2.TaskEvent]] = {}
        self.requests: dict[tuple[str, str], tuple[str, bytes]] = {}
        self.groups: list[list[dispatcher_pb2.Submission]] = []
        self.error: WaybillError | Exception | None = None
        self.create_gate = asyncio.Event()
        self.create_gate.set()
        self.streams_opened = 0
        self.streams_open = 0
        self.reads = 0
        self.results: list[task_pb2.TaskResult] = []
        self.templates: list[task_pb2.Template] = []
        self.last_request: Any = None
        self.last_metadata: dict[str, str] = {}
        self.ready = True
        self._news = asyncio.Condition()
        self._breaks = 0
        self._server: ServiceServer | None = None
        self.port = 0

    async def start(self) -> None:
        """Serve, on the same port as before after a `kill`."""

        async def ready() -> bool:
            return self.ready

        settings = ServiceSettings(grpc_port=self.port, shutdown_grace_seconds=0)
        self._server = ServiceServer("fake", settings, ready=ready)
        dispatcher_pb2_grpc.add_DispatcherServiceServicer_to_server(self, self._server.grpc)
        await self._server.start(["waybill.api.v1.DispatcherService"])
        self.port = self._server.grpc_port

    async def kill(self) -> None:
        """Stop serving at once; what it keeps outlives it, as a store would."""
        if self._server is not None:
            await self._server.stop()
            self._server = None

    def add_task(self, name: str, tenant: str = "default", events: int = 1) -> None:
        """A task with that many events, the first of them its acceptance."""
        self.tasks[tenant, name] = task_pb2.Task(name=name, state=task_pb2.TASK_STATE_RUNNING)
        self.events[name] = [_event(1, ACCEPTED)] + [_event(n, PROGRESS) for n in range(2, events + 1)]

    async def emit(self, name: str, count: int | None = None, *, text: str = "", finish: bool = False) -> None:
        """Append events, one unless told otherwise, or the terminal one after them if asked."""
        log = self.events[name]
        async with self._news:
            for _ in range((0 if finish else 1) if count is None else count):
                log.append(_event(len(log) + 1, PROGRESS, text))
            if finish:
                log.append(_event(len(log) + 1, FINISHED))
                self._set_state(name, task_pb2.TASK_STATE_SUCCEEDED)
            self._news.notify_all()

    async def retry(self, name: str) -> None:
        """Let an ended task run again."""
        log = self.events[name]
        async with self._news:
            log.append(_event(len(log) + 1, RETRIED))
            self._set_state(name, task_pb2.TASK_STATE_RUNNING)
            self._news.notify_all()

    async def finish_and_retry(self, name: str) -> None:
        """End a task and let it run again, in one moment."""
        log = self.events[name]
        async with self._news:
            log.append(_event(len(log) + 1, FINISHED))
            log.append(_event(len(log) + 1, RETRIED))
            self._news.notify_all()

    async def lose(self, name: str, kept: int, text: str = "after") -> None:
        """A failover that keeps only the first events; one other than was lost follows. Streams tell so."""
        async with self._news:
            log = self.events[name][:kept]
            self.events[name] = [*log, _event(kept + 1, PROGRESS, text)]
            self._news.notify_all()

    def _set_state(self, name: str, state: task_pb2.TaskState.ValueType) -> None:
        for (_, owned), task in self.tasks.items():
            if owned == name:
                task.state = state
                if state == task_pb2.TASK_STATE_SUCCEEDED:
                    task.output.data = b'{"answer": 42}'
                else:
                    task.ClearField("output")

    async def break_streams(self) -> None:
        """End every open stream with UNAVAILABLE."""
        async with self._news:
            self._breaks += 1
            self._news.notify_all()

    def _task(self, name: str, context: Any) -> task_pb2.Task:
        self.last_metadata = dict(context.invocation_metadata())
        if self.error is not None:
            raise self.error
        task = self.tasks.get((tenant_of(context.invocation_metadata()), name))
        if task is None:
            raise NotFound(f"{name} does not exist")
        return task

    async def CreateTasks(self, request: dispatcher_pb2.CreateTasksRequest, context: Any) -> Any:
        self.last_metadata = dict(context.invocation_metadata())
        if self.error is not None:
            raise self.error
        self.groups.append(list(request.submissions))
        await self.create_gate.wait()
        return dispatcher_pb2.CreateTasksResponse(results=[self._accept(item) for item in request.submissions])

    async def ReadTemplates(self, request: Any, context: Any) -> Any:
        wanted = [item for item in self.templates if request.name in ("", item.name)]
        if request.name and not wanted:
            raise NotFound(f"there is no template {request.name}")
        return dispatcher_pb2.ReadTemplatesResponse(templates=wanted)

    def _accept(self, item: dispatcher_pb2.Submission) -> gateway_pb2.SubmitResult:
        key = (item.tenant, item.request_id)
        name, spec = self.requests.setdefault(
            key, (f"tasks/t{len(self.requests) + 1}", item.spec.SerializeToString(deterministic=True))
        )
        if spec != item.spec.SerializeToString(deterministic=True):
            return gateway_pb2.SubmitResult(
                refusal=gateway_pb2.SubmitRefusal(code=6, reason=AlreadyExists.reason, message="request_id was used")
            )
        if item.spec.goal == "refuse":
            violation = task_pb2.FieldViolation(field="plan.steps[0].agent", description="no such agent")
            refusal = gateway_pb2.SubmitRefusal(
                code=3, reason="PLAN_INVALID", message="bad plan", violations=[violation]
            )
            return gateway_pb2.SubmitResult(refusal=refusal)
        if name not in self.events:
            self.add_task(name, item.tenant)
        return gateway_pb2.SubmitResult(task=self.tasks[item.tenant, name])

    async def ReadTask(self, request: dispatcher_pb2.ReadTaskRequest, context: Any) -> Any:
        return dispatcher_pb2.ReadTaskResponse(task=self._task(request.name, context))

    async def ReadTasks(self, request: dispatcher_pb2.ReadTasksRequest, context: Any) -> Any:
        self.last_request = request
        if request.page_token not in ("", "next"):
            raise InvalidArgument.of_field("page_token", "is not a token of this listing")
        tenant = tenant_of(context.invocation_metadata())
        tasks = [task for (owner, _), task in self.tasks.items() if owner == tenant]
        return dispatcher_pb2.ReadTasksResponse(tasks=tasks, next_page_token="next")

    async def ReadSteps(self, request: dispatcher_pb2.ReadStepsRequest, context: Any) -> Any:
        self._task(request.parent, context)
        self.last_request = request
        step = task_pb2.Step(name=f"{request.parent}/steps/a", agent="echo", state=task_pb2.STEP_STATE_SUCCEEDED)
        step.output.data = b'{"big": 18446744073709551617, "whole": 5}'
        return dispatcher_pb2.ReadStepsResponse(steps=[step])

    async def ReadTaskMetrics(self, request: dispatcher_pb2.ReadTaskMetricsRequest, context: Any) -> Any:
        self._task(request.name, context)
        metrics = task_pb2.TaskMetrics(name=request.name, run_ms=7, steps=[task_pb2.StepMetrics(step="a", run_ms=7)])
        return dispatcher_pb2.ReadTaskMetricsResponse(metrics=metrics)

    async def ReadEvents(self, request: dispatcher_pb2.ReadEventsRequest, context: Any) -> Any:
        self._task(request.name, context)
        self.reads += 1
        start = request.from_sequence - 1
        return dispatcher_pb2.ReadEventsResponse(events=self.events[request.name][start : start + request.limit])

    async def StreamEvents(self, request: dispatcher_pb2.StreamEventsRequest, context: Any) -> AsyncIterator[Any]:
        self._task(request.name, context)
        log = self.events[request.name]
        position, breaks = request.from_sequence - 1, self._breaks
        seen = log[position - 1].digest if 0 < position <= len(log) else 0
        if request.after_digest and request.after_digest != seen:
            yield dispatcher_pb2.StreamEventsResponse(events=[task_pb2.TaskEvent(type=RESET)])
            position = 0
        elif position > len(log):
            raise InvalidArgument.of_field("from_sequence", "lies beyond the next event")
        self.streams_opened += 1
        self.streams_open += 1
        try:
            while True:
                if self.events[request.name] is not log:
                    log, position = self.events[request.name], 0
                    yield dispatcher_pb2.StreamEventsResponse(events=[task_pb2.TaskEvent(type=RESET)])
                events = log[position:]
                if events:
                    yield dispatcher_pb2.StreamEventsResponse(events=events)
                    position += len(events)
                if position == len(log) and log[-1].type == FINISHED:
                    return
                async with self._news:
                    await self._news.wait_for(
                        lambda: (
                            len(log) > position or self._breaks > breaks or self.events.get(request.name) is not log  # noqa: B023
                        )
                    )
                if self._breaks > breaks:
                    raise Unavailable("going away")
        finally:
            self.streams_open -= 1

    async def end(self, *names: str) -> None:
        """Let tasks end, of which streams of results tell."""
        async with self._news:
            for name in names:
                task = task_pb2.Task(name=name, state=task_pb2.TASK_STATE_SUCCEEDED)
                task.output.data = b'{"answer": 42}'
                self.results.append(task_pb2.TaskResult(task=task, cursor=f"c{len(self.results) + 1}"))
            self._news.notify_all()

    async def StreamResults(self, request: dispatcher_pb2.StreamResultsRequest, context: Any) -> AsyncIterator[Any]:
        self.last_request = request
        if self.error is not None:
            raise self.error
        position, breaks = len(self.results) if request.from_now else 0, self._breaks
        if request.cursor:
            position = int(request.cursor.removeprefix("c"))
        pending = set(request.names) - {result.task.name for result in self.results[:position]}
        self.streams_opened += 1
        self.streams_open += 1
        try:
            if pending or not request.names:
                yield dispatcher_pb2.StreamResultsResponse(cursor=f"c{position}")
            while pending or not request.names:
                new, position = self.results[position:], len(self.results)
                told = [result for result in new if not request.names or result.task.name in pending]
                pending -= {result.task.name for result in told}
                if new:
                    yield dispatcher_pb2.StreamResultsResponse(results=told, cursor=f"c{position}")
                if pending or not request.names:
                    async with self._news:
                        await self._news.wait_for(lambda: len(self.results) > position or self._breaks > breaks)  # noqa: B023
                if self._breaks > breaks:
                    raise Unavailable("going away")
        finally:
            self.streams_open -= 1

    async def SteerTask(self, request: dispatcher_pb2.SteerTaskRequest, context: Any) -> Any:
        self.requests_seen.append(request)
        task = self._task(request.name, context)
        task.state = {
            dispatcher_pb2.TASK_ACTION_CANCEL: task_pb2.TASK_STATE_CANCELLED,
            dispatcher_pb2.TASK_ACTION_PAUSE: task_pb2.TASK_STATE_PAUSED,
            dispatcher_pb2.TASK_ACTION_RESUME: task_pb2.TASK_STATE_RUNNING,
            dispatcher_pb2.TASK_ACTION_RETRY: task_pb2.TASK_STATE_RUNNING,
        }[request.action]
        return dispatcher_pb2.SteerTaskResponse(task=task)


_written = itertools.count(1)


def _event(sequence: int, kind: task_pb2.EventType.ValueType, text: str = "") -> task_pb2.TaskEvent:
    """An event whose digest no other has, as in a store, where no two are of the same time and place."""
    event = task_pb2.TaskEvent(sequence=sequence, type=kind, time=timestamp(sequence), message=text)
    event.digest = next(_written)
    return event
