"""`set_policy`: what the dispatcher writes is what every function reads, from the next call on."""

from ledger_hand import Hand, succeeded
from ledger_plans import accept, graph, side_by_side

from waybill.core.task import StepState
from waybill.ledger.ledger import Ledger


async def test_given_a_longer_time_to_live_then_workers_live_longer(ledger: Ledger) -> None:
    await ledger.set_policy({"worker_ttl_ms": 60_000})
    await Hand(ledger).register()
    await ledger.tick()
    for _ in range(4):
        ledger.clock_ms += 15_000
        assert (await ledger.tick()).reclaimed == 0
        assert len(await ledger.workers()) == 1
    ledger.clock_ms += 100
    await ledger.tick()
    assert await ledger.workers() == []


async def test_given_a_batch_target_then_batches_fit_it(ledger: Ledger) -> None:
    hand = await Hand(ledger, max_batch=64).register()
    await ledger.set_policy({"batch_target_ms": 30})
    await accept(ledger, graph(side_by_side(1)))
    (grant,) = await hand.take()
    await hand.exchange(succeeded(grant, run_ms=10), free=0)
    await accept(ledger, graph(side_by_side(9)))
    assert [len(await hand.take(1)) for _ in range(3)] == [3, 3, 3]


async def test_given_a_wider_window_then_the_next_call_fills_it(ledger: Ledger) -> None:
    for name in ("one", "two", "three", "four", "five", "six"):
        await Hand(ledger, name).register()
    await ledger.set_policy({"queue_window": 2})
    await accept(ledger, graph(side_by_side(9)))
    await ledger.set_policy({"queue_window": 5})
    await ledger.tick()
    (agent,) = await ledger.agents()
    assert (agent.queued_batches, agent.waiting_steps) == (5, 4)


async def test_given_a_limit_of_losses_then_a_step_fails_with_it(ledger: Ledger, hand: Hand) -> None:
    await ledger.set_policy({"max_losses": 2})
    task_id = await accept(ledger, graph(side_by_side(1)))
    for _ in range(2):
        assert len(await hand.take()) == 1
        await hand.restart()
    (step,) = await ledger.steps(task_id, 1, 1)
    assert (step.state, step.losses, step.tries) == (StepState.FAILED, 2, 0)


async def test_given_one_setting_written_later_then_the_others_stay(ledger: Ledger) -> None:
    for name in ("one", "two", "three", "four"):
        await Hand(ledger, name).register()
    await ledger.set_policy({"queue_window": 2, "retention_ms": 1_000})
    await ledger.set_policy({"queue_window": 3})
    task_id = await accept(ledger, graph(side_by_side(9)))
    (agent,) = await ledger.agents()
    assert agent.queued_batches == 3
    await ledger.cancel(task_id)
    ledger.clock_ms += 1_000
    assert await ledger.expire(1) == 1
