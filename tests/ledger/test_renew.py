"""`renew`: the heartbeat names what is held; worker and ledger agree again, whatever was lost between them."""

import pytest
from ledger_fold import check_history
from ledger_hand import Hand, pass_time, succeeded
from ledger_plans import accept, graph, side_by_side

from waybill.core.plan import RetryPolicy
from waybill.core.task import TaskState
from waybill.errors import NotFound
from waybill.ledger.ledger import Ledger
from waybill.ledger.records import StepRef


async def test_given_everything_named_when_renewed_then_nothing_changes(ledger: Ledger, hand: Hand) -> None:
    task_id = await accept(ledger, graph(side_by_side(2)))
    await hand.take()
    before = await ledger.task(task_id)
    renewal = await hand.renew()
    assert (renewal.cancel, renewal.lost) == ((), ())
    assert await ledger.task(task_id) == before


async def test_given_a_step_the_worker_lacks_when_renewed_then_it_runs_again_at_no_try(
    ledger: Ledger, hand: Hand
) -> None:
    task_id = await accept(ledger, graph(side_by_side(2), retry=RetryPolicy(max_attempts=1)))
    lacked, _ = await hand.take()
    del hand.held[lacked.ref]
    await hand.renew()
    assert (await hand.exchange(succeeded(lacked), free=0)).stale == (lacked.ref,)
    ran = await hand.run_all()
    assert sorted((grant.step, grant.ref.attempt) for grant in ran) == [("p0", 2), ("p1", 1)]
    task, steps = await check_history(ledger, task_id)
    assert (task.state, steps["p0"].tries, steps["p0"].deaths) == (TaskState.SUCCEEDED, 0, 0)


async def test_given_grants_whose_reply_is_on_its_way_when_renewed_then_they_stay(ledger: Ledger, hand: Hand) -> None:
    await accept(ledger, graph(side_by_side(2)))
    lost = await hand.lose()
    await hand.renew()
    assert {grant.ref for grant in (await hand.repeat()).grants} == {grant.ref for grant in lost.grants}


async def test_given_a_stopping_task_when_renewed_then_its_steps_are_to_be_cancelled(
    ledger: Ledger, hand: Hand
) -> None:
    stopping = await accept(ledger, graph(side_by_side(2)))
    await accept(ledger, graph(side_by_side(2)))
    granted = await hand.take()
    await ledger.cancel(stopping)
    renewal = await hand.renew()
    assert set(renewal.cancel) == {grant.ref for grant in granted if grant.ref.task == stopping}
    assert renewal.lost == ()


async def test_given_a_stopping_task_when_the_worker_lacks_its_step_then_the_task_ends(
    ledger: Ledger, hand: Hand
) -> None:
    task_id = await accept(ledger, graph({"only": []}))
    (grant,) = await hand.take()
    await ledger.cancel(task_id)
    del hand.held[grant.ref]
    await hand.renew()
    assert (await check_history(ledger, task_id))[0].state is TaskState.CANCELLED


async def test_given_steps_that_are_not_the_workers_when_renewed_then_they_are_lost(ledger: Ledger, hand: Hand) -> None:
    task_id = await accept(ledger, graph(side_by_side(2)))
    (mine,) = await hand.take(1)
    other = await Hand(ledger, "other").register()
    (theirs,) = await other.take(1)
    named = [mine.ref, theirs.ref, StepRef("0-unknown", 1, 1), StepRef(task_id, 99, 1), StepRef(task_id, 1, 9)]
    assert (await ledger.renew(hand.id, hand.seen, named)).lost == tuple(named[1:])
    assert (await other.exchange(succeeded(theirs))).stale == ()


async def test_given_a_settled_step_when_renewed_then_lost(ledger: Ledger, hand: Hand) -> None:
    await accept(ledger, graph({"only": []}))
    (grant,) = await hand.take()
    await hand.lose(succeeded(grant))
    assert (await hand.renew()).lost == (grant.ref,)
    await hand.repeat()


async def test_given_an_unknown_worker_when_renewed_then_not_found_and_nothing_is_made(ledger: Ledger) -> None:
    with pytest.raises(NotFound):
        await Hand(ledger, "stranger").renew()
    assert await ledger.workers() == []


async def test_given_a_reclaimed_worker_when_renewed_then_not_found(ledger: Ledger, hand: Hand) -> None:
    await ledger.tick()
    await pass_time(ledger, 4_000)
    with pytest.raises(NotFound):
        await hand.renew()
