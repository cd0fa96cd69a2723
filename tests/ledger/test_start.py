"""Tasks that begin later: by their timer, once, whatever happens to the store and to those who tick."""

import asyncio
from typing import Any

import pytest
import redis.asyncio
from ledger_fold import check_history
from ledger_hand import Hand
from ledger_plans import DIAMOND, accept, graph, new_task
from ledger_rest import check_rest
from store_servers import plain_url

from waybill.core.plan import Question
from waybill.core.task import EventType, StepState, TaskState
from waybill.errors import FailedPrecondition
from waybill.ledger import keys
from waybill.ledger.ledger import Ledger
from waybill.ledger.records import Accepted

HOUR_MS = 3_600_000


async def _later(ledger: Ledger, planned: Any = None, in_ms: int = HOUR_MS, **fields: Any) -> str:
    return await accept(ledger, planned, goal="g", start_ms=ledger.clock_ms + in_ms, **fields)


async def _types(ledger: Ledger, task_id: str) -> list[EventType]:
    return [event.type for event in await ledger.events(task_id, 1, 100)]


async def test_given_a_start_when_submitted_then_nothing_of_the_plan_is_ready(ledger: Ledger, hand: Hand) -> None:
    task_id = await _later(ledger, graph(DIAMOND))
    goal = await _later(ledger)
    ledger.clock_ms += HOUR_MS - 1
    await ledger.tick()
    assert await ledger.lease_planning(1_000, 10) == []
    assert await hand.take() == []
    for name in (task_id, goal):
        task, steps = await check_history(ledger, name)
        assert (task.state, task.step_count, task.revision, steps) == (TaskState.SCHEDULED, 0, 0, {})
        assert task.start_ms == ledger.clock_ms + 1


async def test_given_a_plan_when_its_start_has_come_then_it_runs_to_its_end(ledger: Ledger, hand: Hand) -> None:
    asked = await _later(ledger, graph({"a": [], "q": ["a"]}, questions={"q": Question("go?")}))
    task_id = await _later(ledger, graph(DIAMOND), deadline_ms=5_000)
    accepted = ledger.clock_ms
    ledger.clock_ms += HOUR_MS
    await hand.renew()
    await ledger.tick()
    assert (await _types(ledger, task_id))[1:4] == [
        *(EventType.TASK_STARTED, EventType.TASK_PLANNED, EventType.STEP_READY)
    ]
    task, _ = await check_history(ledger, task_id)
    assert (task.state, task.created_ms) == (TaskState.RUNNING, accepted)
    assert task.start_ms == task.planned_ms == ledger.clock_ms
    assert task.deadline_at_ms == ledger.clock_ms + 5_000
    ledger.clock_ms += 40
    await hand.run_all()
    task, _ = await check_history(ledger, task_id)
    assert task.state is TaskState.SUCCEEDED
    assert (await ledger.events(task_id, task.last_sequence, 1))[0].elapsed_ms == 40
    assert (await ledger.steps(asked, 2, 2))[0].state is StepState.WAITING


async def test_given_a_goal_when_its_start_has_come_then_it_is_planned(ledger: Ledger) -> None:
    task_id = await _later(ledger, deadline_ms=5_000)
    ledger.clock_ms += HOUR_MS
    await ledger.tick()
    (lease,) = await ledger.lease_planning(1_000, 10)
    assert await ledger.attach_plan(lease.task, 0, graph(DIAMOND), lease.round)
    assert (await check_history(ledger, task_id))[0].state is TaskState.RUNNING
    ledger.clock_ms += 5_000
    await ledger.tick()
    task, _ = await check_history(ledger, task_id)
    assert task.failure is not None
    assert task.failure.reason == "DEADLINE_EXCEEDED"


async def test_given_a_start_that_has_passed_when_submitted_then_it_begins_at_once(ledger: Ledger, hand: Hand) -> None:
    task_id = await _later(ledger, graph(DIAMOND), in_ms=0)
    task, _ = await check_history(ledger, task_id)
    assert (task.state, task.start_ms) == (TaskState.RUNNING, 0)
    assert len(await hand.run_all()) == 4


async def test_given_a_scheduled_task_when_submitted_again_then_it_is_the_same(ledger: Ledger) -> None:
    task = new_task(graph(DIAMOND), start_ms=ledger.clock_ms + HOUR_MS)
    assert await ledger.submit([task]) == [Accepted(task.id, ledger.clock_ms, 1)]
    assert await ledger.submit([task]) == [Accepted(task.id, repeated=True)]


