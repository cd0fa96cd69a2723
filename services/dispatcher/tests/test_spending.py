"""Spending as callers see it: usage, calls, budgets and limits, of tasks in the store and in the archive."""

from __future__ import annotations

import asyncio
from pathlib import Path

import grpc
import pytest
from waybill_dispatcher.archive import Archive

from waybill.api.v1 import task_pb2
from waybill.core.budget import BudgetAction, TaskPolicy
from waybill.core.task import Usage
from waybill.errors import NotFound
from waybill.ledger.call_records import CallOpening, CallVerdict
from waybill.ledger.records import Outcome, Settlement, TaskRecord

WORST = Usage(1_000, 500, 900, estimated_microusd=900)
USED = Usage(100, 50, 40, 20, 10, 0)
TWO = task_pb2.Plan(
    steps=[task_pb2.PlanStep(name="a", agent="echo"), task_pb2.PlanStep(name="b", agent="echo", after=["a"])]
)


async def call_models(suite, count: int, prompt: bytes = b'{"messages":[]}') -> Settlement:
    """Claims what is ready, makes this many model calls in it; how it ends."""
    suite.seq += 1
    exchange = await suite.ledger.exchange("hand.1", suite.seq, suite.seq - 1, [], [], ["echo"], 1)
    (grant,) = exchange.grants
    for number in range(1, count + 1):
        opening = CallOpening(number, f"n{number}", "gpt-x", "default", WORST, prompt=prompt)
        assert (await suite.ledger.begin_call("hand.1", grant.ref, opening)).verdict is CallVerdict.GO
        assert await suite.ledger.end_call(grant.ref, number, USED, response=b"cut off")
    return Settlement(grant.ref, Outcome.SUCCEEDED, b"1", usage=Usage(1, 1, 1), run_ms=1)


async def settle(suite, settlement: Settlement) -> None:
    suite.seq += 1
    await suite.ledger.exchange("hand.1", suite.seq, suite.seq - 1, [settlement], [], [], 0)


async def kept(archive: Archive, name: str) -> TaskRecord | None:
    """A task as the archive has it, if it does."""
    try:
        return await archive.task(name.removeprefix("tasks/"))
    except NotFound:
        return None


async def all_calls(suite, parent: str, page_size: int) -> list[task_pb2.ModelCall]:
    found, token = [], ""
    while True:
        page = await suite.call("ReadModelCalls", parent=parent, page_size=page_size, page_token=token)
        assert len(page.calls) <= page_size
        found += page.calls
        token = page.next_page_token
        if not token:
            return found


async def test_a_task_tells_its_usage_by_step_and_its_calls_page_by_page(suite) -> None:
    await suite.announce("echo")
    task = (await suite.submit(plan=TWO)).task
    for calls in (3, 2):
        await settle(suite, await call_models(suite, calls))
    usage = await suite.call("ReadUsage", task=task.name)
    rows = [(row.step, row.agent, row.model, row.usage.cost_microusd, row.calls) for row in usage.rows]
    reported = ("echo", "", 1, 0)
    assert rows == [("a", *reported), ("a", "echo", "gpt-x", 120, 3), ("b", *reported), ("b", "echo", "gpt-x", 80, 2)]
    assert usage.total == (await suite.task(task.name)).usage
    for page_size in (1, 2, 5):
        calls = await all_calls(suite, task.name, page_size)
        assert [(call.step.rpartition("/")[2], call.call) for call in calls] == [
            *(("a", number) for number in (1, 2, 3)),
            *(("b", number) for number in (1, 2)),
        ]
    assert not any(call.HasField("prompt") for call in calls)
    with_texts = await all_calls(suite, f"{task.name}/steps/b", 1)
    assert [(call.prompt.data, call.prompt.media_type) for call in with_texts] == [
        (b'{"messages":[]}', "application/json")
    ] * 2
    assert [call.response.media_type for call in with_texts] == ["text/plain"] * 2


async def test_pages_of_long_texts_fit_into_a_message(suite) -> None:
    await suite.announce("echo")
    task = (await suite.submit(plan=TWO)).task
    await call_models(suite, 60, prompt=b'"' + b"x" * 250_000 + b'"')
    page = await suite.call("ReadModelCalls", parent=f"{task.name}/steps/a", page_size=1_000)
    assert 1 <= len(page.calls) < 60
    assert len(await all_calls(suite, f"{task.name}/steps/a", 1_000)) == 60


async def test_the_usage_of_a_tenant_comes_by_day(suite) -> None:
    await suite.announce("echo")
    await suite.submit(plan=TWO)
    await settle(suite, await call_models(suite, 2))
    usage = await suite.call("ReadUsage")
    assert {row.model: row.usage.cost_microusd for row in usage.rows} == {"gpt-x": 80, "": 1}
    assert usage.total.cost_microusd == 81
    assert (await suite.call("ReadUsage", tenant="other")).total == task_pb2.Usage()


@pytest.mark.parametrize(
    "fields",
    [
        {"from_day": "never"},
        {"from_day": "2026-02-30"},
        {"from_day": "2026-01-02", "until_day": "2026-01-01"},
        {"from_day": "2020-01-01", "until_day": "2022-01-01"},
        {"task": "tasks/0-1", "until_day": "2026-01-01"},
        {"task": "t1"},
    ],
)
async def test_bad_days_and_names_are_refused(suite, fields) -> None:
    assert (await suite.refused("ReadUsage", **fields))[0] is grpc.StatusCode.INVALID_ARGUMENT


