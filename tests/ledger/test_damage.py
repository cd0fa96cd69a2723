"""Damaged records: whatever is found in the store, it harms the step it belongs to, once, and nothing else."""

from __future__ import annotations

import pytest
import redis.asyncio
from ledger_hand import Hand, pass_time, succeeded
from ledger_plans import accept, chain, graph, side_by_side

from waybill.core.plan import FailurePolicy, Question
from waybill.core.task import EventType, StepState, TaskState
from waybill.ledger import keys
from waybill.ledger.ledger import Ledger
from waybill.ledger.steering import PauseKind

GARBAGE = b"\xc1"
GOES_ON = FailurePolicy.CONTINUE


async def damage(store: redis.asyncio.Redis, task_id: str, *fields: str) -> None:
    await store.hset(keys.key("0", "task", task_id), mapping=dict.fromkeys(fields, GARBAGE))


async def ends(ledger: Ledger, task_id: str) -> int:
    """How often a task has ended."""
    events = await ledger.events(task_id, 1, 1_000)
    return sum(event.type is EventType.TASK_FINISHED for event in events)


@pytest.mark.parametrize("on_failure", [FailurePolicy.STOP, FailurePolicy.CONTINUE])
@pytest.mark.parametrize("field", ["spec:2", "run:2"])
async def test_given_a_damaged_step_in_a_chain_when_it_is_reached_then_its_task_fails_once(
    ledger: Ledger, hand: Hand, store: redis.asyncio.Redis, field: str, on_failure: FailurePolicy
) -> None:
    task_id = await accept(ledger, graph(chain(3), on_failure=on_failure))
    (first,) = await hand.take()
    await damage(store, task_id, field)
    assert (await hand.exchange(succeeded(first))).grants == ()
    task = await ledger.task(task_id)
    assert (task.state, task.failure and task.failure.reason) == (TaskState.FAILED, "UNDECODABLE")
    assert await ends(ledger, task_id) == 1
    states = [step.state for step in await ledger.steps(task_id, 1, 3)]
    last = StepState.SKIPPED if on_failure is GOES_ON else StepState.CANCELLED
    assert states == [StepState.SUCCEEDED, StepState.FAILED, last]


@pytest.mark.parametrize("field", ["spec:1", "run:1"])
async def test_given_a_retry_then_what_is_still_damaged_fails_again_and_the_partition_ticks_on(
    ledger: Ledger, hand: Hand, store: redis.asyncio.Redis, field: str
) -> None:
    task_id = await accept(ledger, graph(chain(1)))
    await damage(store, task_id, field)
    assert await hand.run_all() == []
    await ledger.retry(task_id)
    await hand.run_all()
    expected = TaskState.FAILED if field == "spec:1" else TaskState.SUCCEEDED
    assert (await ledger.task(task_id)).state is expected
    await pass_time(ledger, 3_000, hand)
    other = await accept(ledger, graph(chain(2)))
    await hand.restart()
    assert len(await hand.run_all()) == 2
    assert (await ledger.task(other)).state is TaskState.SUCCEEDED


async def test_given_a_damaged_question_when_answered_then_what_follows_runs(
    ledger: Ledger, hand: Hand, store: redis.asyncio.Redis
) -> None:
    task_id = await accept(ledger, graph({"ask": [], "act": ["ask"]}, questions={"ask": Question("go?")}))
    await damage(store, task_id, "spec:1")
    await ledger.answer(task_id, 1, b"1")
    assert [grant.step for grant in await hand.run_all()] == ["act"]
    assert (await ledger.task(task_id)).state is TaskState.SUCCEEDED


async def test_given_a_damaged_question_that_is_over_then_its_task_fails(
    ledger: Ledger, hand: Hand, store: redis.asyncio.Redis
) -> None:
    asked = {"ask": Question("go?", timeout_ms=500)}
    task_id = await accept(ledger, graph({"ask": [], "act": ["ask"]}, questions=asked))
    await damage(store, task_id, "spec:1")
    await pass_time(ledger, 2_000, hand)
    assert (await ledger.task(task_id)).state is TaskState.FAILED


