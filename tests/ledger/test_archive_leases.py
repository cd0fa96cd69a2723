"""What the archive is offered, and that nothing expires before it is archived, under a cap."""

from __future__ import annotations

import pytest
from ledger_hand import Hand, failed, pass_time
from ledger_plans import accept, chain, graph

from waybill.core.task import TaskState
from waybill.errors import NotFound
from waybill.ledger.ledger import Ledger

POLICY = {"archive": 1, "retention_ms": 2_000, "archive_wait_ms": 60_000}


async def ended(ledger: Ledger, hand: Hand) -> str:
    task_id = await accept(ledger, graph(chain(1)))
    await hand.run_all()
    return task_id


async def test_given_an_ended_task_then_it_is_leased_until_it_is_marked(ledger: Ledger, hand: Hand) -> None:
    await ledger.set_policy(POLICY)
    task_id = await ended(ledger, hand)
    (lease,) = await ledger.lease_archive(1_000, 10)
    assert (lease.task, lease.ended_ms) == (task_id, ledger.clock_ms)
    assert await ledger.lease_archive(1_000, 10) == []
    await pass_time(ledger, 1_000, hand)
    assert await ledger.lease_archive(1_000, 10) == [lease]
    assert await ledger.mark_archived([lease]) == 1
    assert await ledger.mark_archived([lease]) == 0
    await pass_time(ledger, 1_500, hand)
    assert await ledger.lease_archive(1_000, 10) == []


async def test_given_a_task_that_is_not_archived_then_it_outlives_its_retention(ledger: Ledger, hand: Hand) -> None:
    await ledger.set_policy(POLICY)
    task_id = await ended(ledger, hand)
    (lease,) = await ledger.lease_archive(1_000, 10)
    await pass_time(ledger, 30_000, hand)
    assert (await ledger.task(task_id)).state is TaskState.SUCCEEDED
    await ledger.mark_archived([lease])
    await pass_time(ledger, 15_000, hand)
    with pytest.raises(NotFound):
        await ledger.task(task_id)


async def test_given_an_archive_that_stays_away_then_tasks_expire_at_the_cap(ledger: Ledger, hand: Hand) -> None:
    await ledger.set_policy(POLICY)
    task_id = await ended(ledger, hand)
    await pass_time(ledger, 80_000, hand)
    with pytest.raises(NotFound):
        await ledger.task(task_id)
    assert await ledger.lease_archive(1_000, 10) == []


async def test_given_a_task_that_is_retried_meanwhile_then_its_mark_is_void(ledger: Ledger, hand: Hand) -> None:
    await ledger.set_policy(POLICY)
    task_id = await accept(ledger, graph(chain(1)))
    (grant,) = await hand.take()
    await hand.exchange(failed(grant, final=True))
    (lease,) = await ledger.lease_archive(1_000, 10)
    await ledger.retry(task_id)
    assert await ledger.mark_archived([lease]) == 0
    await pass_time(ledger, 100, hand)
    await hand.run_all()
    assert await ledger.mark_archived([lease]) == 0
    (second,) = await ledger.lease_archive(1_000, 10)
    assert (second.task, second.ended_ms) == (task_id, ledger.clock_ms)


async def test_given_a_count_to_keep_then_the_oldest_of_each_tenant_go_first(ledger: Ledger, hand: Hand) -> None:
    await ledger.set_policy({"retention_count": 2})
    kept = []
    for tenant in ("acme", "zeta"):
        for at in range(4):
            ledger.clock_ms += 1
            task_id = await accept(ledger, graph(chain(1)), tenant=tenant)
            await hand.run_all()
            kept += [task_id] if at >= 2 else []
    await pass_time(ledger, 1_000, hand)
    found = [task.id for tenant in ("acme", "zeta") for task in (await ledger.list_tasks(tenant, 10))[0]]
    assert sorted(found) == sorted(kept)