@pytest.mark.parametrize("planned", [None, graph(DIAMOND)])
async def test_given_a_scheduled_task_when_steered_then_only_cancelling_is_allowed(
    ledger: Ledger, store: redis.asyncio.Redis, planned: Any
) -> None:
    task_id = await _later(ledger, planned)
    for verb in (ledger.pause, ledger.resume, ledger.retry):
        with pytest.raises(FailedPrecondition):
            await verb(task_id)
    assert await ledger.cancel(task_id) is TaskState.CANCELLED
    assert await ledger.cancel(task_id) is TaskState.CANCELLED
    assert not await store.exists(keys.key("0", "timers"))
    ledger.clock_ms += 2 * HOUR_MS
    await ledger.tick()
    assert await _types(ledger, task_id) == [EventType.TASK_ACCEPTED, EventType.TASK_FINISHED]
    await check_history(ledger, task_id)


async def test_given_a_cancelled_one_when_retried_then_it_runs_at_once(ledger: Ledger, hand: Hand) -> None:
    planned, goal = await _later(ledger, graph(DIAMOND), deadline_ms=9_000), await _later(ledger)
    for task_id in (planned, goal):
        await ledger.cancel(task_id)
    assert await ledger.retry(planned) is TaskState.RUNNING
    assert await ledger.retry(goal) is TaskState.PLANNING
    assert (await ledger.task(planned)).deadline_at_ms == ledger.clock_ms + 9_000
    assert len(await hand.run_all()) == 4
    task, _ = await check_history(ledger, planned)
    assert (task.state, task.start_ms) == (TaskState.SUCCEEDED, ledger.clock_ms)
    assert [lease.task for lease in await ledger.lease_planning(1_000, 10)] == [goal]
    ledger.clock_ms += HOUR_MS
    await ledger.tick()
    assert EventType.TASK_STARTED not in await _types(ledger, planned)


async def test_given_a_task_that_had_begun_when_retried_then_its_start_stays(ledger: Ledger) -> None:
    task_id = await _later(ledger)
    ledger.clock_ms += HOUR_MS
    await ledger.tick()
    began = ledger.clock_ms
    await ledger.cancel(task_id)
    ledger.clock_ms += 1_000
    assert await ledger.retry(task_id) is TaskState.PLANNING
    assert (await check_history(ledger, task_id))[0].start_ms == began


async def test_given_nobody_ticked_for_days_when_many_tick_at_once_then_each_task_begins_once(
    ledger: Ledger, store_url: str, hand: Hand
) -> None:
    tasks = [await _later(ledger, graph({"only": []}), in_ms=HOUR_MS + at) for at in range(20)]
    ledger.clock_ms += 72 * HOUR_MS
    others = [Ledger(store_url, clock_ms=ledger.clock_ms) for _ in range(3)]
    try:
        await asyncio.gather(*(one.tick() for one in (ledger, *others) for _ in range(5)))
        for one in (ledger, *others):
            one.clock_ms += 1_000
        await asyncio.gather(*(one.tick() for one in (ledger, *others)))
    finally:
        for one in others:
            await one.close()
    for task_id in tasks:
        assert (await _types(ledger, task_id)).count(EventType.TASK_STARTED) == 1
    assert sorted(grant.ref.task for grant in await hand.run_all()) == sorted(tasks)


async def test_given_more_steps_than_one_tick_begins_when_it_ticks_then_the_next_goes_on(ledger: Ledger) -> None:
    wide = graph({f"s{at}": [] for at in range(1_500)})
    tasks = [await _later(ledger, wide) for _ in range(4)]
    ledger.clock_ms += HOUR_MS
    begun = []
    for _ in range(2):
        await ledger.tick()
        begun.append(sum(task.state is TaskState.RUNNING for task in await ledger.tasks(tasks) if task))
        ledger.clock_ms += 1_000
    assert begun == [2, 4]
    for task_id in tasks:
        await check_history(ledger, task_id)


async def test_given_scheduled_tasks_when_all_have_ended_then_nothing_is_left_of_them(
    ledger: Ledger, store_url: str, hand: Hand
) -> None:
    tasks = [await _later(ledger, graph(DIAMOND)), await _later(ledger, graph(DIAMOND))]
    await ledger.cancel(tasks[0])
    ledger.clock_ms += HOUR_MS
    await hand.renew()
    await ledger.tick()
    await hand.run_all()
    client = redis.Redis.from_url(plain_url(store_url))
    await check_rest(ledger, client, tasks)
    client.close()
