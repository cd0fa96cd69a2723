"""A gateway on free ports before a dispatcher that keeps tasks in memory; everything in between is real sockets."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, cast

import httpx
import pytest
from waybill_gateway.gateway import Gateway
from waybill_gateway.settings import GatewaySettings

from waybill.api.v1 import dispatcher_pb2, dispatcher_pb2_grpc, gateway_pb2, gateway_pb2_grpc, task_pb2
from waybill.errors import AlreadyExists, InvalidArgument, NotFound, Unavailable, WaybillError
from waybill.rpc.caller import tenant_of
from waybill.rpc.channel import connect
from waybill.rpc.events import timestamp
from waybill.rpc.server import ServiceServer
from waybill.settings import ServiceSettings

FINISHED = task_pb2.EVENT_TYPE_TASK_FINISHED
RETRIED = task_pb2.EVENT_TYPE_TASK_RETRIED
RESET = task_pb2.EVENT_TYPE_STREAM_RESET
PROGRESS = task_pb2.EVENT_TYPE_STEP_PROGRESS
ACCEPTED = task_pb2.EVENT_TYPE_TASK_ACCEPTED


class FakeDispatcher(dispatcher_pb2_grpc.DispatcherServiceServicer):
    """Keeps tasks and events by tenant, counts what it is asked, and fails when told to."""

    def __init__(self) -> None:
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
        self.requests_seen: list[Any] = []
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

    async def RetryMany(self, request: dispatcher_pb2.RetryManyRequest, context: Any) -> Any:
        self.requests_seen.append(request)
        return dispatcher_pb2.RetryManyResponse(names=["tasks/t1"], next_page_token="more")

    async def SubmitAnswer(self, request: dispatcher_pb2.SubmitAnswerRequest, context: Any) -> Any:
        self.requests_seen.append(request)
        step = task_pb2.Step(name=request.name, state=task_pb2.STEP_STATE_SUCCEEDED, output=request.answer)
        return dispatcher_pb2.SubmitAnswerResponse(step=step)

    async def ReadAttempts(self, request: dispatcher_pb2.ReadAttemptsRequest, context: Any) -> Any:
        self.requests_seen.append(request)
        attempt = task_pb2.Attempt(attempt=1, state=task_pb2.STEP_STATE_FAILED, worker="w", run_ms=7)
        attempt.failure.reason = "AGENT_ERROR"
        return dispatcher_pb2.ReadAttemptsResponse(attempts=[attempt])

    async def ReadEffects(self, request: dispatcher_pb2.ReadEffectsRequest, context: Any) -> Any:
        self.requests_seen.append(request)
        effect = task_pb2.Effect(step=f"{request.parent}/steps/a", key="mail", state=task_pb2.EFFECT_STATE_UNKNOWN)
        return dispatcher_pb2.ReadEffectsResponse(effects=[effect])

    async def DecideEffect(self, request: dispatcher_pb2.DecideEffectRequest, context: Any) -> Any:
        self.requests_seen.append(request)
        effect = task_pb2.Effect(step=request.step, key=request.key, state=request.state)
        if request.HasField("result"):
            effect.result.CopyFrom(request.result)
        return dispatcher_pb2.DecideEffectResponse(effect=effect)

    async def ReadDeadLetters(self, request: dispatcher_pb2.ReadDeadLettersRequest, context: Any) -> Any:
        self.requests_seen.append(request)
        letter = task_pb2.DeadLetter(name="deadLetters/t1.2", step="tasks/t1/steps/b", deaths=3)
        return dispatcher_pb2.ReadDeadLettersResponse(dead_letters=[letter], next_page_token="more")

    async def ReadDeadLetter(self, request: dispatcher_pb2.ReadDeadLetterRequest, context: Any) -> Any:
        self.requests_seen.append(request)
        if request.name != "deadLetters/t1.2":
            raise NotFound(f"there is no dead letter {request.name}")
        letter = task_pb2.DeadLetter(name=request.name, attempts=[task_pb2.Attempt(attempt=1)])
        return dispatcher_pb2.ReadDeadLetterResponse(dead_letter=letter)

    async def SettleDeadLetter(self, request: dispatcher_pb2.SettleDeadLetterRequest, context: Any) -> Any:
        self.requests_seen.append(request)
        return dispatcher_pb2.SettleDeadLetterResponse(
            task=task_pb2.Task(name="tasks/t1", state=task_pb2.TASK_STATE_RUNNING)
        )

    async def SetPause(self, request: dispatcher_pb2.SetPauseRequest, context: Any) -> Any:
        self.requests_seen.append(request)
        if request.name:
            agent = task_pb2.Agent(name=request.name, paused=request.paused)
            return dispatcher_pb2.SetPauseResponse(agent=agent)
        tenant = task_pb2.Tenant(name=tenant_of(context.invocation_metadata()), paused=request.paused)
        return dispatcher_pb2.SetPauseResponse(tenant=tenant)

    async def ReadUsage(self, request: dispatcher_pb2.ReadUsageRequest, context: Any) -> Any:
        self.requests_seen.append(request)
        used = task_pb2.Usage(input_tokens=9, cost_microusd=70)
        row = task_pb2.UsageRow(
            step="a" if request.task else "", day=request.from_day, agent="llm", usage=used, calls=2
        )
        return dispatcher_pb2.ReadUsageResponse(total=used, rows=[row])

    async def ReadModelCalls(self, request: dispatcher_pb2.ReadModelCallsRequest, context: Any) -> Any:
        self.requests_seen.append(request)
        call = task_pb2.ModelCall(step="tasks/t1/steps/a", attempt=1, call=1, state=task_pb2.MODEL_CALL_STATE_SETTLED)
        if "/steps/" in request.parent:
            call.prompt.data = b'{"messages":[]}'
        return dispatcher_pb2.ReadModelCallsResponse(calls=[call], next_page_token="more")

    async def ReadTenantBudget(self, request: dispatcher_pb2.ReadTenantBudgetRequest, context: Any) -> Any:
        return dispatcher_pb2.ReadTenantBudgetResponse(budget=task_pb2.TenantBudget(max_day_microusd=5))

    async def WriteTenantBudget(self, request: dispatcher_pb2.WriteTenantBudgetRequest, context: Any) -> Any:
        self.requests_seen.append(request)
        return dispatcher_pb2.WriteTenantBudgetResponse(budget=request.budget)

    async def ReadLimits(self, request: dispatcher_pb2.ReadLimitsRequest, context: Any) -> Any:
        return dispatcher_pb2.ReadLimitsResponse(limits=[task_pb2.Limit(name="limits/agent:echo", max_concurrency=2)])

    async def WriteLimit(self, request: dispatcher_pb2.WriteLimitRequest, context: Any) -> Any:
        self.requests_seen.append(request)
        return dispatcher_pb2.WriteLimitResponse(limit=request.limit)

    async def WriteSchedule(self, request: dispatcher_pb2.WriteScheduleRequest, context: Any) -> Any:
        self.requests_seen.append(request)
        return dispatcher_pb2.WriteScheduleResponse(schedule=request.schedule)

    async def ReadSchedule(self, request: dispatcher_pb2.ReadScheduleRequest, context: Any) -> Any:
        self.requests_seen.append(request)
        schedule = task_pb2.Schedule(name=request.name, cron="0 3 * * *", spec=task_pb2.TaskSpec(goal="why?"))
        schedule.firings.add(outcome=task_pb2.FIRING_OUTCOME_SUBMITTED, task="tasks/t1", count=1)
        schedule.firings.add(outcome=task_pb2.FIRING_OUTCOME_FAILED, failure={"reason": "PLAN_INVALID"}, count=1)
        return dispatcher_pb2.ReadScheduleResponse(schedule=schedule)

    async def ReadSchedules(self, request: dispatcher_pb2.ReadSchedulesRequest, context: Any) -> Any:
        self.requests_seen.append(request)
        schedule = task_pb2.Schedule(name="schedules/nightly", interval_ms=5_000, spec=task_pb2.TaskSpec(goal="why?"))
        return dispatcher_pb2.ReadSchedulesResponse(schedules=[schedule], next_page_token="more")

    async def SteerSchedule(self, request: dispatcher_pb2.SteerScheduleRequest, context: Any) -> Any:
        self.requests_seen.append(request)
        if request.action == dispatcher_pb2.SCHEDULE_ACTION_TRIGGER:
            return dispatcher_pb2.SteerScheduleResponse(task=task_pb2.Task(name="tasks/t1"))
        paused = request.action == dispatcher_pb2.SCHEDULE_ACTION_PAUSE
        return dispatcher_pb2.SteerScheduleResponse(schedule=task_pb2.Schedule(name=request.name, paused=paused))

    async def ReadAgents(self, request: dispatcher_pb2.ReadAgentsRequest, context: Any) -> Any:
        agent = task_pb2.Agent(name="agents/echo", input_schema='{"type":"object"}', live_workers=1)
        return dispatcher_pb2.ReadAgentsResponse(agents=[agent])


_written = itertools.count(1)


def _event(sequence: int, kind: task_pb2.EventType.ValueType, text: str = "") -> task_pb2.TaskEvent:
    """An event whose digest no other has, as in a store, where no two are of the same time and place."""
    event = task_pb2.TaskEvent(sequence=sequence, type=kind, time=timestamp(sequence), message=text)
    event.digest = next(_written)
    return event


async def eventually(condition: Callable[[], bool]) -> None:
    """Return once the condition holds; the test's own timeout ends a wait that is in vain."""
    while not condition():
        await asyncio.sleep(0.01)


