"""The client against a real gRPC server that answers, breaks and comes back as told."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from waybill import Client
from waybill.api.v1 import gateway_pb2, gateway_pb2_grpc, task_pb2
from waybill.core.plan import Plan, PlanStep
from waybill.core.task import Document, Event, EventType, Failure, Priority, TaskState
from waybill.errors import AlreadyExists, FailedPrecondition, InvalidPlan, NotFound, Unavailable, Violation
from waybill.resources import Submission, Task
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
        self.error: Exception | None = None

    def task(self, name: str = "tasks/t1") -> task_pb2.Task:
        failed = self.failure is not None
        return task_pb2.Task(
            name=name,
            state=task_pb2.TASK_STATE_FAILED if failed else task_pb2.TASK_STATE_SUCCEEDED,
            last_sequence=LAST,
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
        page = int(request.page_token or 0)
        tasks = [self.task(f"tasks/p{page}-{number}") for number in range(2)]
        return gateway_pb2.ListTasksResponse(tasks=tasks, next_page_token=str(page + 1) if page < 2 else "")

    async def WatchTask(self, request: Any, context: Any) -> AsyncIterator[Any]:
        await self._refuse(context)
        self.watched_from.append(request.from_sequence)
        count, overlap, clean = self.cuts.pop(0) if self.cuts else (LAST, 0, True)
        first = max(1, request.from_sequence - overlap)
        for sequence in range(first, min(LAST, request.from_sequence + count - 1) + 1):
            kind = EventType.TASK_FINISHED if sequence == LAST else EventType.STEP_PROGRESS
            event = event_to_proto(Event(type=kind, sequence=sequence, time_ms=sequence))
            yield gateway_pb2.WatchTaskResponse(events=[event])
        if not clean:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "the stream broke")


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


async def test_given_an_unavailable_service_when_submitting_then_the_same_request_id_is_sent_again() -> None:
    gateway = Gateway()
    gateway.refusals = 6
    async with connected(gateway, tenant="acme") as client:
        task = await client.submit(goal="g")
    assert task.id == "g"
    assert len(gateway.submitted) == 7
    assert len({request.request_id for request in gateway.submitted}) == 1
    assert gateway.submitted[0].request_id
    assert set(gateway.tenants) == {"acme"}


async def test_a_submission_carries_everything_it_was_given() -> None:
    gateway = Gateway()
    async with connected(gateway) as client:
        await client.submit(
            plan={"steps": [{"name": "a", "agent": "echo", "input": {"n": 5}, "after": []}]},
            input=[1, 2],
            documents=[Document("n.md", "text/markdown", b"# N")],
            paths=["/srv/docs"],
            priority=Priority.HIGH,
            labels={"team": "x"},
            request_id="r-1",
        )
        await client.submit(plan=Plan((PlanStep("a", "echo", b'{"n":5}'),)))
    first, second = gateway.submitted
    assert first.request_id == "r-1"
    assert first.spec.plan.steps[0].input.data == second.spec.plan.steps[0].input.data == b'{"n":5}'
    assert first.spec.input.data == b"[1,2]"
    assert first.spec.documents[0].data == b"# N"
    assert (list(first.spec.paths), dict(first.spec.labels)) == (["/srv/docs"], {"team": "x"})
    assert first.spec.priority == task_pb2.PRIORITY_HIGH
    assert not second.spec.HasField("input")


async def test_errors_come_out_as_their_classes() -> None:
    gateway = Gateway()
    violations = [Violation("plan.steps[0].agent", "no such agent"), Violation("plan.steps[1].after[0]", "a cycle")]
    async with connected(gateway) as client:
        gateway.error = InvalidPlan.of(violations)
        with pytest.raises(Exception, match="no such agent") as refused:
            await client.submit(goal="g")
        assert list(refused.value.violations) == violations  # type: ignore[attr-defined]
        assert refused.value.reason == "PLAN_INVALID"  # type: ignore[attr-defined]
        gateway.error = NotFound("there is no task tasks/x")
        with pytest.raises(NotFound, match="tasks/x"):
            await client.get("x")
        with pytest.raises(NotFound, match="tasks/x"):
            await anext(client.watch("x"))


async def test_many_submissions_keep_their_order_and_are_refused_one_by_one() -> None:
    gateway = Gateway()
    goals = [f"g{number}" for number in range(1_005)]
    goals[3], goals[1_002] = "twice", "full"
    async with connected(gateway) as client:
        outcomes = await client.submit_many(Submission(goal=goal) for goal in goals)
    assert isinstance(outcomes[3], AlreadyExists)
    assert [request.spec.goal for request in gateway.submitted] == ["full"], "what the store had no time for goes again"
    assert [outcome.id for outcome in outcomes if isinstance(outcome, Task)] == goals[:3] + goals[4:]


async def test_a_list_goes_through_all_pages() -> None:
    async with connected(Gateway()) as client:
        names = [task.id async for task in client.list([TaskState.SUCCEEDED])]
    assert names == ["p0-0", "p0-1", "p1-0", "p1-1", "p2-0", "p2-1"]


cut = st.tuples(st.integers(1, 5), st.integers(0, 3), st.booleans())


@settings(deadline=None, max_examples=25)
@given(st.lists(cut, max_size=6), st.integers(1, LAST))
def test_a_watch_that_breaks_anywhere_has_no_gap_and_no_repeat(cuts: list[tuple[int, int, bool]], first: int) -> None:
    async def watched() -> list[int]:
        gateway = Gateway()
        gateway.cuts = list(cuts)
        async with connected(gateway) as client:
            return [event.sequence async for event in client.watch("t1", from_sequence=first)]

    assert asyncio.run(watched()) == list(range(first, LAST + 1))


async def test_given_a_gateway_that_dies_when_another_takes_its_port_then_the_watch_goes_on() -> None:
    first = Gateway()
    first.cuts = [(4, 0, False)]
    async with contextlib.AsyncExitStack() as stack:
        async with serving(first) as address:
            client = await stack.enter_async_context(Client(address))
            events = client.watch("t1")
            seen = [(await anext(events)).sequence for _ in range(4)]
        await stack.enter_async_context(serving(Gateway(), int(address.rpartition(":")[2])))
        seen += [event.sequence async for event in events]
    assert seen == list(range(1, LAST + 1))


async def test_a_watch_beyond_the_last_event_of_an_ended_task_has_nothing() -> None:
    async with connected(Gateway()) as client:
        assert [event async for event in client.watch("t1", from_sequence=LAST + 1)] == []


async def test_given_no_contact_for_the_patience_when_watching_then_it_gives_up_and_says_where() -> None:
    async with serving(Gateway()) as address:
        pass
    async with Client(address, patience_seconds=0.2) as client:
        with pytest.raises(Unavailable, match=address) as failed:
            await anext(client.watch("t1"))
    assert failed.value.reason == "GATEWAY_UNREACHABLE"


async def test_a_result_is_the_output_or_the_failure() -> None:
    gateway = Gateway()
    async with connected(gateway) as client:
        assert await client.result("t1") == {"answer": 42}
        gateway.failure = Failure("TIMEOUT", "step a took too long")
        with pytest.raises(FailedPrecondition, match="took too long") as failed:
            await client.result("t1")
    assert failed.value.reason == "TIMEOUT"


async def test_a_client_that_is_not_open_says_how_to_open_it() -> None:
    with pytest.raises(FailedPrecondition, match="async with"):
        await Client().get("t1")


def test_importing_waybill_for_agents_loads_no_client() -> None:
    code = "import sys, waybill; sys.exit(any(name.startswith('waybill.api') for name in sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
