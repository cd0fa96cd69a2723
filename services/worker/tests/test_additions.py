"""Steps that agents add to their plan, on a real ledger."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import msgspec
import pytest
from waybill_worker.pool import ProcessPool
from waybill_worker.worker import Worker, drain_within
from worker_tasks import ended, step, steps_of, submit, ticking

from waybill.agent import AgentDefinition
from waybill.core.budget import TaskPolicy
from waybill.core.plan import RetryPolicy
from waybill.core.task import EventType, TaskState
from waybill.ledger.ledger import Ledger

Agents = dict[str, AgentDefinition]
Start = Callable[..., AbstractAsyncContextManager[Worker]]
every_mapper = pytest.mark.parametrize("agent", ["mapper", "mapper-in-process", "mapper-in-thread"])
on_one_store = pytest.mark.parametrize("store_url", ["embedded"], indirect=True)


@pytest.fixture
def start(ledger: Ledger, agents: Agents, pool: ProcessPool) -> Start:
    """Runs a worker while the context is open."""

    @contextlib.asynccontextmanager
    async def open_worker() -> AsyncIterator[Worker]:
        worker = Worker(ledger, agents, pool, name="w", slots=4)
        task = asyncio.create_task(worker.run("127.0.0.1:1"))
        async with ticking(ledger):
            while not await worker.ready():
                await asyncio.sleep(0.01)
            try:
                yield worker
            finally:
                await drain_within(worker, task, 0.0)

    return open_worker


@every_mapper
@pytest.mark.parametrize("fail", [0, 1])
async def test_given_an_agent_that_adds_steps_when_it_succeeds_then_they_run_and_its_dependents_get_their_result(
    ledger: Ledger, agents: Agents, start: Start, agent: str, fail: int
) -> None:
    items = [f"item {number}" for number in range(5)]
    task_id = await submit(
        ledger,
        agents,
        step("map", agent, {"items": items, "fail": fail}),
        step("after", "echo", {"value": {"all": "${map}"}}),
    )
    async with start():
        task = await ended(ledger, task_id)
        steps = await steps_of(ledger, task_id)
        events = await ledger.events(task_id, 1, 1_000)

    assert task.state is TaskState.SUCCEEDED
    assert set(steps) == {"map", "after", "joined", *(f"item-{number}" for number in range(5))}
    assert msgspec.json.decode(steps["after"].output) == {"all": items}
    assert (steps["map"].output, task.revision) == (b"5", 2)
    assert sum(event.type is EventType.PLAN_REVISED for event in events) == 1


@on_one_store
async def test_given_a_loop_of_steps_when_run_then_it_ends_at_its_bound_with_the_last_result(
    ledger: Ledger, agents: Agents, start: Start
) -> None:
    task_id = await submit(
        ledger, agents, step("loop", "counter", {"number": 0, "until": 6}), step("after", "echo", {"value": "${loop}"})
    )
    async with start():
        task = await ended(ledger, task_id)
        steps = await steps_of(ledger, task_id)

    assert (task.state, len(steps)) == (TaskState.SUCCEEDED, 8)
    assert steps["after"].output == b"6"


@on_one_store
@pytest.mark.parametrize(
    ("added", "policy", "told"),
    [
        ([{"name": "other", "agent": "echo", "input": {}}], None, "other"),
        ([{"name": "a", "agent": "nobody", "input": {}}], None, "nobody"),
        ([{"name": "a", "agent": "echo", "input": {"value": "$${nowhere}"}}], None, "nowhere"),
        ([{"name": "a", "agent": "echo", "input": {"values": 1}}], None, "values"),
        ([{"name": "a", "agent": "sleeper", "input": {}}], TaskPolicy(allowed_agents=("careless", "echo")), "policy"),
        (
            [{"name": f"a{n}", "agent": "echo", "input": {}} for n in range(3)],
            TaskPolicy(max_added_steps=2),
            "2",
        ),
        (
            [{"name": "a", "agent": "echo", "input": {}, "after": ["b"]},
             {"name": "b", "agent": "echo", "input": {}, "after": ["a"]}],
            None,
            "cycle",
        ),
    ],
)  # fmt: skip
async def test_given_steps_that_do_not_fit_the_plan_when_their_agent_succeeds_then_its_step_fails_for_good_and_says_why(
    ledger: Ledger, agents: Agents, start: Start, added: list[dict[str, Any]], policy: TaskPolicy | None, told: str
) -> None:
    task_id = await submit(
        ledger, agents, step("add", "careless", {"steps": added}), step("other", "echo"), policy=policy
    )
    async with start():
        await ended(ledger, task_id)
        steps = await steps_of(ledger, task_id)

    failure = steps["add"].failure
    assert failure is not None
    assert (failure.reason, steps["add"].attempt) == ("PATCH_INVALID", 1)
    assert told in failure.message
    assert set(steps) == {"add", "other"}


@on_one_store
async def test_given_an_attempt_that_fails_when_it_had_added_steps_then_none_is_added(
    ledger: Ledger, agents: Agents, start: Start
) -> None:
    task_id = await submit(
        ledger, agents, step("map", "mapper", {"items": ["a"], "fail": 9}, retry=RetryPolicy(2, 1, 1))
    )
    async with start():
        task = await ended(ledger, task_id)
        steps = await steps_of(ledger, task_id)

    assert (task.state, set(steps)) == (TaskState.FAILED, {"map"})
