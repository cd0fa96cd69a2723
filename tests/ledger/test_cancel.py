"""`cancel`: what does not run ends at once, what runs is told to stop, and the first result that arrives counts."""

import asyncio

import pytest
import redis.asyncio
from ledger_fold import check_history
from ledger_hand import Hand, cancelled, failed, pass_time, succeeded
from ledger_plans import accept, chain, graph, side_by_side

from waybill.core.task import EventType, StepState, TaskState, Usage
from waybill.errors import FailedPrecondition, NotFound
from waybill.ledger import keys
from waybill.ledger.ledger import Ledger
from waybill.ledger.records import StepRef


async def told(ledger: Ledger, worker: str, count: int) -> list[StepRef]:
    """The next attempts that a worker is told to stop."""
    heard: list[StepRef] = []
    async for ref in ledger.listen_control(worker):
        heard.append(ref)
        if len(heard) == count:
            break
    return heard


async def listening(store: redis.asyncio.Redis, worker: str) -> None:
    """Return once somebody hears what this worker is told."""
    channel = keys.key("0", "control", worker)
    async with asyncio.timeout(10):
        while dict(await store.pubsub_numsub(channel))[channel.encode()] == 0:
            await asyncio.sleep(0.01)


async def test_given_an_unknown_task_when_cancelled_then_not_found(ledger: Ledger) -> None:
    with pytest.raises(NotFound):
        await ledger.cancel("0-nothing")


async def test_given_a_task_that_is_planned_when_cancelled_then_it_ends_and_takes_no_plan(ledger: Ledger) -> None:
    task_id = await accept(ledger, goal="g")
    (lease,) = await ledger.lease_planning(1_000, 1)
    assert await ledger.cancel(task_id) is TaskState.CANCELLED
    assert not await ledger.attach_plan(lease.task, 0, graph(chain(1)))
    assert not await ledger.postpone_planning(task_id, 10, "later")
    ledger.clock_ms += 1_000
    assert await ledger.lease_planning(1_000, 1) == []
    assert (await check_history(ledger, task_id))[0].state is TaskState.CANCELLED


async def test_given_nothing_running_when_cancelled_then_every_step_ends_at_once(ledger: Ledger, hand: Hand) -> None:
    task_id = await accept(ledger, graph(side_by_side(2) | {"later": ["p0"]}))
    (grant,) = await hand.take(1)
    await hand.exchange(failed(grant), free=0)
    assert await ledger.cancel(task_id) is TaskState.CANCELLED
    task, steps = await check_history(ledger, task_id)
    assert {step.state for step in steps.values()} == {StepState.CANCELLED}
    assert task.failure is None
    assert await hand.take() == []


async def test_given_a_step_in_backoff_when_cancelled_then_its_timer_is_gone(
    ledger: Ledger, hand: Hand, store: redis.asyncio.Redis
) -> None:
    task_id = await accept(ledger, graph(chain(1)))
    await hand.exchange(failed((await hand.take())[0]))
    await ledger.cancel(task_id)
    assert await store.exists(keys.key("0", "timers")) == 0
    assert (await check_history(ledger, task_id))[0].state is TaskState.CANCELLED


async def test_given_running_steps_when_cancelled_then_each_worker_is_told_its_own(
    ledger: Ledger, hand: Hand, store: redis.asyncio.Redis
) -> None:
    other = await Hand(ledger, "other").register()
    task_id = await accept(ledger, graph(side_by_side(3)))
    mine, theirs = await hand.take(2), await other.take(1)
    hears = [asyncio.create_task(told(ledger, hand.id, 2)), asyncio.create_task(told(ledger, other.id, 1))]
    await asyncio.gather(listening(store, hand.id), listening(store, other.id))
    assert await ledger.cancel(task_id) is TaskState.CANCELLING
    async with asyncio.timeout(10):
        heard = await asyncio.gather(*hears)
    assert heard == [[grant.ref for grant in mine], [grant.ref for grant in theirs]]
    assert set((await hand.renew()).cancel) == {grant.ref for grant in mine}
    await hand.exchange(*map(cancelled, mine))
    await other.exchange(*map(cancelled, theirs))
    assert (await check_history(ledger, task_id))[0].state is TaskState.CANCELLED


