"""A real gRPC server in the gateway's place, which answers, breaks and comes back as told."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import grpc

from waybill import Client
from waybill.api.v1 import gateway_pb2, gateway_pb2_grpc, task_pb2
from waybill.core.task import Event, EventType, Failure, TaskState
from waybill.errors import NotFound
from waybill.rpc.conversion import event_to_proto, json_payload
from waybill.rpc.status import to_grpc_status

LAST = 12


class Gateway(gateway_pb2_grpc.GatewayServiceServicer):
    """Serves one finished task with `LAST` events, remembers what it was asked, and fails as told."""

    def __init__(self) -> None:
        self.submitted: list[gateway_pb2.SubmitTaskRequest] = []
        self.tenants: list[str] = []
        self.refusals = 0
        self.cuts: list[tuple[int, int, bool]] = []
        self.watched_from: list[int] = []
        self.failure: Failure | None = None
        self.history = [EventType.STEP_PROGRESS] * (LAST - 1) + [EventType.TASK_FINISHED]
        self.resets: list[int] = []
        self.digests: list[int] = []
        self.seen: list[Any] = []
        self.archived = False
        self.error: Exception | None = None
        self.holds = False
        """Whether streams wait for ever after their first event."""
        self.running = self.watching = 0
        """Streams that are open."""
        self.traces: list[str] = []

    def task(self, name: str = "tasks/t1") -> task_pb2.Task:
        failed = self.failure is not None
        return task_pb2.Task(
            name=name,
            state=task_pb2.TASK_STATE_FAILED if failed else task_pb2.TASK_STATE_SUCCEEDED,
            last_sequence=len(self.history),
            output=None if failed else json_payload(b'{"answer":42}'),
            failure=task_pb2.Failure(reason=self.failure.reason, message=self.failure.message)
            if self.failure
            else None,
        )

    async def _refuse(self, context: grpc.aio.ServicerContext) -> None:
        if self.error is not None:
            await context.abort_with_status(to_grpc_status(self.error))
        if self.refusals:
            self.refusals -= 1
            await context.abort(grpc.StatusCode.UNAVAILABLE, "not now")

    async def SubmitTask(self, request: Any, context: Any) -> Any:
        self.submitted.append(request)
        self.tenants += [value for key, value in context.invocation_metadata() if key == "x-waybill-tenant"]
        self.traces += [value for key, value in context.invocation_metadata() if key == "traceparent"]
        await self._refuse(context)
        return gateway_pb2.SubmitTaskResponse(task=self.task(f"tasks/{request.spec.goal or 't1'}"))

    async def BatchSubmitTasks(self, request: Any, context: Any) -> Any:
        results = []
        for item in request.requests:
            refusal = {
                "full": gateway_pb2.SubmitRefusal(code=14, reason="STORE_UNAVAILABLE", message="later"),
                "twice": gateway_pb2.SubmitRefusal(code=6, reason="REQUEST_ID_REUSED", message="other spec"),
            }.get(item.spec.goal)
            if refusal is None:
                results.append(gateway_pb2.SubmitResult(task=self.task(f"tasks/{item.spec.goal}")))
            else:
                results.append(gateway_pb2.SubmitResult(refusal=refusal))
        return gateway_pb2.BatchSubmitTasksResponse(results=results)

    async def GetTask(self, request: Any, context: Any) -> Any:
        await self._refuse(context)
        return gateway_pb2.GetTaskResponse(task=self.task(request.name))

    async def ListTasks(self, request: Any, context: Any) -> Any:
        self.seen.append(request)
        page = int(request.page_token or 0)
        tasks = [self.task(f"tasks/p{page}-{number}") for number in range(2)]
        return gateway_pb2.ListTasksResponse(tasks=tasks, next_page_token=str(page + 1) if page < 2 else "")

    async def WatchTask(self, request: Any, context: Any) -> AsyncIterator[Any]:
        await self._refuse(context)
        if self.archived:
            await context.abort_with_status(to_grpc_status(NotFound(f"there are no events of {request.name}")))
        self.watching += 1
        try:
            async for response in self._events(request, context):
                yield response
                if self.holds:
                    await asyncio.Event().wait()
        finally:
            self.watching -= 1

    async def _events(self, request: Any, context: Any) -> AsyncIterator[Any]:
        self.watched_from.append(request.from_sequence)
        self.digests.append(request.after_digest)
        last = len(self.history)
        count, overlap, clean = self.cuts.pop(0) if self.cuts else (last, 0, True)
        first = max(1, request.from_sequence - overlap)
        if self.resets and request.from_sequence >= self.resets[0]:
            self.resets.pop(0)
            first, count = 1, last
            reset = task_pb2.TaskEvent(type=task_pb2.EVENT_TYPE_STREAM_RESET)
            yield gateway_pb2.WatchTaskResponse(events=[reset])
        for sequence in range(first, min(last, max(first, request.from_sequence) + count - 1) + 1):
            kind = self.history[sequence - 1]
            state = TaskState.SUCCEEDED if kind is EventType.TASK_FINISHED else None
            told = Event(type=kind, sequence=sequence, time_ms=sequence, digest=100 + sequence, state=state)
            event = event_to_proto(told)
            yield gateway_pb2.WatchTaskResponse(events=[event])
        if not clean:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "the stream broke")

    async def WatchTasks(self, request: Any, context: Any) -> AsyncIterator[Any]:
        """Tells of `LAST` tasks, in messages of a few, and breaks as told; by name it ends after them."""
        self.seen.append(request)
        await self._refuse(context)
        position = int(request.cursor or 0)
        yield gateway_pb2.WatchTasksResponse(cursor=str(position))
        count, at_once, clean = self.cuts.pop(0) if self.cuts else (LAST, 1, True)
        last = min(LAST, position + count)
        while position < last:
            numbers = range(position + 1, min(last, position + max(1, at_once)) + 1)
            position = numbers[-1]
            results = [
                task_pb2.TaskResult(task=self.task(f"tasks/t{number}"), cursor=str(number)) for number in numbers
            ]
            yield gateway_pb2.WatchTasksResponse(results=results, cursor=str(position))
        if last < LAST or not clean:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "the stream broke")

    async def RunTask(self, request: Any, context: Any) -> AsyncIterator[Any]:
        self.seen.append(request)
        await self._refuse(context)
        accepted = self.task(f"tasks/{request.spec.goal or 't1'}")
        accepted.state, accepted.last_sequence = task_pb2.TASK_STATE_RUNNING, 2
        accepted.ClearField("output")
        self.running += 1
        try:
            yield gateway_pb2.RunTaskResponse(task=accepted)
            async for response in self._events(request, context):
                yield gateway_pb2.RunTaskResponse(events=response.events)
                if self.holds:
                    await asyncio.Event().wait()
            yield gateway_pb2.RunTaskResponse(task=self.task(accepted.name))
        finally:
            self.running -= 1

    async def _steer(self, request: Any, context: Any) -> task_pb2.Task:
        self.seen.append(request)
        await self._refuse(context)
        return self.task(request.name)

    async def CancelTask(self, request: Any, context: Any) -> Any:
        return gateway_pb2.CancelTaskResponse(task=await self._steer(request, context))

    async def PauseTask(self, request: Any, context: Any) -> Any:
        return gateway_pb2.PauseTaskResponse(task=await self._steer(request, context))

    async def ResumeTask(self, request: Any, context: Any) -> Any:
        return gateway_pb2.ResumeTaskResponse(task=await self._steer(request, context))

    async def RetryTask(self, request: Any, context: Any) -> Any:
        return gateway_pb2.RetryTaskResponse(task=await self._steer(request, context))

    async def RetryTasks(self, request: Any, context: Any) -> Any:
        self.seen.append(request)
        await self._refuse(context)
        page = int(request.page_token or 0)
        names = [f"tasks/p{page}-{number}" for number in range(2 - page)]
        return gateway_pb2.RetryTasksResponse(names=names, next_page_token=str(page + 1) if page < 2 else "")

    async def AnswerStep(self, request: Any, context: Any) -> Any:
        self.seen.append(request)
        await self._refuse(context)
        step = task_pb2.Step(name=request.name, state=task_pb2.STEP_STATE_SUCCEEDED, output=request.answer)
        step.question.prompt = "Go on?"
        step.question_input.data = b"{}"
        return gateway_pb2.AnswerStepResponse(step=step)

    async def ListAttempts(self, request: Any, context: Any) -> Any:
        self.seen.append(request)
        attempt = task_pb2.Attempt(attempt=1, state=task_pb2.STEP_STATE_FAILED, worker="w", run_ms=7)
        attempt.start_time.FromMilliseconds(1_500)
        return gateway_pb2.ListAttemptsResponse(attempts=[attempt])

    async def ListEffects(self, request: Any, context: Any) -> Any:
        effect = task_pb2.Effect(step=f"{request.parent}/steps/a", key="mail", state=task_pb2.EFFECT_STATE_UNKNOWN)
        return gateway_pb2.ListEffectsResponse(effects=[effect])

    async def ResolveEffect(self, request: Any, context: Any) -> Any:
        self.seen.append(request)
        await self._refuse(context)
        effect = task_pb2.Effect(step=request.step, key=request.key, state=request.state)
        if request.HasField("result"):
            effect.result.CopyFrom(request.result)
        return gateway_pb2.ResolveEffectResponse(effect=effect)

    async def ListDeadLetters(self, request: Any, context: Any) -> Any:
        page = int(request.page_token or 0)
        letter = task_pb2.DeadLetter(name=f"deadLetters/t1.{page}", step="tasks/t1/steps/a")
        return gateway_pb2.ListDeadLettersResponse(
            dead_letters=[letter], next_page_token=str(page + 1) if page < 2 else ""
        )

    async def GetDeadLetter(self, request: Any, context: Any) -> Any:
        attempts = [task_pb2.Attempt(attempt=1, state=task_pb2.STEP_STATE_FAILED)]
        letter = task_pb2.DeadLetter(name=request.name, step="tasks/t1/steps/a", attempts=attempts)
        return gateway_pb2.GetDeadLetterResponse(dead_letter=letter)

    async def RetryDeadLetter(self, request: Any, context: Any) -> Any:
        self.seen.append(request)
        await self._refuse(context)
        return gateway_pb2.RetryDeadLetterResponse(task=self.task())

    async def DropDeadLetter(self, request: Any, context: Any) -> Any:
        self.seen.append(request)
        await self._refuse(context)
        return gateway_pb2.DropDeadLetterResponse()

    async def PauseAgent(self, request: Any, context: Any) -> Any:
        self.seen.append(request)
        await self._refuse(context)
        return gateway_pb2.PauseAgentResponse(agent=task_pb2.Agent(name=request.name, paused=True))

    async def ResumeAgent(self, request: Any, context: Any) -> Any:
        self.seen.append(request)
        await self._refuse(context)
        return gateway_pb2.ResumeAgentResponse(agent=task_pb2.Agent(name=request.name))

    async def PauseTenant(self, request: Any, context: Any) -> Any:
        self.seen.append(request)
        await self._refuse(context)
        return gateway_pb2.PauseTenantResponse(tenant=task_pb2.Tenant(name="default", paused=True))

    async def ResumeTenant(self, request: Any, context: Any) -> Any:
        self.seen.append(request)
        await self._refuse(context)
        return gateway_pb2.ResumeTenantResponse(tenant=task_pb2.Tenant(name="default"))

    async def GetUsage(self, request: Any, context: Any) -> Any:
        self.seen.append(request)
        used = task_pb2.Usage(input_tokens=9, cost_microusd=70)
        row = task_pb2.UsageRow(step="a", agent="llm", model="m", usage=used, calls=2)
        return gateway_pb2.GetUsageResponse(total=used, rows=[row])

    async def ListModelCalls(self, request: Any, context: Any) -> Any:
        self.seen.append(request)
        page = int(request.page_token or 0)
        call = task_pb2.ModelCall(step="tasks/t1/steps/a", call=page, state=task_pb2.MODEL_CALL_STATE_SETTLED)
        call.start_time.FromMilliseconds(1_500)
        call.prompt.CopyFrom(json_payload(b'{"messages":[]}'))
        call.response.CopyFrom(task_pb2.Payload(media_type="text/plain", data=b"cut [cut]"))
        return gateway_pb2.ListModelCallsResponse(calls=[call], next_page_token="" if page else "1")

    async def GetTenantBudget(self, request: Any, context: Any) -> Any:
        return gateway_pb2.GetTenantBudgetResponse(budget=task_pb2.TenantBudget(max_day_microusd=5))

    async def SetTenantBudget(self, request: Any, context: Any) -> Any:
        self.seen.append(request)
        await self._refuse(context)
        return gateway_pb2.SetTenantBudgetResponse(budget=request.budget)

    async def ListLimits(self, request: Any, context: Any) -> Any:
        limit = task_pb2.Limit(name="limits/agent:echo", max_concurrency=2, learned_concurrency=1)
        return gateway_pb2.ListLimitsResponse(limits=[limit])

    async def SetLimit(self, request: Any, context: Any) -> Any:
        self.seen.append(request)
        await self._refuse(context)
        return gateway_pb2.SetLimitResponse(limit=request.limit)


@contextlib.asynccontextmanager
async def serving(gateway: Gateway, port: int = 0) -> AsyncIterator[str]:
    server = grpc.aio.server()
    gateway_pb2_grpc.add_GatewayServiceServicer_to_server(gateway, server)
    port = server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(0)


@contextlib.asynccontextmanager
async def connected(gateway: Gateway, **options: Any) -> AsyncIterator[Client]:
    async with serving(gateway) as address, Client(address, **options) as client:
        yield client