async def test_another_tenants_task_has_no_usage_and_no_calls(suite) -> None:
    await suite.announce("echo")
    task = (await suite.submit(plan=TWO)).task
    for rpc, field in (("ReadUsage", "task"), ("ReadModelCalls", "parent")):
        assert (await suite.refused(rpc, tenant="other", **{field: task.name}))[0] is grpc.StatusCode.NOT_FOUND
    assert (await suite.refused("ReadModelCalls", parent=f"{task.name}/steps/z"))[0] is grpc.StatusCode.NOT_FOUND


async def test_budgets_and_limits_are_what_was_set_however_often(suite) -> None:
    wanted = task_pb2.TenantBudget(max_total_microusd=5_000, max_day_microusd=2_000)
    for _ in range(2):
        kept = (await suite.call("WriteTenantBudget", budget=wanted, request_id="b")).budget
        assert (kept.max_total_microusd, kept.max_day_microusd) == (5_000, 2_000)
    assert (await suite.call("ReadTenantBudget")).budget == kept
    other = task_pb2.TenantBudget(max_day_microusd=1)
    refusal = await suite.refused("WriteTenantBudget", budget=other, request_id="b")
    assert refusal[0] is grpc.StatusCode.ALREADY_EXISTS
    limit = task_pb2.Limit(name="limits/model:default", max_concurrency=2, tokens_per_minute=9)
    assert (await suite.call("WriteLimit", limit=limit, request_id="l")).limit == limit
    assert list((await suite.call("ReadLimits")).limits) == [limit]
    nothing = task_pb2.Limit(name="limits/model:default")
    assert (await suite.call("WriteLimit", limit=nothing, request_id="m")).limit == nothing
    assert list((await suite.call("ReadLimits")).limits) == []


async def test_a_task_keeps_its_budget_and_policy_and_shows_what_is_reserved(suite) -> None:
    await suite.announce("echo")
    given = task_pb2.Budget(max_cost_microusd=9_000, on_limit=task_pb2.BUDGET_ACTION_ASK)
    may = task_pb2.TaskPolicy(allowed_agents=["echo"], allowed_hosts=["*.example.org"], max_revisions=0)
    accepted = (await suite.submit(plan=TWO, budget=given, policy=may)).task
    shown = await suite.task(accepted.name)
    assert shown.budget == accepted.budget == given
    assert shown.policy == accepted.policy
    assert (shown.policy.max_revisions, shown.policy.max_added_steps) == (0, TaskPolicy().max_added_steps)
    suite.seq += 1
    (grant,) = (await suite.ledger.exchange("hand.1", suite.seq, suite.seq - 1, [], [], ["echo"], 1)).grants
    await suite.ledger.begin_call("hand.1", grant.ref, CallOpening(1, "n", "gpt-x", "default", WORST))
    assert (await suite.task(accepted.name)).reserved_microusd == 900
    (listed,) = (await suite.call("ReadTasks")).tasks
    assert (listed.budget, listed.HasField("policy")) == (given, False)


async def test_a_plan_with_agents_that_its_policy_does_not_allow_is_refused_with_each_field(suite) -> None:
    await suite.announce("echo", "writer")
    plan = task_pb2.Plan(steps=[task_pb2.PlanStep(name=name, agent=name) for name in ("echo", "writer", "nobody")])
    refusal = (await suite.submit(plan=plan, policy=task_pb2.TaskPolicy(allowed_agents=["echo"]))).refusal
    assert refusal.reason == "PLAN_INVALID"
    assert [item.field for item in refusal.violations] == ["plan.steps[1].agent", "plan.steps[2].agent"]
    wrong = (await suite.submit(goal="x", request_id="r2", budget=task_pb2.Budget())).refusal
    assert [item.field for item in wrong.violations] == ["budget.max_cost_microusd"]


async def test_a_goal_is_not_planned_with_agents_that_the_policy_does_not_allow(suite) -> None:
    await suite.announce("echo", "writer")
    task = (await suite.submit(goal="Why?", policy=task_pb2.TaskPolicy(allowed_agents=["writer"]))).task
    ended = await suite.until(task.name, lambda seen: seen.state == task_pb2.TASK_STATE_FAILED)
    assert "does not allow agent echo" in ended.failure.message


async def test_usage_and_calls_of_an_archived_task_are_those_of_the_stored_one(start_suite, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'archive.db'}"
    suite = await start_suite(archive_url=url)
    await suite.announce("echo")
    given = task_pb2.Budget(max_cost_microusd=9_000, on_limit=task_pb2.BUDGET_ACTION_CHEAPER_MODEL)
    task = (await suite.submit(plan=TWO, budget=given, policy=task_pb2.TaskPolicy(max_revisions=1))).task
    for _ in range(2):
        await settle(suite, await call_models(suite, 2))
    stored = await suite.task(task.name)
    reads = [("ReadUsage", {"task": task.name}), ("ReadModelCalls", {"parent": f"{task.name}/steps/b"})]
    before = [await suite.call(rpc, **fields) for rpc, fields in reads]
    archive = Archive(url)
    async with asyncio.timeout(30):
        while (record := await kept(archive, task.name)) is None:
            await asyncio.sleep(0.05)
    archive.close()
    assert record.budget is not None
    assert record.budget.on_limit is BudgetAction.CHEAPER_MODEL
    await suite.store.flushall()
    after = [await suite.call(rpc, **fields) for rpc, fields in reads]
    assert after == before
    shown = await suite.task(task.name)
    assert (shown.archived, shown.budget, shown.policy, shown.usage) == (True, given, stored.policy, stored.usage)