async def test_given_a_late_step_when_it_is_fenced_then_its_worker_is_told(
    ledger: Ledger, hand: Hand, store: redis.asyncio.Redis
) -> None:
    await accept(ledger, graph(chain(1), run_timeout_ms=1_000))
    (grant,) = await hand.take()
    hears = asyncio.create_task(told(ledger, hand.id, 1))
    await listening(store, hand.id)
    await pass_time(ledger, 7_000, hand)
    async with asyncio.timeout(10):
        assert await hears == [grant.ref]


async def test_given_a_cancelling_task_when_steps_end_then_whatever_arrives_first_counts(
    ledger: Ledger, hand: Hand
) -> None:
    task_id = await accept(ledger, graph(side_by_side(3)))
    first, second, third = await hand.take()
    await ledger.cancel(task_id)
    spent = Usage(1, 2, 3)
    await hand.exchange(succeeded(first, b'"done"', usage=spent), cancelled(second, usage=spent))
    assert (await hand.exchange(cancelled(first), succeeded(second))).stale == (first.ref, second.ref)
    await hand.exchange(failed(third, usage=spent))
    task, steps = await check_history(ledger, task_id)
    assert [steps[name].state for name in ("p0", "p1", "p2")] == [
        StepState.SUCCEEDED,
        StepState.CANCELLED,
        StepState.CANCELLED,
    ]
    assert (task.state, task.usage) == (TaskState.CANCELLED, Usage(3, 6, 9))
    assert await ledger.outputs(task_id, [1, 2]) == [b'"done"', b""]


async def test_given_a_cancelled_task_when_cancelled_again_then_nothing_changes(ledger: Ledger, hand: Hand) -> None:
    task_id = await accept(ledger, graph(chain(2)))
    (grant,) = await hand.take()
    await ledger.cancel(task_id)
    before = await ledger.task(task_id)
    ledger.clock_ms += 10
    assert await ledger.cancel(task_id) is TaskState.CANCELLING
    assert await ledger.task(task_id) == before
    await hand.exchange(cancelled(grant))
    before = await ledger.task(task_id)
    assert await ledger.cancel(task_id) is TaskState.CANCELLED
    assert await ledger.task(task_id) == before


async def test_given_a_finished_task_when_cancelled_then_its_end_stays(ledger: Ledger, hand: Hand) -> None:
    task_id = await accept(ledger, graph(chain(1)))
    await hand.run_all()
    with pytest.raises(FailedPrecondition, match="it is succeeded"):
        await ledger.cancel(task_id)
    assert (await check_history(ledger, task_id))[0].state is TaskState.SUCCEEDED


async def test_given_a_failing_task_when_cancelled_then_it_still_ends_as_failed(ledger: Ledger, hand: Hand) -> None:
    task_id = await accept(ledger, graph(side_by_side(2)))
    first, second = await hand.take()
    await hand.exchange(failed(first, final=True))
    assert await ledger.cancel(task_id) is TaskState.CANCELLING
    await hand.exchange(cancelled(second))
    assert (await check_history(ledger, task_id))[0].state is TaskState.FAILED


async def test_given_a_final_failure_then_its_siblings_worker_is_told_to_stop(
    ledger: Ledger, hand: Hand, store: redis.asyncio.Redis
) -> None:
    other = await Hand(ledger, "other").register()
    task_id = await accept(ledger, graph(side_by_side(2)))
    (doomed,), (sibling,) = await hand.take(1), await other.take(1)
    hears = asyncio.create_task(told(ledger, other.id, 1))
    await listening(store, other.id)
    await hand.exchange(failed(doomed, final=True))
    async with asyncio.timeout(10):
        assert await hears == [sibling.ref]
    await other.exchange(cancelled(sibling))
    events = await ledger.events(task_id, 1, 100)
    assert [event.type for event in events][-3:] == [
        EventType.TASK_CANCELLING,
        EventType.STEP_FINISHED,
        EventType.TASK_FINISHED,
    ]
    assert (await check_history(ledger, task_id))[0].state is TaskState.FAILED
