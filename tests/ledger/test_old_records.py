"""Tasks that the release before this one wrote: each value a field of its own. They are read, and run to their end."""

from __future__ import annotations

import msgspec
import pytest
import redis.asyncio
from ledger_fold import check_history
from ledger_hand import Hand, succeeded
from ledger_plans import DIAMOND, accept, graph, new_task

from waybill.core.budget import Budget, BudgetAction
from waybill.core.task import StepState, TaskState
from waybill.ledger import keys
from waybill.ledger.ledger import Ledger
from waybill.ledger.stored import OLD_STEP_FIELDS, OLD_TASK_FIELDS, core_of, record_of


async def make_old(store: redis.asyncio.Redis, task_id: str) -> None:
    """Store the task as that release would have."""
    name = keys.key("0", "task", task_id)
    stored: dict[bytes, bytes] = await store.hgetall(name)
    core = core_of(stored.pop(b"core"))
    old = {field.encode(): str(core[field]).encode() for field in OLD_TASK_FIELDS if core[field]}
    old |= {field: b"0" for field in (b"open", b"running", b"wait", b"run") if field not in old}
    steps = core["steps"]
    if steps:
        old.setdefault(b"planned", old[b"created"])
    if steps:
        old[b"sinks"] = b"[%d]" % steps
    for number in range(1, steps + 1):
        record = record_of(stored[b"run:%d" % number])
        old[b"run:%d" % number] = msgspec.msgpack.encode([record[field] for field in OLD_STEP_FIELDS[:-1]])
    await store.delete(name)
    await store.hset(name, mapping={**stored, **old})


@pytest.mark.parametrize("settled", range(5))
async def test_given_a_task_of_an_older_release_then_it_runs_on_from_where_it_was(
    ledger: Ledger, hand: Hand, store: redis.asyncio.Redis, settled: int
) -> None:
    task_id = await accept(ledger, graph(DIAMOND), labels={"team": "red"}, traceparent="t", goal="go")
    held = await hand.take()
    for _ in range(settled):
        exchange = await hand.exchange(succeeded(held.pop(0)))
        held += exchange.grants
    before, steps = await ledger.task(task_id), await ledger.steps(task_id, 1, 4)
    await make_old(store, task_id)
    assert await ledger.task(task_id) == before
    assert await ledger.tasks([task_id, "0-none"]) == [before, None]
    assert await ledger.steps(task_id, 1, 4) == steps
    while held:
        held += (await hand.exchange(succeeded(held.pop(0)))).grants
    task, after = await check_history(ledger, task_id)
    assert (task.state, task.sinks, task.ended_step_count) == (TaskState.SUCCEEDED, (4,), 4)
    assert {step.state for step in after.values()} == {StepState.SUCCEEDED}
    (ended,) = await ledger.ends_of(task.tenant, [task_id])
    assert (ended.has_succeeded, ended.output, ended.labels) == (True, b"1", b'{"team":"red"}')


async def test_given_a_goal_of_an_older_release_then_it_is_planned_with_its_budget(
    ledger: Ledger, hand: Hand, store: redis.asyncio.Redis
) -> None:
    budget = Budget(1_000, BudgetAction.ASK)
    new = new_task(goal="find out", budget=budget)
    await ledger.submit([new])
    await make_old(store, new.id)
    (lease,) = await ledger.lease_planning(1_000, 10)
    assert (lease.task, lease.tenant, lease.goal) == (new.id, new.tenant, "find out")
    assert await ledger.attach_plan(new.id, 0, graph({"only": []}))
    assert len(await hand.run_all()) == 1
    task = await ledger.task(new.id)
    assert (task.state, task.budget) == (TaskState.SUCCEEDED, budget)


async def test_given_an_ended_task_of_an_older_release_then_it_is_retried_and_expires(
    ledger: Ledger, hand: Hand, store: redis.asyncio.Redis
) -> None:
    task_id = await accept(ledger, graph(DIAMOND))
    await ledger.cancel(task_id)
    await make_old(store, task_id)
    assert await ledger.retry(task_id) is TaskState.RUNNING
    assert len(await hand.run_all()) == 4
    await make_old(store, task_id)
    ledger.clock_ms += 700_000_000
    assert await ledger.expire(10) == 1
    assert not await store.keys("*" + task_id + "*")
    assert await ledger.list_tasks("acme", 10) == ([], None)
