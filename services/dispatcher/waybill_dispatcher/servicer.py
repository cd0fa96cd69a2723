"""DispatcherService: each call is handed to the module that knows how."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from waybill.api.v1 import dispatcher_pb2 as pb
from waybill.api.v1 import dispatcher_pb2_grpc
from waybill.core.limits import MAX_BATCH_SUBMISSIONS, MAX_WATCHED_NAMES
from waybill.errors import InvalidArgument
from waybill.ledger.bells import Bells
from waybill.ledger.ledger import Ledger
from waybill.ledger.records import Request
from waybill.rpc.caller import tenant_of
from waybill.rpc.events import usage_to_proto
from waybill.rpc.packed_events import packed_events
from waybill.rpc.wire import tag
from waybill_dispatcher import names, paging
from waybill_dispatcher.accept import Acceptance
from waybill_dispatcher.answers import Answers
from waybill_dispatcher.directory import AgentDirectory
from waybill_dispatcher.effects import Effects
from waybill_dispatcher.firing import Firing
from waybill_dispatcher.following import Following
from waybill_dispatcher.history import History
from waybill_dispatcher.letters import Letters
from waybill_dispatcher.listing import Listing
from waybill_dispatcher.requests import filter_of, request_of
from waybill_dispatcher.results import Results
from waybill_dispatcher.schedules import Schedules
from waybill_dispatcher.spending import Spending, total_of
from waybill_dispatcher.steering import Steering
from waybill_dispatcher.templates import Templates
from waybill_dispatcher.views import agent_message, attempt_message, task_name
from waybill_dispatcher.workforce import read_workers

if TYPE_CHECKING:
    from waybill_dispatcher.archive import Archive

MAX_EVENTS = 1_000
DEFAULT_TASKS = 50
DEFAULT_RETRIES = 100
DEFAULT_STEPS = 100
DEFAULT_LETTERS = 50
DEFAULT_CALLS = 100
DEFAULT_SCHEDULES = 100
_READ_EVENTS, _STREAM_EVENTS = tag(pb.ReadEventsResponse, "events"), tag(pb.StreamEventsResponse, "events")


@dataclass(frozen=True, slots=True)
class Parts:
    """What the RPCs are handed to."""

    ledger: Ledger
    directory: AgentDirectory
    acceptance: Acceptance
    history: History
    listing: Listing
    following: Following
    results: Results
    spending: Spending
    firing: Firing
    templates: Templates

    @classmethod
    def over(
        cls,
        ledger: Ledger,
        bells: Bells,
        directory: AgentDirectory,
        templates: Templates,
        archive: Archive | None = None,
    ) -> Parts:
        """The parts over one ledger, and the archive if there is one."""
        history = History(ledger, directory, archive)
        acceptance = Acceptance(ledger, directory, templates)
        return cls(
            ledger,
            directory,
            acceptance,
            history,
            Listing(ledger, archive),
            Following(ledger, bells, history),
            Results(ledger, bells, history),
            Spending(ledger, history, archive),
            Firing(ledger, acceptance),
            templates,
        )


class DispatcherServicer(dispatcher_pb2_grpc.DispatcherServiceServicer):
    """The dispatcher's RPCs; errors are those of `dispatcher.proto`."""

    def __init__(self, parts: Parts) -> None:
        self._ledger = parts.ledger
        self._directory = parts.directory
        self._acceptance = parts.acceptance
        self._history = parts.history
        self._listing = parts.listing
        self._following = parts.following
        self._results = parts.results
        self._steering = Steering(parts.ledger, parts.history, parts.directory)
        self._answers = Answers(parts.ledger, parts.history)
        self._effects = Effects(parts.ledger, parts.history)
        self._letters = Letters(parts.ledger, parts.history)
        self._spending = parts.spending
        self._schedules = Schedules(parts.ledger, parts.history, parts.firing)
        self._templates = parts.templates

    async def CreateTasks(self, request: pb.CreateTasksRequest, context: Any) -> pb.CreateTasksResponse:
        """Accept tasks durably."""
        if not 1 <= len(request.submissions) <= MAX_BATCH_SUBMISSIONS:
            raise InvalidArgument.of_field("submissions", f"give 1 to {MAX_BATCH_SUBMISSIONS}")
        return await self._acceptance.accept(request.submissions)

    async def ReadTask(self, request: pb.ReadTaskRequest, context: Any) -> pb.ReadTaskResponse:
        """Read a task."""
        task = await self._history.task(_tenant(context), names.task_id_of(request.name))
        return pb.ReadTaskResponse(task=task)

    async def ReadTasks(self, request: pb.ReadTasksRequest, context: Any) -> pb.ReadTasksResponse:
        """List tasks."""
        tasks, position = await self._listing.page(
            _tenant(context),
            paging.page_size_of(request.page_size, DEFAULT_TASKS),
            paging.task_position(request.page_token),
            filter_of(request.filter),
        )
        return pb.ReadTasksResponse(tasks=tasks, next_page_token=paging.task_token(position))

    async def ReadSteps(self, request: pb.ReadStepsRequest, context: Any) -> pb.ReadStepsResponse:
        """List a task's steps."""
        steps, last, count = await self._history.steps(
            _tenant(context),
            names.task_id_of(request.parent, "parent"),
            paging.step_position(request.page_token),
            paging.page_size_of(request.page_size, DEFAULT_STEPS),
        )
        return pb.ReadStepsResponse(steps=steps, next_page_token=paging.step_token(last, count))

    async def ReadTaskMetrics(self, request: pb.ReadTaskMetricsRequest, context: Any) -> pb.ReadTaskMetricsResponse:
        """Read latency and cost."""
        metrics = await self._history.metrics(_tenant(context), names.task_id_of(request.name))
        return pb.ReadTaskMetricsResponse(metrics=metrics)

    async def ReadEvents(self, request: pb.ReadEventsRequest, context: Any) -> Any:
        """Read events that exist: a message on the wire."""
        if not 0 <= request.limit <= MAX_EVENTS:
            raise InvalidArgument.of_field("limit", f"must lie between 1 and {MAX_EVENTS}")
        events = await self._history.events(
            _tenant(context),
            names.task_id_of(request.name),
            _first(request.from_sequence),
            request.limit or MAX_EVENTS,
        )
        return packed_events(_READ_EVENTS, events)

    async def StreamEvents(self, request: pb.StreamEventsRequest, context: Any) -> AsyncIterator[Any]:
        """Stream events as they come: messages on the wire."""
        followed = self._following.follow(
            _tenant(context), names.task_id_of(request.name), _first(request.from_sequence), request.after_digest
        )
        async for events in followed:
            yield packed_events(_STREAM_EVENTS, events)

    async def StreamResults(self, request: pb.StreamResultsRequest, context: Any) -> AsyncIterator[Any]:
        """Stream the results of tasks as they end: messages on the wire, as bytes."""
        tenant, cursor, from_now = _tenant(context), request.cursor, request.from_now
        if request.names:
            if len(request.names) > MAX_WATCHED_NAMES:
                raise InvalidArgument.of_field("names", f"give at most {MAX_WATCHED_NAMES}")
            ids = [names.task_id_of(name, "names") for name in request.names]
            results = self._results.of_names(tenant, ids, cursor, from_now=from_now)
        else:
            results = self._results.of_filter(tenant, filter_of(request.filter), cursor, from_now=from_now)
        async for message in results:
            yield message

    async def ReadTemplates(self, request: pb.ReadTemplatesRequest, context: Any) -> pb.ReadTemplatesResponse:
        """Read the planner's templates."""
        return pb.ReadTemplatesResponse(templates=await self._templates.read(_tenant(context), request.name))

    async def SteerTask(self, request: pb.SteerTaskRequest, context: Any) -> pb.SteerTaskResponse:
        """Cancel, pause, resume or retry a task."""
        asked = _request(request, context)
        task = await self._steering.steer(asked, names.task_id_of(request.name), request.action)
        return pb.SteerTaskResponse(task=task)

    async def RetryMany(self, request: pb.RetryManyRequest, context: Any) -> pb.RetryManyResponse:
        """Retry failed and cancelled tasks."""
        ids, position = await self._steering.retry_many(
            _request(request, context),
            paging.page_size_of(request.page_size, DEFAULT_RETRIES),
            paging.task_position(request.page_token),
            filter_of(request.filter),
        )
        return pb.RetryManyResponse(
            names=[task_name(task_id) for task_id in ids], next_page_token=paging.task_token(position)
        )

    async def SubmitAnswer(self, request: pb.SubmitAnswerRequest, context: Any) -> pb.SubmitAnswerResponse:
        """Answer a step."""
        asked = _request(request, context)
        step = await self._answers.answer(asked, *names.step_of(request.name), request.answer)
        return pb.SubmitAnswerResponse(step=step)

    async def ReadAttempts(self, request: pb.ReadAttemptsRequest, context: Any) -> pb.ReadAttemptsResponse:
        """Read the attempts of a step."""
        attempts = await self._history.attempts(_tenant(context), *names.step_of(request.parent, "parent"))
        return pb.ReadAttemptsResponse(attempts=[attempt_message(attempt) for attempt in attempts])

    async def ReadEffects(self, request: pb.ReadEffectsRequest, context: Any) -> pb.ReadEffectsResponse:
        """Read the effects of a task."""
        effects = await self._effects.of(_tenant(context), names.task_id_of(request.parent, "parent"))
        return pb.ReadEffectsResponse(effects=effects)

    async def DecideEffect(self, request: pb.DecideEffectRequest, context: Any) -> pb.DecideEffectResponse:
        """Decide an effect that nobody knows the end of."""
        asked = _request(request, context)
        task_id, step = names.step_of(request.step, "step")
        effect = await self._effects.decide(asked, task_id, step, request.key, request.state, request.result)
        return pb.DecideEffectResponse(effect=effect)

    async def ReadDeadLetters(self, request: pb.ReadDeadLettersRequest, context: Any) -> pb.ReadDeadLettersResponse:
        """List dead letters."""
        letters, position = await self._letters.page(
            _tenant(context),
            paging.page_size_of(request.page_size, DEFAULT_LETTERS),
            paging.letter_position(request.page_token),
        )
        return pb.ReadDeadLettersResponse(dead_letters=letters, next_page_token=paging.letter_token(position))

    async def ReadDeadLetter(self, request: pb.ReadDeadLetterRequest, context: Any) -> pb.ReadDeadLetterResponse:
        """Read a dead letter."""
        letter_id, _ = names.letter_of(request.name)
        return pb.ReadDeadLetterResponse(dead_letter=await self._letters.read(_tenant(context), letter_id))

    async def SettleDeadLetter(self, request: pb.SettleDeadLetterRequest, context: Any) -> pb.SettleDeadLetterResponse:
        """Retry or drop a dead letter."""
        asked = _request(request, context)
        task = await self._letters.settle(asked, *names.letter_of(request.name), request.action)
        return pb.SettleDeadLetterResponse(task=task)

    async def SetPause(self, request: pb.SetPauseRequest, context: Any) -> pb.SetPauseResponse:
        """Pause or resume an agent or the caller's tenant."""
        asked = _request(request, context)
        if not request.name:
            return pb.SetPauseResponse(tenant=await self._steering.pause_tenant(asked, request.paused))
        agent = await self._steering.pause_agent(asked, names.agent_of(request.name), request.paused)
        return pb.SetPauseResponse(agent=agent)

    async def ReadAgents(self, request: pb.ReadAgentsRequest, context: Any) -> pb.ReadAgentsResponse:
        """List agents."""
        records = await self._directory.records(newest=True)
        return pb.ReadAgentsResponse(agents=[agent_message(record) for record in records.values()])

    async def ReadWorkers(self, request: pb.ReadWorkersRequest, context: Any) -> pb.ReadWorkersResponse:
        """List live workers."""
        return pb.ReadWorkersResponse(workers=await read_workers(self._ledger))

    async def ReadUsage(self, request: pb.ReadUsageRequest, context: Any) -> pb.ReadUsageResponse:
        """Read usage of a task or by day."""
        if request.task:
            if request.from_day or request.until_day:
                raise InvalidArgument.of_field("from_day", "is for the usage of a tenant; leave it out for a task's")
            rows = await self._spending.of_task(_tenant(context), names.task_id_of(request.task, "task"))
        else:
            rows = await self._spending.of_days(_tenant(context), request.from_day, request.until_day)
        return pb.ReadUsageResponse(total=usage_to_proto(total_of(rows)), rows=rows)

    async def ReadModelCalls(self, request: pb.ReadModelCallsRequest, context: Any) -> pb.ReadModelCallsResponse:
        """Read the model calls of a task or a step."""
        calls, position = await self._spending.calls(
            _tenant(context),
            *names.parent_of_calls(request.parent),
            paging.call_position(request.page_token),
            paging.page_size_of(request.page_size, DEFAULT_CALLS),
        )
        return pb.ReadModelCallsResponse(calls=calls, next_page_token=paging.call_token(position))

    async def ReadTenantBudget(self, request: pb.ReadTenantBudgetRequest, context: Any) -> pb.ReadTenantBudgetResponse:
        """Read the budget of the caller's tenant."""
        return pb.ReadTenantBudgetResponse(budget=await self._spending.tenant_budget(_tenant(context)))

    async def WriteTenantBudget(
        self, request: pb.WriteTenantBudgetRequest, context: Any
    ) -> pb.WriteTenantBudgetResponse:
        """Set the budget of the caller's tenant."""
        asked = _request(request, context)
        return pb.WriteTenantBudgetResponse(budget=await self._spending.set_tenant_budget(asked, request.budget))

    async def ReadLimits(self, request: pb.ReadLimitsRequest, context: Any) -> pb.ReadLimitsResponse:
        """List limits."""
        return pb.ReadLimitsResponse(limits=await self._spending.limits())

    async def WriteLimit(self, request: pb.WriteLimitRequest, context: Any) -> pb.WriteLimitResponse:
        """Set or remove a limit."""
        asked = _request(request, context)
        name = names.limit_of(request.limit.name)
        return pb.WriteLimitResponse(limit=await self._spending.set_limit(asked, name, request.limit))

    async def WriteSchedule(self, request: pb.WriteScheduleRequest, context: Any) -> pb.WriteScheduleResponse:
        """Create or replace a schedule."""
        write = self._schedules.update if request.replace else self._schedules.create
        return pb.WriteScheduleResponse(schedule=await write(_request(request, context), request.schedule))

    async def ReadSchedule(self, request: pb.ReadScheduleRequest, context: Any) -> pb.ReadScheduleResponse:
        """Read a schedule."""
        schedule = await self._schedules.read(_tenant(context), names.schedule_of(request.name))
        return pb.ReadScheduleResponse(schedule=schedule)

    async def ReadSchedules(self, request: pb.ReadSchedulesRequest, context: Any) -> pb.ReadSchedulesResponse:
        """List schedules."""
        schedules, last = await self._schedules.page(
            _tenant(context),
            paging.page_size_of(request.page_size, DEFAULT_SCHEDULES),
            paging.schedule_position(request.page_token),
        )
        return pb.ReadSchedulesResponse(schedules=schedules, next_page_token=paging.schedule_token(last))

    async def SteerSchedule(self, request: pb.SteerScheduleRequest, context: Any) -> pb.SteerScheduleResponse:
        """Delete, pause, resume or trigger a schedule."""
        asked = _request(request, context)
        schedule, task = await self._schedules.steer(asked, names.schedule_of(request.name), request.action)
        return pb.SteerScheduleResponse(schedule=schedule, task=task)


def _tenant(context: Any) -> str:
    return tenant_of(context.invocation_metadata())


def _request(request: Any, context: Any) -> Request:
    return request_of(_tenant(context), request.request_id)


def _first(sequence: int) -> int:
    if sequence < 0:
        raise InvalidArgument.of_field("from_sequence", f"is {sequence}; sequence numbers start at 1")
    return sequence or 1
