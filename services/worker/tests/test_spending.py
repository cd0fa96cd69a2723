"""Workers that ask models, on a real ledger: budgets hold, limits hold, and the bill is what the ledger counts."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest
from model_server import Behaviour, ModelServer, Random
from waybill_worker.pool import ProcessPool
from waybill_worker.worker import Worker, drain_within
from worker_models import assert_accounted, models_of, usage_of
from worker_tasks import ended, step, steps_of, submit, ticking

from waybill.agent import AgentDefinition
from waybill.core.budget import Budget, BudgetAction
from waybill.core.plan import RetryPolicy
from waybill.core.task import CallState, EventType, StepState, TaskState
from waybill.ledger.ledger import Ledger
from waybill.models.client import ModelClient

Agents = dict[str, AgentDefinition]
Start = Callable[..., AbstractAsyncContextManager[Worker]]
on_one_store = pytest.mark.parametrize("store_url", ["embedded"], indirect=True)
"""For what the kind of store makes no difference to."""
FAULTS = {
    "429": 0.1, "500": 0.08, "connect": 0.08, "disconnect": 0.1, "malformed": 0.08, "no_usage": 0.08, "cut": 0.05,
}  # fmt: skip


@pytest.fixture
def start(ledger: Ledger, agents: Agents, pool: ProcessPool, server: ModelServer) -> Start:
    """Runs a worker with a model while the context is open."""

    @contextlib.asynccontextmanager
    async def open_worker(slots: int = 8, **options: Any) -> AsyncIterator[Worker]:
        client = ModelClient(models_of(server, **options))
        worker = Worker(ledger, agents, pool, name="w", slots=slots, models=client)
        task = asyncio.create_task(worker.run("127.0.0.1:1"))
        async with ticking(ledger):
            while not await worker.ready():
                await asyncio.sleep(0.01)
            try:
                yield worker
            finally:
                await drain_within(worker, task, 2.0)
                await client.close()

    return open_worker


async def test_given_steps_that_ask_when_run_then_calls_usage_and_events_are_what_was_billed(
    ledger: Ledger, agents: Agents, start: Start, server: ModelServer
) -> None:
    names = ("asker", "asker-in-process", "asker-in-thread", "judge", "between")
    task_id = await submit(ledger, agents, *(step(name, name) for name in names))
    async with start():
        task = await ended(ledger, task_id)
        steps = await steps_of(ledger, task_id)
        calls = await assert_accounted(ledger, server, task_id)
        events = await ledger.events(task_id, 1, 1_000)

    assert task.state is TaskState.SUCCEEDED
    assert len(server.bill) == len(calls) == len(names)
    assert {call.agent for call in calls} == set(names)
    by_number = {f"{task_id}/{record.number}/1/1": record for record in steps.values()}
    for billed in server.bill:
        assert by_number[billed.call].usage == usage_of(billed)
    assert sum(event.type is EventType.CALL_ENDED for event in events) == len(names)


@on_one_store
async def test_given_a_step_that_fails_when_it_runs_again_then_both_attempts_are_counted(
    ledger: Ledger, agents: Agents, start: Start, server: ModelServer
) -> None:
    task_id = await submit(ledger, agents, step("a", "asker", {"fail": 1, "stream": True}))
    async with start():
        await ended(ledger, task_id)
        calls = await assert_accounted(ledger, server, task_id)

    assert [(call.attempt, call.state) for call in calls] == [(1, CallState.SETTLED), (2, CallState.SETTLED)]
    assert len(server.bill) == 2


@pytest.mark.parametrize("seed", range(3))
@on_one_store
async def test_given_any_faults_when_tasks_run_then_every_call_is_settled_as_billed_or_estimated_at_no_less(
    ledger: Ledger, agents: Agents, start: Start, server: ModelServer, seed: int
) -> None:
    server.rule = Random(seed, FAULTS)
    chance = random.Random(seed)
    kinds = ("asker", "asker-in-process", "judge", "between")
    tasks = [
        await submit(
            ledger,
            agents,
            *(step(f"s{n}", chance.choice(kinds), retry=RetryPolicy(5, 1, 1)) for n in range(4)),
        )
        for _ in range(4)
    ]
    async with start():
        for task_id in tasks:
            await ended(ledger, task_id)
            await assert_accounted(ledger, server, task_id)

    rows = [row for task_id in tasks for row in await ledger.usage_of_task(task_id)]
    billed = sum(usage_of(billed).cost_microusd for billed in server.bill)
    estimated = sum(row.usage.estimated_microusd for row in rows)
    assert sum(row.usage.cost_microusd for row in rows) - estimated <= billed
    assert billed <= sum(row.usage.cost_microusd for row in rows)


@pytest.mark.parametrize("calls", [3, 8])
@on_one_store
async def test_given_parallel_calls_under_a_budget_when_run_then_they_never_spend_more_together(
    ledger: Ledger, agents: Agents, start: Start, server: ModelServer, calls: int
) -> None:
    budget = Budget(max_cost_microusd=5_000)
    task_id = await submit(ledger, agents, *(step(f"s{n}", "many", {"count": 4}) for n in range(calls)), budget=budget)
    async with start():
        task = await ended(ledger, task_id)
        await assert_accounted(ledger, server, task_id)

    assert task.state is TaskState.SUCCEEDED
    assert server.bill
    assert sum(usage_of(billed).cost_microusd for billed in server.bill) == task.usage.cost_microusd <= 5_000


@pytest.mark.parametrize("agent", ["asker", "asker-in-process"])
@on_one_store
async def test_given_a_budget_too_small_for_one_call_when_run_then_the_step_fails_and_nothing_is_billed(
    ledger: Ledger, agents: Agents, start: Start, server: ModelServer, agent: str
) -> None:
    task_id = await submit(ledger, agents, step("a", agent), budget=Budget(max_cost_microusd=10))
    async with start():
        task = await ended(ledger, task_id)
        steps = await steps_of(ledger, task_id)

    assert task.state is TaskState.FAILED
    assert steps["a"].failure is not None
    assert (steps["a"].failure.reason, steps["a"].attempt) == ("BUDGET_EXHAUSTED", 1)
    assert not server.requests


@on_one_store
async def test_given_a_task_that_asks_for_money_when_it_gets_some_then_its_step_goes_on(
    ledger: Ledger, agents: Agents, start: Start, server: ModelServer
) -> None:
    budget = Budget(max_cost_microusd=10, on_limit=BudgetAction.ASK)
    task_id = await submit(ledger, agents, step("a", "asker"), budget=budget)
    async with start():
        async with asyncio.timeout(60):
            while (await steps_of(ledger, task_id))["a"].state is not StepState.WAITING:
                await asyncio.sleep(0.02)
        assert not server.requests
        await ledger.answer(task_id, 1, b'{"add_microusd": 100000}')
        task = await ended(ledger, task_id)
        await assert_accounted(ledger, server, task_id)

    assert (task.state, len(server.bill)) == (TaskState.SUCCEEDED, 1)


@on_one_store
async def test_given_a_model_without_a_price_when_there_is_a_budget_then_it_is_not_asked(
    ledger: Ledger, agents: Agents, start: Start, server: ModelServer
) -> None:
    options = {"input_usd_per_million": None, "output_usd_per_million": None}
    capped = await submit(ledger, agents, step("a", "asker"), budget=Budget(max_cost_microusd=10**6))
    free = await submit(ledger, agents, step("a", "asker"))
    async with start(**options):
        task = await ended(ledger, capped)
        assert (await ended(ledger, free)).state is TaskState.SUCCEEDED

    assert task.failure is not None
    assert "PRICE_UNKNOWN" in (await steps_of(ledger, capped))["a"].failure.reason  # type: ignore[union-attr]
    assert [billed.call for billed in server.bill] == [f"{free}/1/1/1"]


@on_one_store
async def test_given_a_limit_of_concurrency_when_many_steps_ask_then_it_holds_and_other_steps_have_their_slots(
    ledger: Ledger, agents: Agents, start: Start, server: ModelServer
) -> None:
    server.rule = lambda _: Behaviour(text="slowly", first_token_seconds=0.05)
    asking = await submit(ledger, agents, *(step(f"s{n}", "many", {"count": 3}) for n in range(6)))
    async with start(slots=2, endpoint={"max_concurrency": 2}):
        other = await submit(ledger, agents, *(step(f"p{n}", "plain") for n in range(4)))
        assert (await ended(ledger, other)).state is TaskState.SUCCEEDED
        assert (await ended(ledger, asking)).state is TaskState.SUCCEEDED
        await assert_accounted(ledger, server, asking)

    assert server.most_concurrent <= 2
    assert len(server.bill) == 18


@on_one_store
async def test_given_a_server_that_is_asked_too_often_when_steps_ask_then_all_end_and_it_is_asked_less(
    ledger: Ledger, agents: Agents, start: Start, server: ModelServer
) -> None:
    async with ModelServer(max_concurrency=2) as busy:
        server.rule = busy.rule
        task_id = await submit(ledger, agents, *(step(f"s{n}", "asker", retry=RetryPolicy(9, 1, 1)) for n in range(8)))
        async with start(slots=8):
            task = await ended(ledger, task_id)
            await assert_accounted(ledger, server, task_id)

    assert task.state is TaskState.SUCCEEDED


@pytest.mark.parametrize("keep", [False, True])
@on_one_store
async def test_given_prompts_that_are_kept_or_not_when_asked_then_they_are_with_the_step_or_nowhere(
    ledger: Ledger, agents: Agents, start: Start, server: ModelServer, keep: bool, caplog: pytest.LogCaptureFixture
) -> None:
    secret = "a-secret-in-the-prompt"
    server.script.append(Behaviour(status=400, error={"message": f"bad: {secret}"}))
    task_id = await submit(ledger, agents, step("a", "asker"), step("b", "asker", {"text": secret}))
    async with start(keep_prompts=keep):
        await ended(ledger, task_id)
        calls = await ledger.with_texts(task_id, await ledger.calls(task_id))
        events = await ledger.events(task_id, 1, 1_000)

    assert any(secret.encode() in call.prompt + call.response for call in calls) is keep
    assert not any(secret in str(event) for event in events)
    assert secret not in caplog.text


@on_one_store
@pytest.mark.parametrize("tasks", [int(os.environ.get("WAYBILL_TEST_BUDGET_TASKS", "20"))])
async def test_given_tasks_of_16_parallel_steps_under_one_tenants_budget_when_run_then_all_end_and_none_overspends(
    ledger: Ledger, agents: Agents, start: Start, server: ModelServer, tasks: int
) -> None:
    budget_microusd = tasks * 16 * 22  # half of what they will cost
    await ledger.set_tenant_budget("acme", max_total_microusd=budget_microusd, max_day_microusd=0)
    ids = [
        await submit(ledger, agents, *(step(f"s{n}", "asker") for n in range(16)), tenant="acme") for _ in range(tasks)
    ]
    async with start(slots=32):
        states = [(await ended(ledger, task_id, seconds=600)).state for task_id in ids]
    await server.idle()
    budget = await ledger.tenant_budget("acme")
    billed = sum(usage_of(billed).cost_microusd for billed in server.bill)

    # Which steps get the money is left to chance, so it may be that no task gets enough of it.
    assert TaskState.FAILED in states
    assert billed > 0
    assert (budget.spent_total_microusd, budget.reserved_microusd) == (billed, 0)
    assert billed <= budget_microusd
