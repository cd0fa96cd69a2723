"""What a dispatcher of tests answers where no test cares what is stored: the same each time."""

from __future__ import annotations

from typing import Any

from waybill.api.v1 import dispatcher_pb2, dispatcher_pb2_grpc, task_pb2
from waybill.errors import NotFound
from waybill.rpc.caller import tenant_of


class FixedAnswers(dispatcher_pb2_grpc.DispatcherServiceServicer):
    """Keeps what it is asked in `requests_seen`."""

    def __init__(self) -> None:
        self.requests_seen: list[Any] = []

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