async def test_given_damage_in_the_tick_that_reclaims_a_worker_then_its_steps_run_again(
    ledger: Ledger, store: redis.asyncio.Redis
) -> None:
    lost = await Hand(ledger, "lost").register()
    held = await accept(ledger, graph(chain(1)))
    assert len(await lost.take()) == 1
    damaged = await accept(ledger, graph(side_by_side(2)))
    await damage(store, damaged, "spec:1")
    await ledger.cancel(damaged)
    await store.xadd(keys.key("0", "queue", "echo", "normal"), {"steps": ":::"})
    await pass_time(ledger, 5_000)
    healthy = await Hand(ledger, "healthy").register()
    assert [grant.ref.task for grant in await healthy.run_all()] == [held]


async def test_given_a_damaged_record_of_a_step_that_succeeded_then_a_cancelled_task_ends_once(
    ledger: Ledger, hand: Hand, store: redis.asyncio.Redis
) -> None:
    task_id = await accept(ledger, graph(chain(2)))
    (first,) = await hand.take()
    (second,) = (await hand.exchange(succeeded(first))).grants
    await damage(store, task_id, "run:1")
    await ledger.cancel(task_id)
    assert (await ledger.task(task_id)).state is TaskState.CANCELLING
    await hand.exchange(succeeded(second))
    assert (await ledger.task(task_id)).state is TaskState.CANCELLED
    assert await ends(ledger, task_id) == 1


async def test_given_a_damaged_step_with_patience_then_its_timer_goes_with_it(
    ledger: Ledger, hand: Hand, store: redis.asyncio.Redis
) -> None:
    task_id = await accept(ledger, graph({"a": []}, queue_timeout_ms=60_000))
    await damage(store, task_id, "spec:1")
    await hand.run_all()
    assert (await ledger.task(task_id)).state is TaskState.FAILED
    assert not await store.exists(keys.key("0", "timers"))


async def test_given_an_effect_of_a_damaged_step_then_no_letter_outlives_its_task(
    ledger: Ledger, hand: Hand, store: redis.asyncio.Redis
) -> None:
    await ledger.set_policy({"retention_ms": 1_000})
    task_id = await accept(ledger, graph(chain(1)))
    (grant,) = await hand.take()
    await damage(store, task_id, "run:1")
    assert await ledger.begin_effect(hand.id, grant.ref, "pay", "n") is None
    await ledger.cancel(task_id)
    await pass_time(ledger, 5_000, hand)
    assert await ledger.dead_letters("acme", 10) == ([], None)


async def test_given_cancelled_tasks_of_a_paused_tenant_then_their_steps_do_not_wait_on(
    ledger: Ledger, hand: Hand, store: redis.asyncio.Redis
) -> None:
    await ledger.set_paused(PauseKind.TENANT, "acme", True)
    for _ in range(3):
        await ledger.cancel(await accept(ledger, graph(side_by_side(2))))
    await pass_time(ledger, 2_000, hand)
    assert not await store.exists(keys.key("0", "waiting", "echo", "normal", "acme"))
    await ledger.set_paused(PauseKind.TENANT, "acme", False)


async def test_given_many_deadlines_at_once_then_one_tick_does_not_do_them_all(ledger: Ledger) -> None:
    tasks = [await accept(ledger, graph(side_by_side(1_000)), deadline_ms=1_000) for _ in range(5)]
    ledger.clock_ms += 1_000
    await ledger.tick()
    first = [task.state for task in await ledger.tasks(tasks) if task is not None]
    assert 1 <= first.count(TaskState.FAILED) < len(tasks)
    await pass_time(ledger, 3_000)
    assert {task.state for task in await ledger.tasks(tasks) if task is not None} == {TaskState.FAILED}