@pytest.fixture(name="eventually")
def _eventually() -> Callable[[Callable[[], bool]], Awaitable[None]]:
    """Waits for a condition."""
    return eventually


@pytest.fixture
async def dispatcher() -> AsyncIterator[FakeDispatcher]:
    """A dispatcher that serves."""
    fake = FakeDispatcher()
    await fake.start()
    yield fake
    await fake.kill()


@pytest.fixture
def settings(dispatcher: FakeDispatcher) -> GatewaySettings:
    """Settings of a gateway on free ports before the dispatcher."""
    return GatewaySettings(
        grpc_port=0,
        http_port=0,
        metrics_port=0,
        dispatcher_address=f"127.0.0.1:{dispatcher.port}",
        shutdown_grace_seconds=1,
        call_timeout_seconds=5,
        max_body_bytes=100_000,
    )


@pytest.fixture
async def gateway(settings: GatewaySettings) -> AsyncIterator[Gateway]:
    """A gateway that serves; stopped as SIGTERM would after the test."""
    running = Gateway(settings)
    await running.start()
    stopped = asyncio.create_task(running.run_until_stopped())
    yield running
    running.server.request_stop()
    await stopped


@pytest.fixture
async def stub(gateway: Gateway) -> AsyncIterator[gateway_pb2_grpc.GatewayServiceAsyncStub]:
    """The gateway over gRPC."""
    async with connect(f"127.0.0.1:{gateway.server.grpc_port}") as channel:
        yield cast("gateway_pb2_grpc.GatewayServiceAsyncStub", gateway_pb2_grpc.GatewayServiceStub(channel))


@pytest.fixture
async def http(gateway: Gateway) -> AsyncIterator[httpx.AsyncClient]:
    """The gateway over HTTP."""
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{gateway.http.port}", timeout=30) as client:
        yield client
