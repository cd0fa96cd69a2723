"""Owns the Python way to a Waybill gateway: `async with Client("127.0.0.1:7400") as client: ...`.

Every call is idempotent and is repeated while the service cannot be reached; a watch that breaks goes on where it
stopped. Errors come out as the classes of `waybill.errors`.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from waybill.api.v1 import gateway_pb2
from waybill.attempts import Attempt, DeadLetter, Effect
from waybill.batches import batches_of
from waybill.cancellation import cancel_all
from waybill.connection import Connection
from waybill.core.budget import Budget, TaskPolicy
from waybill.core.plan import Plan, PlanSource
from waybill.core.task import Document, Event, Priority, TaskState
from waybill.errors import NotFound, Unavailable, WaybillError
from waybill.filters import TaskFilter
from waybill.progress import Progress, TaskProgress
from waybill.resources import Agent, Step, Submission, Task, TaskMetrics
from waybill.results import Results
from waybill.rpc.caller import DEFAULT_TENANT
from waybill.rpc.refusals import refused_error
from waybill.run import Run, output_of
from waybill.schedules import Schedules
from waybill.spending import Spending
from waybill.steering import Steering, letter_name, step_name, task_name
from waybill.templates import Templates
from waybill.watch import Place, Watch

DEFAULT_ADDRESS = "127.0.0.1:7400"
_CALLS_UNDER_WAY = 4
"""Calls of one `submit_many` at a time: while the store writes one batch, the others are on their way."""
_PAGE_SIZE = 200


class Client(Steering, Results, Spending, Schedules, Templates):
    """A connection to a gateway, for one tenant. Use as an async context manager.

    `call_timeout_seconds` is the deadline of one try of a call. `patience_seconds` is how long a call, or a watch
    that broke, goes on trying without any contact before it raises `Unavailable`.

    Calls that change something take a `request_id`: repeated with the same one within a day they change nothing more,
    and one that stood for another call raises `AlreadyExists`. Without one a random one is kept over all tries.
    """

    def __init__(
        self,
        address: str = DEFAULT_ADDRESS,
        *,
        tenant: str = DEFAULT_TENANT,
        call_timeout_seconds: float = 30.0,
        patience_seconds: float = 60.0,
    ) -> None:
        self._connection = Connection(address, tenant, call_timeout_seconds, patience_seconds)

    @property
    def address(self) -> str:
        """Where the gateway is."""
        return self._connection.address

    @property
    def tenant(self) -> str:
        """Whom this client speaks for."""
        return self._connection.tenant

    async def __aenter__(self) -> Client:
        self._connection.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._connection.close()

    async def call(self, method: str, request: Any) -> Any:
        """Make any unary call of the gateway's contract by its name, with messages.

        Repeated while the gateway or what it needs is away. Raises the classes of `waybill.errors`.
        """
        return await self._connection.call(method, request)

    async def submit(
        self,
        *,
        goal: str = "",
        plan: Plan | PlanSource | Mapping[str, Any] | None = None,
        input: Any = None,
        documents: Sequence[Document] = (),
        paths: Sequence[str | Path] = (),
        priority: Priority = Priority.NORMAL,
        labels: Mapping[str, str] | None = None,
        request_id: str | None = None,
        deadline_ms: int = 0,
        template: str = "",
        budget: Budget | Mapping[str, Any] | None = None,
        policy: TaskPolicy | Mapping[str, Any] | None = None,
        start_time: datetime | None = None,
        parameters: Mapping[str, Any] | None = None,
    ) -> Task:
        """Submit a task; see `Submission` for the arguments. Once this returns the task survives any crash.

        Raises `InvalidArgument` or `InvalidPlan` for what can never be accepted, `AlreadyExists` if the request id
        was used for something else, `ResourceExhausted` if the store is full, `Unavailable` after the patience.
        """
        submission = Submission(
            goal,
            plan,
            input,
            documents,
            paths,
            priority,
            labels or {},
            request_id,
            deadline_ms,
            template,
            budget,
            policy,
            start_time,
            parameters,
        )
        response = await self.call("SubmitTask", _request(submission))
        return Task.of(response.task)

    def run(
        self,
        *,
        goal: str = "",
        plan: Plan | PlanSource | Mapping[str, Any] | None = None,
        input: Any = None,
        documents: Sequence[Document] = (),
        paths: Sequence[str | Path] = (),
        priority: Priority = Priority.NORMAL,
        labels: Mapping[str, str] | None = None,
        request_id: str | None = None,
        deadline_ms: int = 0,
        template: str = "",
        budget: Budget | Mapping[str, Any] | None = None,
        policy: TaskPolicy | Mapping[str, Any] | None = None,
        start_time: datetime | None = None,
        parameters: Mapping[str, Any] | None = None,
    ) -> Run:
        """Submit a task and follow it to its end: `async with client.run(goal=...) as run`, then `async for event in
        run`, `run.progress()` or `await run.result()`. The arguments are those of `submit`.

        Raises `InvalidArgument` or `InvalidPlan` for what can never be accepted; what `submit` and `watch` raise else
        comes when the run is entered or iterated over.
        """
        submission = Submission(
            goal,
            plan,
            input,
            documents,
            paths,
            priority,
            labels or {},
            request_id,
            deadline_ms,
            template,
            budget,
            policy,
            start_time,
            parameters,
        )
        spec, chosen = submission.spec(), submission.chosen_request_id()
        return Run(self._connection, gateway_pb2.RunTaskRequest(spec=spec, request_id=chosen))

    async def submit_many(self, submissions: Iterable[Submission]) -> Sequence[Task | WaybillError]:
        """Submit any number of tasks; each is accepted or refused on its own, in the order given.

        Raises as `submit` only if no answer can be had at all.
        """
        outcomes: list[Task | WaybillError] = []
        under_way: deque[asyncio.Task[Sequence[Task | WaybillError]]] = deque()
        try:
            for batch in batches_of(submissions):
                if len(under_way) == _CALLS_UNDER_WAY:
                    outcomes += await under_way[0]
                    under_way.popleft()
                under_way.append(asyncio.create_task(self._submit_batch(batch)))
            while under_way:
                outcomes += await under_way[0]
                under_way.popleft()
        finally:
            await cancel_all(under_way)
            await asyncio.gather(*under_way, return_exceptions=True)
        return outcomes

    async def _submit_batch(self, batch: gateway_pb2.BatchSubmitTasksRequest) -> Sequence[Task | WaybillError]:
        response = await self.call("BatchSubmitTasks", batch)
        outcomes = [_outcome(result) for result in response.results]
        for position, outcome in enumerate(outcomes):
            if isinstance(outcome, Unavailable):
                with contextlib.suppress(WaybillError):
                    outcomes[position] = Task.of((await self.call("SubmitTask", batch.requests[position])).task)
        return outcomes

    async def get(self, task: Task | str) -> Task:
        """The task as it is now. Raises `NotFound`."""
        response = await self.call("GetTask", gateway_pb2.GetTaskRequest(name=task_name(task)))
        return Task.of(response.task)

    async def list(
        self,
        states: Iterable[TaskState] = (),
        page_size: int = _PAGE_SIZE,
        *,
        labels: Mapping[str, str] | None = None,
        agent: str = "",
        template: str = "",
        created_from: datetime | None = None,
        created_until: datetime | None = None,
    ) -> AsyncIterator[Task]:
        """The tenant's tasks, newest first, page after page: those for which all holds that is given (`TaskFilter`)."""
        wanted = TaskFilter(states, labels or {}, agent, template, created_from, created_until)
        request = gateway_pb2.ListTasksRequest(page_size=page_size, filter=wanted.message())
        while True:
            page = await self.call("ListTasks", request)
            for task in page.tasks:
                yield Task.of(task)
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token

    async def steps(self, task: Task | str) -> Sequence[Step]:
        """The task's steps in the order of its plan; none while it is being planned. Raises `NotFound`."""
        request = gateway_pb2.ListStepsRequest(parent=task_name(task), page_size=_PAGE_SIZE)
        steps: list[Step] = []
        while True:
            page = await self.call("ListSteps", request)
            steps += (Step.of(step) for step in page.steps)
            if not page.next_page_token:
                return steps
            request.page_token = page.next_page_token

    async def metrics(self, task: Task | str) -> TaskMetrics:
        """Latency and cost of the task and its steps. Raises `NotFound`."""
        response = await self.call("GetTaskMetrics", gateway_pb2.GetTaskMetricsRequest(name=task_name(task)))
        return TaskMetrics.of(response.metrics)

    async def attempts(self, task: Task | str, step: Step | str) -> Sequence[Attempt]:
        """The attempts of a step, oldest first: who ran it, when, and how it ended. Raises `NotFound`."""
        response = await self.call("ListAttempts", gateway_pb2.ListAttemptsRequest(parent=step_name(task, step)))
        return [Attempt.of(attempt) for attempt in response.attempts]

    async def effects(self, task: Task | str) -> Sequence[Effect]:
        """The effects that the task's agents guard with `Context.once`, by step and key. Raises `NotFound`."""
        response = await self.call("ListEffects", gateway_pb2.ListEffectsRequest(parent=task_name(task)))
        return [Effect.of(effect) for effect in response.effects]

    async def dead_letters(self) -> AsyncIterator[DeadLetter]:
        """The tenant's dead letters, newest first, page after page."""
        request = gateway_pb2.ListDeadLettersRequest(page_size=_PAGE_SIZE)
        while True:
            page = await self.call("ListDeadLetters", request)
            for letter in page.dead_letters:
                yield DeadLetter.of(letter)
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token

    async def dead_letter(self, letter: DeadLetter | str) -> DeadLetter:
        """A dead letter with its attempts and input. Raises `NotFound`."""
        response = await self.call("GetDeadLetter", gateway_pb2.GetDeadLetterRequest(name=letter_name(letter)))
        return DeadLetter.of(response.dead_letter)

    async def agents(self) -> Sequence[Agent]:
        """The agents that workers have announced, by name."""
        response = await self.call("ListAgents", gateway_pb2.ListAgentsRequest())
        return [Agent.of(agent) for agent in response.agents]

    async def watch(
        self, task: Task | str, from_sequence: int = 1, *, after_digest: int = 0
    ) -> AsyncGenerator[Event, None]:
        """The task's events from a sequence number on, each exactly once, live until the task has ended.

        An event of type STREAM_RESET tells that a failover of the store lost events that were seen: forget what was
        folded so far, the history follows from number 1. A watch that goes on after an event of an earlier one passes
        that event's digest as `after_digest`, so that this is found out too.

        Raises `NotFound`, `InvalidArgument` for a sequence number beyond the next event, and `Unavailable` once
        the patience is over without contact.
        """
        watch = Watch(self._connection, task_name(task), Place(max(1, from_sequence), after_digest))
        async with contextlib.aclosing(watch.events()) as events:
            async for event in events:
                yield event

    async def result(self, task: Task | str) -> Any:
        """Wait for the task to end and return its output, decoded.

        Raises `NotFound`, and `FailedPrecondition` with the failure's reason and message if it failed or was cancelled.
        """
        while True:
            with contextlib.suppress(NotFound):  # the archive keeps no events; a task that is nowhere is missed below
                async for _event in self.watch(task):
                    pass
            ended = await self.get(task)
            if ended.state.ended:  # unless it was retried meanwhile, or lost its end in a failover
                break
        return output_of(ended)

    async def progress(self, task: Task | str) -> AsyncGenerator[Progress, None]:
        """How far the task is, told anew with each of its events until it has ended. Raises as `watch`."""
        fold = TaskProgress(task_name(task))
        async with contextlib.aclosing(self.watch(task)) as events:
            async for event in events:
                fold.apply(event)
                yield fold.snapshot()


def _request(submission: Submission) -> gateway_pb2.SubmitTaskRequest:
    return gateway_pb2.SubmitTaskRequest(spec=submission.spec(), request_id=submission.chosen_request_id())


def _outcome(result: gateway_pb2.SubmitResult) -> Task | WaybillError:
    if result.HasField("task"):
        return Task.of(result.task)
    return refused_error(result.refusal)
