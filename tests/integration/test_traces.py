"""One connected trace a task, from its caller to its last step, whatever happens; and tasks that mind no receiver."""

from __future__ import annotations

import re

import pytest
from free_ports import free_port
from otlp_receiver import Received, Receiver

from waybill.client import Client
from waybill.core.task import EventType, TaskState
from waybill.resources import Submission
from waybill.telemetry import conventions

DIAMOND = {
    "steps": [
        {"name": "first", "agent": "echo", "input": {"value": 1}},
        {"name": "left", "agent": "echo", "input": {"value": 2}, "after": ["first"]},
        {"name": "right", "agent": "echo", "input": {"value": 3}, "after": ["first"]},
        {"name": "last", "agent": "echo", "input": {"value": 4}, "after": ["left", "right"]},
    ]
}
SLOW = {"steps": [{"name": "only", "agent": "slow", "input": {"seconds": 2}}]}


@pytest.fixture(scope="module")
def receiver():
    found = Receiver(free_port())
    yield found
    found.stop()


@pytest.fixture
def traced(start, receiver: Receiver):
    return start(environment=environment(receiver.endpoint))


def environment(endpoint: str) -> dict[str, str]:
    return {
        "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint,
        "OTEL_EXPORTER_OTLP_TIMEOUT": "3",
        "OTEL_BSP_SCHEDULE_DELAY": "200",
    }


def check_connected(receiver: Receiver, task: str) -> list[Received]:
    """Nothing of any trace lacks its parent, and the task's has one first span."""
    receiver.settle()
    assert receiver.orphans() == []
    spans = receiver.trace_of(task.removeprefix("tasks/"))
    assert len([span for span in spans if not span.parent_id]) == 1, [span.name for span in spans]
    for span in receiver.spans:
        check_registered(span)
    return spans


def check_registered(span: Received) -> None:
    """A span is of a form that the project has declared."""
    kinds = {form.kind.value + 1 for form in conventions.FORMS}
    assert span.kind in kinds
    fitting = [
        form
        for form in conventions.FORMS
        if re.fullmatch(re.sub(r"\\{\w+\\}", ".+", re.escape(form.name)), span.name)
        and form.kind.value + 1 == span.kind
        and span.attributes.keys() <= form.attributes
    ]
    assert fitting, span
    for event, attributes in span.events.items():
        assert attributes <= conventions.EVENTS[event], span


def named(spans: list[Received], name: str) -> list[Received]:
    return [span for span in spans if span.name == name]


async def test_given_plans_and_a_goal_then_each_task_has_one_trace(traced, receiver: Receiver) -> None:
    async with Client(traced.address) as client:
        joined = await client.submit(plan=DIAMOND)
        await client.result(joined)
        goal = await client.submit(goal="What is a batch?", documents=())
        async for _ in client.watch(goal):
            pass
        batch = await client.submit_many([Submission(plan=DIAMOND) for _ in range(3)])
        for task in batch:
            await client.result(task)
    spans = check_connected(receiver, joined.name)
    steps = {span.attributes["waybill.step"] for span in named(spans, "process echo")}
    assert steps == {"first", "left", "right", "last"}
    assert len(named(spans, "invoke_agent echo")) == 4
    assert {span.service for span in spans} >= {"waybill-gateway", "waybill-dispatcher", "waybill-worker"}
    assert all(span.attributes["waybill.outcome"] == "succeeded" for span in named(spans, "process echo"))
    planned = check_connected(receiver, goal.name)
    assert named(planned, "plan")
    assert "waybill-planner" in {span.service for span in planned}
    traces = {check_connected(receiver, task.name)[0].trace_id for task in batch}
    assert len(traces) == 3
    receipts = [span for span in receiver.spans if span.name.startswith("receive ")]
    linked = {trace for span in receipts for trace in span.links}
    assert traces <= linked
    assert all(span.attributes.get("messaging.batch.message_count", 2) > 1 for span in receipts)


async def test_given_a_step_that_fails_first_then_its_attempts_are_siblings(traced, receiver: Receiver) -> None:
    plan = {"steps": [{"name": "only", "agent": "flaky", "input": {"failures": 1}}]}
    async with Client(traced.address) as client:
        task = await client.submit(plan=plan)
        await client.result(task)
    attempts = named(check_connected(receiver, task.name), "process flaky")
    first, second = sorted(attempts, key=lambda span: span.attributes["waybill.attempt"])
    assert first.parent_id == second.parent_id
    assert first.failed
    assert not second.failed
    assert first.attributes["error.type"] == "AGENT_ERROR"
    assert second.events.keys() >= {"waybill.retried", "waybill.ready"}


async def test_given_a_worker_that_is_killed_then_nothing_hangs_below_what_was_lost(traced, receiver: Receiver) -> None:
    async with Client(traced.address) as client:
        task = await client.submit(plan=SLOW)
        async for event in client.watch(task):
            if event.type is EventType.STEP_STARTED and event.attempt == 1:
                traced.kill("worker")
        assert (await client.get(task)).state is TaskState.SUCCEEDED
    (attempt,) = named(check_connected(receiver, task.name), "process slow")
    assert attempt.attributes["waybill.attempt"] > 1


async def test_given_a_cancelled_task_then_its_trace_tells_so(traced, receiver: Receiver) -> None:
    async with Client(traced.address) as client:
        task = await client.submit(plan=SLOW)
        async for event in client.watch(task):
            if event.type is EventType.STEP_STARTED:
                await client.cancel(task)
    (attempt,) = named(check_connected(receiver, task.name), "process slow")
    assert attempt.attributes["waybill.outcome"] == "cancelled"


@pytest.mark.parametrize("fault", ["hangs", "dies"])
async def test_given_a_receiver_that_hangs_or_dies_then_tasks_do_not_notice(start, fault: str) -> None:
    receiver = Receiver(free_port())
    if fault == "hangs":
        receiver.hanging.set()
    suite = start(environment=environment(receiver.endpoint))
    try:
        async with Client(suite.address) as client:
            await client.result(await client.submit(plan=DIAMOND))
            receiver.settle(longest_seconds=3)
            assert receiver.asked
            if fault == "dies":
                receiver.stop()
            for _ in range(3):
                await client.result(await client.submit(plan=DIAMOND))
        assert suite.stop() == 0
    finally:
        receiver.stop()
