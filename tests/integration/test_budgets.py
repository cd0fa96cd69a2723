"""Budgets, as whole suites keep them: what a person allows goes on, what nobody allows ends, no tenant overspends."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from model_plans import KEY, environment_of
from model_server import ModelServer

from waybill.client import Client
from waybill.core.budget import Budget, BudgetAction
from waybill.core.task import StepState, TaskState, Usage
from waybill.resources import Task


def thinking(count: int) -> dict[str, Any]:
    """Steps that ask the model, side by side, each for an answer of at most 50 tokens."""
    return {
        "steps": [
            {"name": f"think-{at}", "agent": "llm", "input": {"prompt": "Think.", "max_output_tokens": 50}}
            for at in range(count)
        ]
    }


async def ended(client: Client, task: Task) -> Task:
    """The task at its end."""
    async for _ in client.watch(task):
        pass
    return await client.get(task)


def bill_of(server: ModelServer) -> tuple[int, int]:
    return sum(item.prompt_tokens for item in server.bill), sum(item.completion_tokens for item in server.bill)


@pytest.mark.parametrize(("add_microusd", "end"), [(1_000_000, TaskState.SUCCEEDED), (0, TaskState.FAILED)])
async def test_given_a_task_that_asks_at_its_limit_then_a_persons_answer_decides(
    start, add_microusd: int, end: TaskState
) -> None:
    async with ModelServer(api_key=KEY) as server:
        suite = start(environment=environment_of(server), workers=1)
        async with Client(suite.address) as client:
            task = await client.submit(plan=thinking(2), budget=Budget(1, BudgetAction.ASK))
            async with asyncio.timeout(60):
                while [step.state for step in await client.steps(task)] != [StepState.WAITING] * 2:
                    await asyncio.sleep(0.1)
            assert server.bill == []
            await client.answer(task, "think-0", {"add_microusd": add_microusd})
            done = await ended(client, task)
            assert done.state is end
            assert (done.usage.input_tokens, done.usage.output_tokens) == bill_of(server)
            assert len(server.bill) == (2 if add_microusd else 0)
            report = await client.usage(task)
            assert report.total == done.usage


async def test_given_a_tenant_with_a_budget_then_its_tasks_together_never_cross_it(start) -> None:
    async with ModelServer(api_key=KEY) as server:
        suite = start(environment=environment_of(server), workers=2)
        async with Client(suite.address) as client:
            await client.set_tenant_budget(max_total_microusd=100)
            tasks = [await client.submit(plan=thinking(4)) for _ in range(6)]
            done = [await ended(client, task) for task in tasks]
            budget = await client.tenant_budget()
            assert {task.failure.reason for task in done if task.failure} == {"BUDGET_EXHAUSTED"}
            assert {task.state for task in done} <= {TaskState.SUCCEEDED, TaskState.FAILED}
            assert (budget.reserved_microusd, budget.spent_total_microusd) == (
                0,
                sum((task.usage for task in done), Usage()).cost_microusd,
            )
            assert 0 < budget.spent_total_microusd <= 100
