"""Owns the Python way to a Waybill gateway: `async with Client("127.0.0.1:7400") as client: ...`.

Every call is idempotent and is repeated while the service cannot be reached; a watch that breaks goes on where it
stopped. Errors come out as the classes of `waybill.errors`.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import grpc
import tenacity

from waybill.api.v1 import gateway_pb2, gateway_pb2_grpc, task_pb2
from waybill.core.limits import MAX_BATCH_SUBMISSIONS, MAX_MESSAGE_BYTES
from waybill.core.plan import Plan
from waybill.core.task import Document, Event, EventType, Priority, TaskState
from waybill.errors import FailedPrecondition, Unavailable, Violation, WaybillError
from waybill.resources import Agent, Step, Submission, Task, TaskMetrics
from waybill.rpc import conversion
from waybill.rpc.caller import DEFAULT_TENANT, checked_tenant, metadata_for
from waybill.rpc.channel import connect
from waybill.rpc.status import error_of, from_rpc_error

DEFAULT_ADDRESS = "127.0.0.1:7400"
_FIRST_WAIT_SECONDS = 0.1
_MAX_WAIT_SECONDS = 2.0
_BATCH_BYTES = MAX_MESSAGE_BYTES // 2
_PAGE_SIZE = 200
_TRANSPORT_CODES = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)


class Client:
    """A connection to a gateway, for one tenant. Use as an async context manager.

    `call_timeout_seconds` is the deadline of one try of a call. `patience_seconds` is how long a call, or a watch
    that broke, goes on trying without any contact before it raises `Unavailable`.
    """

    def __init__(
        self,
        address: str = DEFAULT_ADDRESS,
        *,
        tenant: str = DEFAULT_TENANT,
        call_timeout_seconds: float = 30.0,
        patience_seconds: float = 60.0,
    ) -> None:
        self.address = address
        self.tenant = checked_tenant(tenant)
        self._call_timeout_seconds = call_timeout_seconds
        self._patience_seconds = patience_seconds
        self._channel: grpc.aio.Channel | None = None

    async def __aenter__(self) -> Client:
        self._channel = connect(self.address)
        self._stub = gateway_pb2_grpc.GatewayServiceStub(self._channel)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._channel is not None:
            await self._channel.close()
            self._channel = None

    async def submit(
        self,
        *,
        goal: str = "",
        plan: Plan | Mapping[str, Any] | None = None,
        input: Any = None,
        documents: Sequence[Document] = (),
        paths: Sequence[str | Path] = (),
        priority: Priority = Priority.NORMAL,
        labels: Mapping[str, str] | None = None,
        request_id: str | None = None,
    ) -> Task:
        """Submit a task; see `Submission` for the arguments. Once this returns the task survives any crash.

        Raises `InvalidArgument` or `InvalidPlan` for what can never be accepted, `AlreadyExists` if the request id
        was used for something else, `ResourceExhausted` if the store is full, `Unavailable` after the patience.
        """
        submission = Submission(goal, plan, input, documents, paths, priority, labels or {}, request_id)
        response = await self.call("SubmitTask", _request(submission))
        return Task.of(response.task)

    async def submit_many(self, submissions: Iterable[Submission]) -> Sequence[Task | WaybillError]:
        """Submit any number of tasks; each is accepted or refused on its own, in the order given.

        Raises as `submit` only if no answer can be had at all.
        """
        requests = [_request(submission) for submission in submissions]
        outcomes: list[Task | WaybillError] = []
        for batch in _batches(requests):
            outcomes += await self._submit_batch(batch)
        return outcomes

    async def _submit_batch(self, batch: Sequence[gateway_pb2.SubmitTaskRequest]) -> Sequence[Task | WaybillError]:
        response = await self.call("BatchSubmitTasks", gateway_pb2.BatchSubmitTasksRequest(requests=batch))
        outcomes = [_outcome(result) for result in response.results]
        for position, outcome in enumerate(outcomes):
            if isinstance(outcome, Unavailable):
                with contextlib.suppress(WaybillError):
                    outcomes[position] = Task.of((await self.call("SubmitTask", batch[position])).task)
        return outcomes

    async def get(self, task: Task | str) -> Task:
        """The task as it is now. Raises `NotFound`."""
        response = await self.call("GetTask", gateway_pb2.GetTaskRequest(name=_name(task)))
        return Task.of(response.task)

    async def list(self, states: Iterable[TaskState] = (), page_size: int = _PAGE_SIZE) -> AsyncIterator[Task]:
        """The tenant's tasks, newest first, page after page; only those in `states` if any are given."""
        wanted = task_pb2.TaskFilter(states=[conversion.TASK_STATE_TO_PROTO[state] for state in states])
        request = gateway_pb2.ListTasksRequest(page_size=page_size, filter=wanted)
        while True:
            page = await self.call("ListTasks", request)
            for task in page.tasks:
                yield Task.of(task)
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token

    async def steps(self, task: Task | str) -> Sequence[Step]:
        """The task's steps in the order of its plan; none while it is being planned. Raises `NotFound`."""
        request = gateway_pb2.ListStepsRequest(parent=_name(task), page_size=_PAGE_SIZE)
        steps: list[Step] = []
        while True:
            page = await self.call("ListSteps", request)
            steps += (Step.of(step) for step in page.steps)
            if not page.next_page_token:
                return steps
            request.page_token = page.next_page_token

    async def metrics(self, task: Task | str) -> TaskMetrics:
        """Latency and cost of the task and its steps. Raises `NotFound`."""
        response = await self.call("GetTaskMetrics", gateway_pb2.GetTaskMetricsRequest(name=_name(task)))
        return TaskMetrics.of(response.metrics)

    async def cancel(self, task: Task | str) -> Task:
        """Cancel a task; again changes nothing. Raises `NotFound`, or `FailedPrecondition` if it ended otherwise."""
        response = await self.call("CancelTask", gateway_pb2.CancelTaskRequest(name=_name(task)))
        return Task.of(response.task)

    async def agents(self) -> Sequence[Agent]:
        """The agents that workers have announced, by name."""
        response = await self.call("ListAgents", gateway_pb2.ListAgentsRequest())
        return [Agent.of(agent) for agent in response.agents]

    async def watch(self, task: Task | str, from_sequence: int = 1) -> AsyncGenerator[Event, None]:
        """The task's events from a sequence number on, each exactly once, live until the task has ended.

        Raises `NotFound`, `InvalidArgument` for a sequence number beyond the next event, and `Unavailable` once
        the patience is over without contact.
        """
        name, wanted, fruitless = _name(task), max(1, from_sequence), 0
        while True:
            before = wanted
            stream = self._stream(name, wanted)
            async with contextlib.aclosing(stream):
                async for event in stream:
                    wanted = event.sequence + 1
                    yield event
                    if event.type is EventType.TASK_FINISHED:
                        return
            # The stream broke, or had nothing more. An answer to this call is contact; without one it raises.
            now = await self.get(name)
            if now.state.ended and wanted > now.last_sequence:
                return
            fruitless = fruitless + 1 if wanted == before else 0
            if fruitless:
                await asyncio.sleep(_wait_seconds(fruitless))

    async def _stream(self, name: str, wanted: int) -> AsyncGenerator[Event, None]:
        """One stream's new events, in order and without a gap. Ends when the stream does, or breaks."""
        request = gateway_pb2.WatchTaskRequest(name=name, from_sequence=wanted)
        call = self._method("WatchTask")(request, metadata=metadata_for(self.tenant))
        try:
            async for response in call:
                for message in response.events:
                    if message.sequence > wanted:
                        return
                    if message.sequence < wanted:
                        continue
                    wanted += 1
                    if message.type in conversion.EVENT_TYPE_FROM_PROTO:  # a newer server may know more types
                        yield conversion.event_from_proto(message)
        except grpc.aio.AioRpcError as error:
            failure = self._error(error)
            if not isinstance(failure, Unavailable):
                raise failure from error
        finally:
            call.cancel()

    async def result(self, task: Task | str) -> Any:
        """Wait for the task to end and return its output, decoded.

        Raises `FailedPrecondition` with the failure's reason and message if it failed, or was cancelled.
        """
        async for _event in self.watch(task):
            pass
        ended = await self.get(task)
        if ended.state is TaskState.SUCCEEDED:
            return ended.output
        if ended.failure is not None:
            raise FailedPrecondition(f"{ended.name} failed: {ended.failure.message}", reason=ended.failure.reason)
        raise FailedPrecondition(f"{ended.name} was {ended.state}: it has no output", reason="TASK_CANCELLED")

    async def call(self, method: str, request: Any) -> Any:
        """Make any unary call of the gateway's contract by its name, with messages.

        Repeated while the gateway or what it needs is away. Raises the classes of `waybill.errors`.
        """
        deadline = time.monotonic() + self._patience_seconds
        async for attempt in tenacity.AsyncRetrying(
            retry=tenacity.retry_if_exception_type(Unavailable),
            wait=lambda state: _wait_seconds(state.attempt_number),
            stop=tenacity.stop_after_delay(self._patience_seconds),
            reraise=True,
        ):
            with attempt:
                timeout = min(self._call_timeout_seconds, max(1.0, deadline - time.monotonic()))
                try:
                    return await self._method(method)(request, timeout=timeout, metadata=metadata_for(self.tenant))
                except grpc.aio.AioRpcError as error:
                    raise self._error(error) from error
        raise AssertionError("unreachable: the retrying ends by returning or raising")

    def _method(self, method: str) -> Any:
        if self._channel is None:
            raise FailedPrecondition("the client is not open: use it as `async with Client(...) as client`")
        return getattr(self._stub, method)

    def _error(self, error: grpc.aio.AioRpcError) -> WaybillError:
        """The error of a failed call; one without details of a service came from the transport, and is named so."""
        told = any(key == "grpc-status-details-bin" for key, _ in error.trailing_metadata() or ())
        if error.code() in _TRANSPORT_CODES and not told:
            return Unavailable(f"no Waybill gateway answers at {self.address}", reason="GATEWAY_UNREACHABLE")
        return from_rpc_error(error)


