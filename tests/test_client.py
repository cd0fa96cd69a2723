"""The client: submissions, reads and results."""

from __future__ import annotations

import subprocess
import sys

import pytest
from client_gateway import Gateway, connected

from waybill import Client
from waybill.api.v1 import task_pb2
from waybill.core.plan import Plan, PlanStep
from waybill.core.task import Document, Failure, Priority, TaskState
from waybill.errors import AlreadyExists, FailedPrecondition, InvalidPlan, NotFound, Violation
from waybill.resources import Submission, Task


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
            deadline_ms=60_000,
            template="daily",
        )
        await client.submit(plan=Plan((PlanStep("a", "echo", b'{"n":5}'),)))
    first, second = gateway.submitted
    assert first.request_id == "r-1"
    assert first.spec.plan.steps[0].input.data == second.spec.plan.steps[0].input.data == b'{"n":5}'
    assert first.spec.input.data == b"[1,2]"
    assert first.spec.documents[0].data == b"# N"
    assert (list(first.spec.paths), dict(first.spec.labels)) == (["/srv/docs"], {"team": "x"})
    assert first.spec.priority == task_pb2.PRIORITY_HIGH
    assert (first.spec.deadline_ms, first.spec.template) == (60_000, "daily")
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


async def test_a_result_is_the_output_or_the_failure() -> None:
    gateway = Gateway()
    async with connected(gateway) as client:
        assert await client.result("t1") == {"answer": 42}
        gateway.failure = Failure("TIMEOUT", "step a took too long")
        with pytest.raises(FailedPrecondition, match="took too long") as failed:
            await client.result("t1")
    assert failed.value.reason == "TIMEOUT"


async def test_a_result_is_there_also_when_the_archive_keeps_no_events() -> None:
    gateway = Gateway()
    gateway.archived = True
    async with connected(gateway) as client:
        assert await client.result("t1") == {"answer": 42}
        gateway.error = NotFound("there is no task tasks/t1")
        with pytest.raises(NotFound, match="no task"):
            await client.result("t1")


async def test_a_client_that_is_not_open_says_how_to_open_it() -> None:
    with pytest.raises(FailedPrecondition, match="async with"):
        await Client().get("t1")


def test_importing_waybill_for_agents_loads_no_client() -> None:
    code = "import sys, waybill; sys.exit(any(name.startswith('waybill.api') for name in sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
