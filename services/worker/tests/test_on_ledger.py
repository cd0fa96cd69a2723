"""A worker on a real ledger, on every kind of store."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager

import msgspec
import pytest
from waybill_worker.pool import ProcessPool
from waybill_worker.worker import Worker, drain_within
from worker_tasks import ended, running, step, steps_of, submit, ticking

from waybill.agent import AgentDefinition
from waybill.core.task import EventType, StepState, TaskState, Usage
from waybill.ledger.ledger import Ledger
from waybill.ledger.records import BatchTerms

Agents = dict[str, AgentDefinition]
Start = Callable[..., AbstractAsyncContextManager[Worker]]


@pytest.fixture
def start(ledger: Ledger, agents: Agents, pool: ProcessPool) -> Start:
    """Runs a worker while the context is open."""

    @contextlib.asynccontextmanager
    async def open_worker(name: str = "w", slots: int = 4) -> AsyncIterator[Worker]:
        worker = Worker(ledger, agents, pool, name=name, slots=slots)
        task = asyncio.create_task(worker.run("127.0.0.1:1"))
        async with ticking(ledger):
            while not await worker.ready():
                await asyncio.sleep(0.01)
            try:
                yield worker
            finally:
                await drain_within(worker, task, 0.0)

    return open_worker


async def test_given_a_diamond_when_run_then_every_step_gets_what_it_refers_to(
    ledger: Ledger, agents: Agents, start: Start
) -> None:
    task_id = await submit(
        ledger,
        agents,
        step("top", "echo", {"value": {"n": "${task.input.n}"}}),
        step("left", "pid-of-process", {"words": ["left of ${top.n}"]}),
        step("right", "in-thread", {"words": ["right of ${top.n}"]}),
        step("bottom", "echo", {"value": ["${left}", "${right}", "${top.n}"]}),
        input={"n": 7},
    )
    async with start():
        task = await ended(ledger, task_id)
        steps = await steps_of(ledger, task_id)

    assert task.state is TaskState.SUCCEEDED
    left, right = (msgspec.json.decode(steps[name].output) for name in ("left", "right"))
    assert msgspec.json.decode(steps["bottom"].output) == [left, right, 7]
    assert task.usage == Usage(input_tokens=3, cost_microusd=5)


async def test_given_a_step_that_reports_when_run_then_its_events_stand_between_its_start_and_its_end(
    ledger: Ledger, agents: Agents, start: Start
) -> None:
    words = [f"{number} " for number in range(100)]
    task_id = await submit(ledger, agents, step("talk", "chatty", {"words": words}))
    async with start():
        await ended(ledger, task_id)
        events = await ledger.events(task_id, 1, 1_000)

    kinds = [event.type for event in events if event.step == "talk"]
    reports = {EventType.STEP_TEXT, EventType.STEP_PROGRESS}
    assert kinds[:2] == [EventType.STEP_READY, EventType.STEP_STARTED]
    assert set(kinds[2:-1]) == reports
    assert kinds[-1] is EventType.STEP_FINISHED
    assert "".join(event.text for event in events) == "".join(words)


async def test_given_a_wide_fan_out_when_two_workers_run_it_then_the_join_gets_all_of_it(
    ledger: Ledger, agents: Agents, start: Start
) -> None:
    names = [f"m{number}" for number in range(50)]
    task_id = await submit(
        ledger,
        agents,
        *(step(name, "echo", {"value": name}) for name in names),
        step("join", "echo", {"value": [f"${{{name}}}" for name in names]}),
    )
    async with start("one"), start("two"):
        await ended(ledger, task_id)
        steps = await steps_of(ledger, task_id)

    assert msgspec.json.decode(steps["join"].output) == names
    assert all(record.attempt == 1 for record in steps.values())


async def test_given_a_slow_step_before_others_in_its_batch_then_those_are_run_by_another_worker(
    ledger: Ledger, agents: Agents, start: Start
) -> None:
    await ledger.set_shares({"sleeper": BatchTerms(10, 10)}, {})
    async with start("slow", slots=1) as worker:
        blocking = await submit(ledger, agents, *(step(f"s{at}", "sleeper", {}) for at in range(6)))
        while worker.status.running == 0:
            await asyncio.sleep(0.01)
        async with start("other", slots=8):
            while sum(found.state is StepState.RUNNING for found in (await steps_of(ledger, blocking)).values()) < 6:
                await asyncio.sleep(0.01)
            workers = {found.worker.partition(".")[0] for found in (await steps_of(ledger, blocking)).values()}
            await ledger.cancel(blocking)
            await ended(ledger, blocking)
    assert workers == {"slow", "other"}


async def test_given_an_agent_whose_process_dies_when_run_then_it_runs_again_until_it_is_a_dead_letter(
    ledger: Ledger, agents: Agents, start: Start
) -> None:
    task_id = await submit(ledger, agents, step("end", "dying", {"how": "kill"}))
    async with start():
        task = await ended(ledger, task_id)
        steps = await steps_of(ledger, task_id)

    assert task.state is TaskState.FAILED
    assert (steps["end"].attempt, steps["end"].failure and steps["end"].failure.reason) == (3, "PROCESS_DIED")
    assert (steps["end"].deaths, steps["end"].tries) == (3, 0)
    letters, _ = await ledger.dead_letters("default", 10)
    assert [letter.step for letter in letters] == ["end"]


@pytest.mark.parametrize("agent", ["sleeper", "hanging"])
async def test_given_a_running_step_when_its_task_is_cancelled_then_the_task_ends_cancelled(
    ledger: Ledger, agents: Agents, start: Start, agent: str
) -> None:
    message = "asleep" if agent == "sleeper" else ""
    task_id = await submit(ledger, agents, step("wait", agent), step("after", "echo", after=["wait"]))
    async with start() as worker:
        while not worker.status.running:
            await asyncio.sleep(0.01)
        if message:
            await running(ledger, task_id, message)
        await ledger.cancel(task_id)
        task = await ended(ledger, task_id)
        steps = await steps_of(ledger, task_id)

    assert task.state is TaskState.CANCELLED
    assert {record.state for record in steps.values()} == {StepState.CANCELLED}


async def test_given_a_step_that_runs_too_long_when_its_time_is_up_then_the_failure_says_so(
    ledger: Ledger, agents: Agents, start: Start
) -> None:
    task_id = await submit(ledger, agents, step("wait", "hanging", run_timeout_ms=200))
    async with start():
        task = await ended(ledger, task_id)
        steps = await steps_of(ledger, task_id)

    assert task.state is TaskState.FAILED
    assert steps["wait"].failure is not None
    assert steps["wait"].failure.reason == "TIMEOUT"


async def test_given_a_drained_worker_when_another_comes_then_it_finishes_at_no_cost_to_the_retries(
    ledger: Ledger, agents: Agents, start: Start
) -> None:
    task_id = await submit(ledger, agents, step("wait", "sleeper", {"seconds": 1.0}))
    async with start("first"):
        await running(ledger, task_id, "asleep")
    async with start("second"):
        task = await ended(ledger, task_id)
        steps = await steps_of(ledger, task_id)

    assert task.state is TaskState.SUCCEEDED
    assert (steps["wait"].attempt, steps["wait"].tries) == (2, 0)


async def test_given_a_worker_forgotten_by_the_ledger_when_it_notices_then_it_goes_on_under_its_id(
    ledger: Ledger, agents: Agents, start: Start
) -> None:
    task_id = await submit(ledger, agents, step("wait", "sleeper", {"seconds": 1.0}))
    async with start() as worker:
        await running(ledger, task_id, "asleep")
        await ledger.unregister(worker.id)
        task = await ended(ledger, task_id)
        steps = await steps_of(ledger, task_id)
        known = [record.id for record in await ledger.workers()]

    assert task.state is TaskState.SUCCEEDED
    assert steps["wait"].attempt == 2
    assert known == [worker.id]