def _name(task: Task | str) -> str:
    """Resource name of a task that was given as itself, by name or by id."""
    name = task.name if isinstance(task, Task) else task
    return name if name.startswith("tasks/") else f"tasks/{name}"


def _request(submission: Submission) -> gateway_pb2.SubmitTaskRequest:
    return gateway_pb2.SubmitTaskRequest(spec=submission.spec(), request_id=submission.chosen_request_id())


def _batches(requests: Sequence[gateway_pb2.SubmitTaskRequest]) -> Iterator[Sequence[gateway_pb2.SubmitTaskRequest]]:
    """The requests in groups that one call may carry, by number and by size."""
    batch: list[gateway_pb2.SubmitTaskRequest] = []
    size = 0
    for request in requests:
        if batch and (len(batch) == MAX_BATCH_SUBMISSIONS or size + request.ByteSize() > _BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(request)
        size += request.ByteSize()
    if batch:
        yield batch


def _outcome(result: gateway_pb2.SubmitResult) -> Task | WaybillError:
    if result.HasField("task"):
        return Task.of(result.task)
    refusal = result.refusal
    violations = [Violation(violation.field, violation.description) for violation in refusal.violations]
    return error_of(refusal.code, refusal.reason, refusal.message, violations)


def _wait_seconds(tries: int) -> float:
    """A wait that doubles with every try up to a limit; half of it is random, so that callers spread."""
    longest = min(_MAX_WAIT_SECONDS, _FIRST_WAIT_SECONDS * 2.0 ** min(tries, 10))
    return longest * random.uniform(0.5, 1.0)
