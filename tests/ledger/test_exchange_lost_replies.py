"""`exchange` when its reply is lost: made again with the same number it changes nothing and tells the same."""

from ledger_fold import check_history
from ledger_hand import Hand, failed, succeeded
from ledger_plans import DIAMOND, accept, chain, graph, side_by_side

from waybill.core.task import StepState, TaskState, Usage
from waybill.ledger.ledger import Ledger


async def test_given_lost_grants_when_repeated_then_the_same_attempts_come_again(ledger: Ledger, hand: Hand) -> None:
    await accept(ledger, graph(side_by_side(3)))
    lost = await hand.lose()
    again = await hand.repeat()
    assert {grant.ref for grant in again.grants} == {grant.ref for grant in lost.grants}
    assert len(again.grants) == 3
    assert sorted(again.grants, key=lambda g: g.ref.number) == sorted(lost.grants, key=lambda g: g.ref.number)


async def test_given_lost_settlements_when_repeated_then_they_count_once(ledger: Ledger, hand: Hand) -> None:
    task_id = await accept(ledger, graph(chain(2)))
    (first,) = await hand.take()
    await hand.lose(succeeded(first, usage=Usage(1, 2, 3), run_ms=9))
    before = await ledger.task(task_id)
    (second,) = (await hand.repeat()).grants
    assert await ledger.task(task_id) == before
    assert (second.step, second.ref.attempt) == ("s1", 1)
    await hand.exchange(succeeded(second))
    task, _ = await check_history(ledger, task_id)
    assert (task.state, task.usage) == (TaskState.SUCCEEDED, Usage(1, 2, 3))


async def test_given_a_lost_failure_when_repeated_then_it_costs_one_try(ledger: Ledger, hand: Hand) -> None:
    task_id = await accept(ledger, graph({"only": []}))
    (grant,) = await hand.take()
    await hand.lose(failed(grant))
    await hand.repeat()
    _, steps = await check_history(ledger, task_id)
    assert (steps["only"].tries, steps["only"].state) == (1, StepState.BACKOFF)


async def test_given_lost_entries_when_repeated_then_they_are_claimed_once(ledger: Ledger, hand: Hand) -> None:
    task_id = await accept(ledger, graph(side_by_side(2)))
    await hand.wait()
    await hand.lose(free=1)
    assert len((await hand.repeat()).grants) == 1
    await hand.run_all()
    assert (await check_history(ledger, task_id))[0].state is TaskState.SUCCEEDED


async def test_given_many_lost_replies_in_a_row_when_one_arrives_then_nothing_was_doubled(
    ledger: Ledger, hand: Hand
) -> None:
    task_id = await accept(ledger, graph(DIAMOND))
    await hand.lose()
    for _ in range(5):
        await ledger.exchange(hand.id, hand.seq, hand.seen, [], [], hand.agents, hand.slots)
        await accept(ledger, graph(DIAMOND))
    (grant,) = (await hand.repeat()).grants
    assert grant.ref.task == task_id
    await check_history(ledger, task_id)


async def test_given_grants_that_arrived_when_a_later_reply_is_lost_then_only_the_later_come_again(
    ledger: Ledger, hand: Hand
) -> None:
    await accept(ledger, graph(side_by_side(3)))
    first = await hand.take(1)
    await hand.lose(free=1)
    (again,) = (await hand.repeat()).grants
    assert again.ref != first[0].ref


async def test_given_an_old_number_when_called_then_nothing_changes(ledger: Ledger, hand: Hand) -> None:
    task_id = await accept(ledger, graph(chain(2)))
    (grant,) = await hand.take()
    await hand.exchange()
    reply = await ledger.exchange(hand.id, 1, 2, [succeeded(grant)], [], hand.agents, 5)
    assert (reply.grants, reply.stale) == ((), ())
    _, steps = await check_history(ledger, task_id)
    assert steps["s0"].state is StepState.RUNNING


async def test_given_a_lost_reply_when_the_step_was_fenced_meanwhile_then_it_is_not_delivered(
    ledger: Ledger, hand: Hand
) -> None:
    task_id = await accept(ledger, graph({"only": []}, run_timeout_ms=100))
    await hand.lose()
    ledger.clock_ms += 10_000
    await ledger.tick()
    assert (await hand.repeat()).grants == ()
    _, steps = await check_history(ledger, task_id)
    assert steps["only"].state is StepState.BACKOFF


async def test_given_a_lost_reply_when_the_worker_was_reclaimed_then_the_repetition_does_no_harm(
    ledger: Ledger, hand: Hand
) -> None:
    task_id = await accept(ledger, graph(side_by_side(2)))
    first, second = await hand.take()
    await hand.lose(succeeded(first))
    await ledger.unregister(hand.id)
    await hand.register()
    reply = await hand.repeat()
    assert reply.stale == (first.ref,)
    assert [(grant.step, grant.ref.attempt) for grant in reply.grants] == [("p1", 2)]
    await hand.exchange(succeeded(second))
    assert (await check_history(ledger, task_id))[0].state is TaskState.RUNNING
