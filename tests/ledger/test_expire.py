"""`expire`: ended tasks go when their time has come, whole, and no others do."""

import pytest
import redis.asyncio
from ledger_hand import Hand
from ledger_plans import accept, chain, graph

from waybill.core.task import Document
from waybill.errors import NotFound
from waybill.ledger.ledger import Ledger


async def test_given_an_ended_task_then_it_stays_for_its_retention(ledger: Ledger, hand: Hand) -> None:
    await ledger.set_policy({"retention_ms": 5_000})
    task_id = await accept(ledger, graph(chain(1)))
    await hand.run_all()
    ledger.clock_ms += 4_999
    assert await ledger.expire(10) == 0
    assert (await ledger.task(task_id)).id == task_id
    ledger.clock_ms += 1
    assert await ledger.expire(10) == 1
    with pytest.raises(NotFound):
        await ledger.task(task_id)
    assert await ledger.list_tasks("acme", 10) == ([], None)


async def test_given_an_expired_task_then_every_key_of_it_is_gone(
    ledger: Ledger, hand: Hand, store: redis.asyncio.Redis
) -> None:
    document = Document("d", "text/plain", b"x")
    task_id = await accept(ledger, graph(chain(2)), documents=(document,), request_id="mine")
    await hand.run_all()
    assert len([key async for key in store.scan_iter(f"*{task_id}*")]) == 3
    ledger.clock_ms += 365 * 86_400_000
    await ledger.expire(10)
    left = [key.decode() async for key in store.scan_iter("*")]
    assert not [key for key in left if task_id in key or "mine" in key or "index" in key or "expiry" in key]


async def test_given_an_expired_task_then_its_request_id_is_free_again(ledger: Ledger) -> None:
    first = await accept(ledger, goal="g", request_id="r")
    await ledger.cancel(first)
    ledger.clock_ms += 365 * 86_400_000
    await ledger.expire(1)
    assert await accept(ledger, goal="g", request_id="r", fingerprint="other") != first


async def test_given_more_than_the_limit_then_the_oldest_go_first(ledger: Ledger) -> None:
    ended = []
    for _ in range(5):
        ended.append(await accept(ledger, goal="g"))
        await ledger.cancel(ended[-1])
        ledger.clock_ms += 1
    ledger.clock_ms += 365 * 86_400_000
    assert await ledger.expire(2) == 2
    assert [record is None for record in await ledger.tasks(ended)] == [True, True, False, False, False]
    assert [await ledger.expire(2) for _ in range(3)] == [2, 1, 0]


async def test_given_tasks_that_have_not_ended_then_no_time_expires_them(ledger: Ledger, hand: Hand) -> None:
    planning, running = await accept(ledger, goal="g"), await accept(ledger, graph(chain(2)))
    await hand.take()
    await ledger.cancel(running)
    ledger.clock_ms += 365 * 86_400_000
    assert await ledger.expire(10) == 0
    assert None not in await ledger.tasks([planning, running])


async def test_given_expired_tasks_then_ticks_remove_them_too(ledger: Ledger) -> None:
    task_id = await accept(ledger, goal="g")
    await ledger.cancel(task_id)
    ledger.clock_ms += 365 * 86_400_000
    assert (await ledger.tick()).expired == 1
    assert await ledger.tasks([task_id]) == [None]
