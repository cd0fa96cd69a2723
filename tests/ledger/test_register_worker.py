"""`register_worker` and `unregister_worker`: who serves which agent, and what becomes of what a worker held."""

import pytest
from ledger_fold import check_history
from ledger_hand import Hand, succeeded
from ledger_plans import accept, graph, side_by_side

from waybill.core.plan import RetryPolicy
from waybill.core.task import StepState, TaskState
from waybill.errors import NotFound
from waybill.ledger.ledger import Ledger

ONE_TRY = RetryPolicy(max_attempts=1)


async def test_given_a_new_incarnation_then_what_the_old_one_held_is_reclaimed_at_once(
    ledger: Ledger, hand: Hand
) -> None:
    task_id = await accept(ledger, graph(side_by_side(2), retry=ONE_TRY))
    old_id, held = hand.id, await hand.take()
    await hand.restart()
    assert [worker.id for worker in await ledger.workers()] == [hand.id]
    with pytest.raises(NotFound):
        await ledger.exchange(old_id, 2, 1, [succeeded(held[0])], [], hand.agents, 5)
    assert [(grant.step, grant.ref.attempt) for grant in await hand.run_all()] == [("p0", 2), ("p1", 2)]
    task, steps = await check_history(ledger, task_id)
    assert (task.state, steps["p0"].tries, steps["p0"].losses) == (TaskState.SUCCEEDED, 0, 1)


async def test_given_a_new_incarnation_then_what_the_old_one_had_read_is_queued_again(
    ledger: Ledger, hand: Hand
) -> None:
    await accept(ledger, graph({"only": []}))
    assert len(await hand.wait()) == 1
    await hand.restart()
    (grant,) = await hand.take()
    assert grant.ref.attempt == 1


async def test_given_another_name_then_nobody_loses_anything(ledger: Ledger, hand: Hand) -> None:
    await accept(ledger, graph({"only": []}))
    (grant,) = await hand.take()
    await Hand(ledger, "hand2").register()
    assert (await hand.exchange(succeeded(grant))).stale == ()


async def test_given_a_registration_when_repeated_then_the_worker_keeps_what_it_holds(
    ledger: Ledger, hand: Hand
) -> None:
    await accept(ledger, graph(side_by_side(2)))
    (grant,) = await hand.take(1)
    await hand.register()
    reply = await hand.exchange(succeeded(grant))
    assert (reply.stale, [again.ref.number for again in reply.grants]) == ((), [2])


async def test_given_a_goodbye_then_steps_are_handed_back_at_no_try(ledger: Ledger, hand: Hand) -> None:
    task_id = await accept(ledger, graph(side_by_side(2), retry=ONE_TRY))
    await hand.take()
    assert await ledger.unregister(hand.id) == 2
    assert await ledger.unregister(hand.id) == 0
    _, steps = await check_history(ledger, task_id)
    assert {(step.state, step.tries, step.losses) for step in steps.values()} == {(StepState.READY, 0, 0)}
    other = await Hand(ledger, "other").register()
    assert len(await other.run_all()) == 2


async def test_given_a_goodbye_when_a_task_is_stopping_then_it_ends(ledger: Ledger, hand: Hand) -> None:
    task_id = await accept(ledger, graph({"only": []}))
    await hand.take()
    await ledger.cancel(task_id)
    await ledger.unregister(hand.id)
    assert (await check_history(ledger, task_id))[0].state is TaskState.CANCELLED


async def test_given_the_last_worker_left_then_its_agents_stay_announced(ledger: Ledger, hand: Hand) -> None:
    await ledger.unregister(hand.id)
    assert await ledger.workers() == []
    assert [(agent.name, agent.live_workers) for agent in await ledger.agents()] == [("echo", 0)]


async def test_given_an_unknown_worker_when_it_leaves_then_nothing_happens(ledger: Ledger) -> None:
    assert await ledger.unregister("stranger.1") == 0
