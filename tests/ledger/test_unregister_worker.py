"""`unregister_worker`: a worker that says goodbye leaves nothing of itself in any queue."""

import redis.asyncio
from ledger_hand import Hand
from ledger_plans import accept, graph, side_by_side

from waybill.core.task import Priority, TaskState
from waybill.ledger import keys
from waybill.ledger.ledger import Ledger


async def test_given_a_worker_that_served_when_it_leaves_then_no_consumer_of_it_is_left(
    ledger: Ledger, hand: Hand, store: redis.asyncio.Redis
) -> None:
    await accept(ledger, graph(side_by_side(3)))
    await hand.wait()
    await hand.run_all()
    await ledger.unregister(hand.id)
    for priority in Priority:
        assert await store.xinfo_consumers(keys.key("0", "queue", "echo", priority), keys.GROUP) == []


async def test_given_more_unclaimed_entries_than_fit_one_look_when_it_leaves_then_all_are_queued_again(
    ledger: Ledger, hand: Hand, store: redis.asyncio.Redis
) -> None:
    task_id = await accept(ledger, graph(side_by_side(1_500)))
    # An earlier release laid all that waits into the queue.
    for member in await store.lpop(keys.key("0", "waiting", "echo", "normal", "acme"), 1_500):
        await store.xadd(keys.key("0", "queue", "echo", "normal"), {"steps": member})
    for _ in range(1_500):
        assert await hand.wait()
    await ledger.unregister(hand.id)
    other = await Hand(ledger, "other", slots=2_000).register()
    assert len(await other.run_all()) == 1_500
    assert (await ledger.task(task_id)).state is TaskState.SUCCEEDED


async def test_given_a_worker_that_left_when_it_says_goodbye_again_then_nothing_happens(
    ledger: Ledger, hand: Hand
) -> None:
    await accept(ledger, graph(side_by_side(2)))
    await hand.take()
    assert await ledger.unregister(hand.id) == 2
    assert await ledger.unregister(hand.id) == 0
