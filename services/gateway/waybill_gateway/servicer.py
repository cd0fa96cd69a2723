"""The gRPC face of the gateway."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

from waybill.api.v1 import gateway_pb2, gateway_pb2_grpc
from waybill.rpc.caller import tenant_of
from waybill.rpc.release import RELEASE
from waybill_gateway.caller import Caller
from waybill_gateway.event import run_response, watch_response
from waybill_gateway.verbs import Verbs

SERVICE_NAME = "waybill.api.v1.GatewayService"


class GatewayServicer(gateway_pb2_grpc.GatewayServiceServicer):
    """Reads who calls from the call's metadata, and hands on to the verbs."""

    def __init__(self, verbs: Verbs, call_timeout_seconds: float) -> None:
        self._verbs = verbs
        self._call_timeout_seconds = call_timeout_seconds

    def _caller(self, context: Any, longest_seconds: float = float("inf")) -> Caller:
        remaining_seconds = context.time_remaining()
        if remaining_seconds is None:
            remaining_seconds = self._call_timeout_seconds
        return Caller.within(tenant_of(context.invocation_metadata()), min(remaining_seconds, longest_seconds))

    async def SubmitTask(self, request: gateway_pb2.SubmitTaskRequest, context: Any) -> gateway_pb2.SubmitTaskResponse:
        """As in the contract."""
        return await self._verbs.submit_task(self._caller(context), request)

    async def BatchSubmitTasks(
        self, request: gateway_pb2.BatchSubmitTasksRequest, context: Any
    ) -> gateway_pb2.BatchSubmitTasksResponse:
        """As in the contract."""
        return await self._verbs.batch_submit_tasks(self._caller(context), request)

    async def RunTask(self, request: gateway_pb2.RunTaskRequest, context: Any) -> AsyncIterator[Any]:
        """As in the contract, events as bytes. A deadline bounds the stream; else it lasts as long as the task."""
        caller = self._caller(context, self._call_timeout_seconds)
        run = await self._verbs.run_task(caller, request)
        yield gateway_pb2.RunTaskResponse(task=run.task)
        async with aclosing(run.batches()) as batches:
            async for events in batches:
                yield run_response(events)
        yield gateway_pb2.RunTaskResponse(task=run.task)

    async def GetTask(self, request: gateway_pb2.GetTaskRequest, context: Any) -> gateway_pb2.GetTaskResponse:
        """As in the contract."""
        return await self._verbs.get_task(self._caller(context), request)

    async def ListTasks(self, request: gateway_pb2.ListTasksRequest, context: Any) -> gateway_pb2.ListTasksResponse:
        """As in the contract."""
        return await self._verbs.list_tasks(self._caller(context), request)

    async def ListSteps(self, request: gateway_pb2.ListStepsRequest, context: Any) -> gateway_pb2.ListStepsResponse:
        """As in the contract."""
        return await self._verbs.list_steps(self._caller(context), request)

    async def GetTaskMetrics(
        self, request: gateway_pb2.GetTaskMetricsRequest, context: Any
    ) -> gateway_pb2.GetTaskMetricsResponse:
        """As in the contract."""
        return await self._verbs.get_task_metrics(self._caller(context), request)

    async def WatchTask(self, request: gateway_pb2.WatchTaskRequest, context: Any) -> AsyncIterator[Any]:
        """As in the contract, as bytes. A deadline bounds the stream; without one it lasts as long as the task."""
        caller = self._caller(context, self._call_timeout_seconds)
        watch = await self._verbs.watch_task(caller, request)
        async with aclosing(watch.batches()) as batches:
            async for events in batches:
                yield watch_response(events)

    async def WatchTasks(self, request: gateway_pb2.WatchTasksRequest, context: Any) -> AsyncIterator[Any]:
        """As in the contract, as bytes. A deadline bounds the stream."""
        stream = await self._verbs.results.open(self._caller(context, self._call_timeout_seconds), request)
        async with aclosing(stream.messages()) as messages:
            async for message in messages:
                yield message

    async def CancelTask(self, request: gateway_pb2.CancelTaskRequest, context: Any) -> gateway_pb2.CancelTaskResponse:
        """As in the contract."""
        return await self._verbs.steering.cancel_task(self._caller(context), request)

    async def PauseTask(self, request: gateway_pb2.PauseTaskRequest, context: Any) -> gateway_pb2.PauseTaskResponse:
        """As in the contract."""
        return await self._verbs.steering.pause_task(self._caller(context), request)

    async def ResumeTask(self, request: gateway_pb2.ResumeTaskRequest, context: Any) -> gateway_pb2.ResumeTaskResponse:
        """As in the contract."""
        return await self._verbs.steering.resume_task(self._caller(context), request)

    async def RetryTask(self, request: gateway_pb2.RetryTaskRequest, context: Any) -> gateway_pb2.RetryTaskResponse:
        """As in the contract."""
        return await self._verbs.steering.retry_task(self._caller(context), request)

    async def RetryTasks(self, request: gateway_pb2.RetryTasksRequest, context: Any) -> gateway_pb2.RetryTasksResponse:
        """As in the contract."""
        return await self._verbs.steering.retry_tasks(self._caller(context), request)

    async def AnswerStep(self, request: gateway_pb2.AnswerStepRequest, context: Any) -> gateway_pb2.AnswerStepResponse:
        """As in the contract."""
        return await self._verbs.steering.answer_step(self._caller(context), request)

    async def ListAttempts(
        self, request: gateway_pb2.ListAttemptsRequest, context: Any
    ) -> gateway_pb2.ListAttemptsResponse:
        """As in the contract."""
        return await self._verbs.list_attempts(self._caller(context), request)

    async def ListEffects(
        self, request: gateway_pb2.ListEffectsRequest, context: Any
    ) -> gateway_pb2.ListEffectsResponse:
        """As in the contract."""
        return await self._verbs.list_effects(self._caller(context), request)

    async def ResolveEffect(
        self, request: gateway_pb2.ResolveEffectRequest, context: Any
    ) -> gateway_pb2.ResolveEffectResponse:
        """As in the contract."""
        return await self._verbs.steering.resolve_effect(self._caller(context), request)

    async def ListDeadLetters(
        self, request: gateway_pb2.ListDeadLettersRequest, context: Any
    ) -> gateway_pb2.ListDeadLettersResponse:
        """As in the contract."""
        return await self._verbs.letters.list_dead_letters(self._caller(context), request)

    async def GetDeadLetter(
        self, request: gateway_pb2.GetDeadLetterRequest, context: Any
    ) -> gateway_pb2.GetDeadLetterResponse:
        """As in the contract."""
        return await self._verbs.letters.get_dead_letter(self._caller(context), request)

    async def RetryDeadLetter(
        self, request: gateway_pb2.RetryDeadLetterRequest, context: Any
    ) -> gateway_pb2.RetryDeadLetterResponse:
        """As in the contract."""
        return await self._verbs.letters.retry_dead_letter(self._caller(context), request)

    async def DropDeadLetter(
        self, request: gateway_pb2.DropDeadLetterRequest, context: Any
    ) -> gateway_pb2.DropDeadLetterResponse:
        """As in the contract."""
        return await self._verbs.letters.drop_dead_letter(self._caller(context), request)

    async def PauseAgent(self, request: gateway_pb2.PauseAgentRequest, context: Any) -> gateway_pb2.PauseAgentResponse:
        """As in the contract."""
        return await self._verbs.pauses.pause_agent(self._caller(context), request)

    async def ResumeAgent(
        self, request: gateway_pb2.ResumeAgentRequest, context: Any
    ) -> gateway_pb2.ResumeAgentResponse:
        """As in the contract."""
        return await self._verbs.pauses.resume_agent(self._caller(context), request)

    async def PauseTenant(
        self, request: gateway_pb2.PauseTenantRequest, context: Any
    ) -> gateway_pb2.PauseTenantResponse:
        """As in the contract."""
        return await self._verbs.pauses.pause_tenant(self._caller(context), request)

    async def ResumeTenant(
        self, request: gateway_pb2.ResumeTenantRequest, context: Any
    ) -> gateway_pb2.ResumeTenantResponse:
        """As in the contract."""
        return await self._verbs.pauses.resume_tenant(self._caller(context), request)

    async def ListAgents(self, request: gateway_pb2.ListAgentsRequest, context: Any) -> gateway_pb2.ListAgentsResponse:
        """As in the contract; the metadata of the answer tells this gateway's release."""
        context.set_trailing_metadata(RELEASE)
        return await self._verbs.list_agents(self._caller(context), request)

    async def ListTemplates(
        self, request: gateway_pb2.ListTemplatesRequest, context: Any
    ) -> gateway_pb2.ListTemplatesResponse:
        """As in the contract."""
        return await self._verbs.templates.list_templates(self._caller(context), request)

    async def GetTemplate(
        self, request: gateway_pb2.GetTemplateRequest, context: Any
    ) -> gateway_pb2.GetTemplateResponse:
        """As in the contract."""
        return await self._verbs.templates.get_template(self._caller(context), request)

    async def GetUsage(self, request: gateway_pb2.GetUsageRequest, context: Any) -> gateway_pb2.GetUsageResponse:
        """As in the contract."""
        return await self._verbs.spending.get_usage(self._caller(context), request)

    async def ListModelCalls(
        self, request: gateway_pb2.ListModelCallsRequest, context: Any
    ) -> gateway_pb2.ListModelCallsResponse:
        """As in the contract."""
        return await self._verbs.spending.list_model_calls(self._caller(context), request)

    async def GetTenantBudget(
        self, request: gateway_pb2.GetTenantBudgetRequest, context: Any
    ) -> gateway_pb2.GetTenantBudgetResponse:
        """As in the contract."""
        return await self._verbs.spending.get_tenant_budget(self._caller(context), request)

    async def SetTenantBudget(
        self, request: gateway_pb2.SetTenantBudgetRequest, context: Any
    ) -> gateway_pb2.SetTenantBudgetResponse:
        """As in the contract."""
        return await self._verbs.spending.set_tenant_budget(self._caller(context), request)

    async def ListLimits(self, request: gateway_pb2.ListLimitsRequest, context: Any) -> gateway_pb2.ListLimitsResponse:
        """As in the contract."""
        return await self._verbs.spending.list_limits(self._caller(context), request)

    async def SetLimit(self, request: gateway_pb2.SetLimitRequest, context: Any) -> gateway_pb2.SetLimitResponse:
        """As in the contract."""
        return await self._verbs.spending.set_limit(self._caller(context), request)

    async def CreateSchedule(
        self, request: gateway_pb2.CreateScheduleRequest, context: Any
    ) -> gateway_pb2.CreateScheduleResponse:
        """As in the contract."""
        return await self._verbs.schedules.create_schedule(self._caller(context), request)

    async def GetSchedule(
        self, request: gateway_pb2.GetScheduleRequest, context: Any
    ) -> gateway_pb2.GetScheduleResponse:
        """As in the contract."""
        return await self._verbs.schedules.get_schedule(self._caller(context), request)

    async def ListSchedules(
        self, request: gateway_pb2.ListSchedulesRequest, context: Any
    ) -> gateway_pb2.ListSchedulesResponse:
        """As in the contract."""
        return await self._verbs.schedules.list_schedules(self._caller(context), request)

    async def UpdateSchedule(
        self, request: gateway_pb2.UpdateScheduleRequest, context: Any
    ) -> gateway_pb2.UpdateScheduleResponse:
        """As in the contract."""
        return await self._verbs.schedules.update_schedule(self._caller(context), request)

    async def DeleteSchedule(
        self, request: gateway_pb2.DeleteScheduleRequest, context: Any
    ) -> gateway_pb2.DeleteScheduleResponse:
        """As in the contract."""
        return await self._verbs.schedules.delete_schedule(self._caller(context), request)

    async def PauseSchedule(
        self, request: gateway_pb2.PauseScheduleRequest, context: Any
    ) -> gateway_pb2.PauseScheduleResponse:
        """As in the contract."""
        return await self._verbs.schedules.pause_schedule(self._caller(context), request)

    async def ResumeSchedule(
        self, request: gateway_pb2.ResumeScheduleRequest, context: Any
    ) -> gateway_pb2.ResumeScheduleResponse:
        """As in the contract."""
        return await self._verbs.schedules.resume_schedule(self._caller(context), request)

    async def TriggerSchedule(
        self, request: gateway_pb2.TriggerScheduleRequest, context: Any
    ) -> gateway_pb2.TriggerScheduleResponse:
        """As in the contract."""
        return await self._verbs.schedules.trigger_schedule(self._caller(context), request)
