"""The client's calls about money and limits: what they send, and what comes back as values."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

import pytest
from client_gateway import Gateway, connected

from waybill import Budget, BudgetAction, TaskPolicy
from waybill.api.v1 import task_pb2
from waybill.core.task import CallState, Usage
from waybill.errors import InvalidArgument
from waybill.resources import Submission, Task


async def test_usage_is_asked_of_a_task_or_of_days() -> None:
    gateway = Gateway()
    async with connected(gateway) as client:
        of_task = await client.usage("t1")
        await client.usage(from_day=date(2026, 11, 1), until_day="2026-11-24")
    assert (of_task.total, of_task.rows[0].agent, of_task.rows[0].calls) == (Usage(9, 0, 70), "llm", 2)
    assert [(asked.task, asked.from_day, asked.until_day) for asked in gateway.seen] == [
        ("tasks/t1", "", ""),
        ("", "2026-11-01", "2026-11-24"),
    ]


async def test_model_calls_come_page_by_page_with_texts_as_values() -> None:
    gateway = Gateway()
    async with connected(gateway) as client:
        calls = [call async for call in client.model_calls("t1", "a")]
        assert [call async for call in client.model_calls("t1")]
    assert [(call.call, call.state) for call in calls] == [(0, CallState.SETTLED), (1, CallState.SETTLED)]
    assert (calls[0].prompt, calls[0].response) == ({"messages": []}, "cut [cut]")
    assert calls[0].start_time == datetime(1970, 1, 1, 0, 0, 1, 500_000, tzinfo=UTC)
    assert [asked.parent for asked in gateway.seen] == ["tasks/t1/steps/a"] * 2 + ["tasks/t1"] * 2


async def test_budgets_and_limits_are_set_and_come_back_as_values() -> None:
    gateway = Gateway()
    async with connected(gateway) as client:
        assert (await client.tenant_budget()).max_day_microusd == 5
        budget = await client.set_tenant_budget(max_total_microusd=7)
        (limit,) = await client.limits()
        again = await client.set_limit(limit, max_concurrency=3)
        await client.set_limit("key:crm", requests_per_minute=1, request_id="mine")
        with pytest.raises(InvalidArgument, match="limit"):
            await client.set_limit("key:crm", max_concurrency="many")  # type: ignore[arg-type]
    assert (budget.max_total_microusd, budget.max_day_microusd) == (7, 0)
    assert (limit.id, limit.blocked_until, limit.learned_concurrency) == ("agent:echo", None, 1)
    assert (again.name, again.max_concurrency) == ("limits/agent:echo", 3)
    assert gateway.seen[-1].limit.name == "limits/key:crm"
    assert gateway.seen[-1].request_id == "mine"


@pytest.mark.parametrize(
    ("budget", "policy"),
    [
        (Budget(5, BudgetAction.ASK), TaskPolicy(allowed_agents=("llm",), max_revisions=0)),
        ({"max_cost_microusd": 5, "on_limit": "ask"}, {"allowed_agents": ["llm"], "max_revisions": 0}),
    ],
)
def test_a_submission_takes_budget_and_policy_as_values_or_as_json(budget: Any, policy: Any) -> None:
    spec = Submission(goal="x", budget=budget, policy=policy).spec()
    assert (spec.budget.max_cost_microusd, spec.budget.on_limit) == (5, task_pb2.BUDGET_ACTION_ASK)
    assert (list(spec.policy.allowed_agents), spec.policy.max_revisions) == (["llm"], 0)
    told = Task.of(task_pb2.Task(state=1, budget=spec.budget, policy=spec.policy))
    assert told.budget == Budget(5, BudgetAction.ASK)
    assert told.policy == TaskPolicy(allowed_agents=("llm",), max_revisions=0)


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"budget": Budget(0)}, "budget.max_cost_microusd"),
        ({"budget": {"max_cost_microusd": 1, "on_limit": "pray"}}, "budget.on_limit"),
        ({"policy": {"allowed": []}}, "policy.allowed"),
    ],
)
def test_a_budget_or_policy_that_is_none_is_refused_by_its_field(given: Any, field: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        Submission(goal="x", **given).spec()
    assert [violation.field for violation in caught.value.violations] == [field]
