"""`tick`: what time alone brings about, and that nobody is judged for a pause of the store."""

import asyncio

import pytest
import redis.asyncio
from ledger_fold import check_history
from ledger_hand import Hand, failed, handed_back, pass_time, succeeded
from ledger_plans import accept, graph, side_by_side

from waybill.core.plan import RetryPolicy
from waybill.core.task import StepState, TaskState
from waybill.errors import NotFound
from waybill.ledger import keys
from waybill.ledger.ledger import WORKER_TTL_MS, Ledger

QUICK = RetryPolicy(max_attempts=3, initial_backoff_ms=1_000, max_backoff_ms=1_000)


async def backlog(ledger: Ledger) -> int:
    """Batches in the queues and steps in the waiting rooms of every agent."""
    return sum(agent.queued_batches + agent.waiting_steps for agent in await ledger.agents())


async def die(ledger: Ledger, *beating: Hand) -> int:
    """Let those who do not beat be found dead; how many steps that reclaimed."""
    await ledger.tick()
    return await pass_time(ledger, WORKER_TTL_MS + 1_000, *beating)


class TestInterval:
    async def test_given_a_tick_when_another_follows_at_once_then_it_does_nothing(self, ledger: Ledger) -> None:
        assert (await ledger.tick()).ran
        ledger.clock_ms += 99
        assert not (await ledger.tick()).ran
        ledger.clock_ms += 1
        assert (await ledger.tick()).ran

    async def test_given_many_dispatchers_when_all_tick_then_one_acts(self, ledger: Ledger) -> None:
        reports = await asyncio.gather(*(ledger.tick() for _ in range(20)))
        assert [report.ran for report in reports].count(True) == 1

    async def test_given_a_clock_that_went_back_then_ticks_go_on(self, ledger: Ledger) -> None:
        await ledger.tick()
        ledger.clock_ms -= 3_600_000
        assert (await ledger.tick()).ran

    async def test_given_a_timer_when_ticked_then_the_next_tick_is_due_with_it(
        self, ledger: Ledger, hand: Hand
    ) -> None:
        await accept(ledger, graph({"only": []}, retry=RetryPolicy(initial_backoff_ms=200, max_backoff_ms=200)))
        await hand.exchange(failed((await hand.take())[0]))
        report = await ledger.tick()
        assert 100 <= report.next_due_ms <= 200


class TestDeadWorkers:
    async def test_given_a_worker_that_died_then_its_steps_run_elsewhere(self, ledger: Ledger, hand: Hand) -> None:
        other = await Hand(ledger, "other").register()
        task_id = await accept(ledger, graph(side_by_side(2), retry=RetryPolicy(max_attempts=1)))
        lost = await hand.take()
        assert await die(ledger, other) == 2
        again = await other.take()
        assert [(grant.step, grant.ref.attempt) for grant in again] == [("p0", 2), ("p1", 2)]
        assert [worker.id for worker in await ledger.workers()] == [other.id]
        await other.exchange(*map(succeeded, again))
        with pytest.raises(NotFound):
            await hand.exchange(*map(succeeded, lost))
        task, steps = await check_history(ledger, task_id)
        assert (task.state, steps["p0"].tries, steps["p0"].losses) == (TaskState.SUCCEEDED, 0, 1)

    async def test_given_a_worker_that_beats_then_it_keeps_its_steps(self, ledger: Ledger, hand: Hand) -> None:
        await accept(ledger, graph({"only": []}))
        (grant,) = await hand.take()
        assert await pass_time(ledger, 20_000, hand) == 0
        assert (await hand.exchange(succeeded(grant))).stale == ()

    async def test_given_a_worker_found_dead_when_it_comes_back_then_its_old_attempt_is_stale(
        self, ledger: Ledger, hand: Hand
    ) -> None:
        task_id = await accept(ledger, graph({"only": []}))
        (old,) = await hand.take()
        await die(ledger)
        await hand.register()
        reply = await hand.exchange(succeeded(old, b'"old"'))
        assert reply.stale == (old.ref,)
        await hand.exchange(*(succeeded(grant, b'"new"') for grant in reply.grants))
        await check_history(ledger, task_id)
        assert await ledger.outputs(task_id, [1]) == [b'"new"']

    async def test_given_entries_that_a_worker_read_when_it_dies_then_others_get_them(
        self, ledger: Ledger, hand: Hand
    ) -> None:
        other = await Hand(ledger, "other").register()
        await accept(ledger, graph({"only": []}))
        assert len(await hand.wait()) == 1
        assert await other.take() == []
        await die(ledger, other)
        (grant,) = await other.take()
        assert grant.ref.attempt == 1

    async def test_given_a_cancelling_task_when_its_worker_dies_then_the_task_ends(
        self, ledger: Ledger, hand: Hand
    ) -> None:
        task_id = await accept(ledger, graph({"only": []}))
        await hand.take()
        await ledger.cancel(task_id)
        await die(ledger)
        assert (await check_history(ledger, task_id))[0].state is TaskState.CANCELLED


class TestLossesLimit:
    async def test_given_a_step_that_takes_every_worker_down_then_it_is_dead_at_the_limit(self, ledger: Ledger) -> None:
        await ledger.set_policy({"max_losses": 3})
        task_id = await accept(ledger, graph({"poison": [], "later": ["poison"]}))
        for at in range(3):
            assert len(await (await Hand(ledger, f"victim{at}").register()).take()) == 1
            await die(ledger)
        task, steps = await check_history(ledger, task_id)
        assert (task.state, steps["poison"].state, steps["poison"].losses) == (TaskState.FAILED, StepState.FAILED, 3)
        assert task.failure is not None
        assert task.failure.reason == "WORKER_LOST"
        assert steps["later"].state is StepState.CANCELLED

    async def test_given_a_sibling_requeued_in_the_tick_that_fails_the_task_then_nothing_stays_queued(
        self, ledger: Ledger
    ) -> None:
        await ledger.set_policy({"max_losses": 2})
        task_id = await accept(ledger, graph(side_by_side(2)))
        first, second = await Hand(ledger, "first").register(), Hand(ledger, "second")
        innocent, _ = await first.take()
        await first.exchange(handed_back(innocent), free=0)
        await die(ledger)
        assert len(await (await second.register()).take()) == 2
        await die(ledger)
        _, steps = await check_history(ledger, task_id)
        assert [steps[name].state for name in ("p0", "p1")] == [StepState.CANCELLED, StepState.FAILED]
        assert await backlog(ledger) == 0


class TestGrace:
    """Time in which no tick ran says nothing about workers."""

    @pytest.mark.parametrize("pause_ms", [WORKER_TTL_MS // 2 + 1, WORKER_TTL_MS + 1, 3_600_000])
    async def test_given_a_pause_of_all_ticks_then_nobody_is_killed_for_it(
        self, ledger: Ledger, hand: Hand, pause_ms: int
    ) -> None:
        await accept(ledger, graph({"only": []}, run_timeout_ms=86_400_000))
        (grant,) = await hand.take()
        await pass_time(ledger, 2_000)
        ledger.clock_ms += pause_ms
        assert (await ledger.tick()).reclaimed == 0
        assert await pass_time(ledger, WORKER_TTL_MS) == 0
        await hand.renew()
        assert (await hand.exchange(succeeded(grant))).stale == ()

    async def test_given_a_pause_when_the_worker_stays_silent_after_it_then_it_is_dead(
        self, ledger: Ledger, hand: Hand
    ) -> None:
        await accept(ledger, graph({"only": []}))
        await hand.take()
        await ledger.tick()
        ledger.clock_ms += 10_000
        await ledger.tick()
        assert await pass_time(ledger, WORKER_TTL_MS + 1) == 1

    async def test_given_a_restarted_server_then_everyone_gets_one_more_heartbeat(
        self, ledger: Ledger, hand: Hand, store: redis.asyncio.Redis
    ) -> None:
        await accept(ledger, graph({"only": []}))
        await hand.take()
        await ledger.tick()
        await pass_time(ledger, WORKER_TTL_MS)
        await store.hset(keys.key("0", "pulse"), "run_id", "another-life")
        assert await pass_time(ledger, WORKER_TTL_MS) == 0
        assert await pass_time(ledger, 1_100) == 1

    async def test_given_the_first_tick_ever_then_nobody_is_killed_by_it(self, ledger: Ledger, hand: Hand) -> None:
        ledger.clock_ms += 100 * WORKER_TTL_MS
        await ledger.tick()
        assert [worker.id for worker in await ledger.workers()] == [hand.id]


class TestTimers:
    async def test_given_a_timer_of_an_earlier_attempt_then_it_wakes_nothing(
        self, ledger: Ledger, hand: Hand, store: redis.asyncio.Redis
    ) -> None:
        task_id = await accept(ledger, graph({"only": []}, retry=QUICK))
        await hand.exchange(failed((await hand.take())[0]))
        await pass_time(ledger, 1_000, hand)
        await hand.exchange(failed((await hand.take())[0]))
        await store.zadd(keys.key("0", "timers"), {f"{task_id}:1:1": ledger.clock_ms})
        ledger.clock_ms += 100
        await ledger.tick()
        _, steps = await check_history(ledger, task_id)
        assert (steps["only"].state, steps["only"].attempt) == (StepState.BACKOFF, 2)
        assert await store.zcard(keys.key("0", "timers")) == 1

    async def test_given_a_timer_of_a_task_that_is_gone_then_it_is_dropped(
        self, ledger: Ledger, store: redis.asyncio.Redis
    ) -> None:
        await store.zadd(keys.key("0", "timers"), {"0-gone:1:1": 1})
        assert (await ledger.tick()).ran
        assert await store.zcard(keys.key("0", "timers")) == 0

    async def test_given_more_timers_than_a_tick_fires_then_the_next_ones_fire_the_rest(self, ledger: Ledger) -> None:
        hand = await Hand(ledger, slots=1_200, max_batch=64).register()
        await ledger.set_policy({"queue_window": 1_200})
        await accept(ledger, graph(side_by_side(1_200), retry=QUICK))
        await hand.exchange(*map(failed, await hand.take()), free=0)
        ledger.clock_ms += 1_000
        retried = []
        for _ in range(3):
            retried.append((await ledger.tick()).retried)
            ledger.clock_ms += 100
        assert retried == [500, 500, 200]
        assert len(await hand.take()) == 1_200


class TestRunDeadline:
    async def test_given_a_step_past_its_deadline_and_grace_then_it_is_fenced_though_its_worker_beats(
        self, ledger: Ledger, hand: Hand
    ) -> None:
        task_id = await accept(ledger, graph({"only": []}, run_timeout_ms=1_000, retry=QUICK))
        (late,) = await hand.take()
        await pass_time(ledger, 5_999, hand)
        assert (await ledger.steps(task_id, 1, 1))[0].state is StepState.RUNNING
        ledger.clock_ms += 100
        assert (await ledger.tick()).reclaimed == 0
        task, steps = await check_history(ledger, task_id)
        assert (steps["only"].state, steps["only"].tries, steps["only"].deaths) == (StepState.BACKOFF, 1, 0)
        assert steps["only"].failure is not None
        assert (steps["only"].failure.reason, task.run_ms) == ("TIMEOUT", 6_099)
        assert (await hand.renew()).lost == (late.ref,)
        assert (await hand.exchange(succeeded(late))).stale == (late.ref,)

    async def test_given_the_last_try_when_it_is_late_then_the_task_fails(self, ledger: Ledger, hand: Hand) -> None:
        retry = RetryPolicy(max_attempts=1)
        task_id = await accept(ledger, graph({"only": []}, run_timeout_ms=1_000, retry=retry))
        await hand.take()
        await pass_time(ledger, 7_000, hand)
        task, _ = await check_history(ledger, task_id)
        assert task.state is TaskState.FAILED
        assert task.failure is not None
        assert task.failure.reason == "TIMEOUT"

    async def test_given_a_timer_that_fires_in_the_tick_that_fails_the_task_then_nothing_stays_queued(
        self, ledger: Ledger, hand: Hand
    ) -> None:
        leaving = await Hand(ledger, "leaving", ("slow",)).register()
        retry = RetryPolicy(max_attempts=2, initial_backoff_ms=500, max_backoff_ms=500)
        planned = graph(side_by_side(2), agents={"p0": "slow"}, retry=retry, run_timeout_ms=1_000)
        task_id = await accept(ledger, planned)
        await hand.exchange(failed((await hand.take())[0]))
        await pass_time(ledger, 1_000, hand, leaving)
        assert len(await hand.take()) == 1
        await pass_time(ledger, 5_500, hand, leaving)
        await leaving.exchange(failed((await leaving.take())[0]))
        await ledger.unregister(leaving.id)
        await pass_time(ledger, 1_000, hand)
        _, steps = await check_history(ledger, task_id)
        assert [steps[name].state for name in ("p0", "p1")] == [StepState.CANCELLED, StepState.FAILED]
        ledger.clock_ms += 100
        await ledger.tick()
        assert await backlog(ledger) == 0

    async def test_given_a_cancelled_step_that_does_not_stop_then_the_task_ends_without_it(
        self, ledger: Ledger, hand: Hand
    ) -> None:
        task_id = await accept(ledger, graph({"only": []}, run_timeout_ms=86_400_000))
        (grant,) = await hand.take()
        await ledger.cancel(task_id)
        await pass_time(ledger, 16_000, hand)
        assert (await check_history(ledger, task_id))[0].state is TaskState.CANCELLED
        assert (await hand.exchange(succeeded(grant))).stale == (grant.ref,)


class TestQueues:
    async def test_given_entries_read_and_never_claimed_then_they_are_queued_again(
        self, ledger: Ledger, hand: Hand
    ) -> None:
        await ledger.set_policy({"claim_grace_ms": 0})
        task_id = await accept(ledger, graph({"only": []}))
        assert len(await hand.wait()) == 1
        other = await Hand(ledger, "other").register()
        assert await other.take() == []
        await ledger.tick()
        (grant,) = await other.take()
        assert await hand.take() == [], "the entry that was read before is worth nothing any more"
        await other.exchange(succeeded(grant))
        assert (await check_history(ledger, task_id))[0].state is TaskState.SUCCEEDED

    async def test_given_a_cancelled_task_of_an_agent_nobody_serves_then_queue_and_room_are_swept(
        self, ledger: Ledger, store: redis.asyncio.Redis
    ) -> None:
        await ledger.set_policy({"queue_window": 4})
        stopped = await accept(ledger, graph(side_by_side(10)))
        other = await accept(ledger, graph(side_by_side(3)))
        await ledger.cancel(stopped)
        await ledger.tick()
        hand = await Hand(ledger).register()
        agent = (await ledger.agents())[0]
        assert agent.queued_batches + agent.waiting_steps == 3
        assert {grant.ref.task for grant in await hand.run_all()} == {other}
        assert await store.exists(keys.key("0", "sweep")) == 0

    async def test_given_more_cancelled_steps_than_a_tick_sweeps_then_the_next_ticks_sweep_the_rest(
        self, ledger: Ledger, store: redis.asyncio.Redis
    ) -> None:
        for task_id in [await accept(ledger, graph(side_by_side(9_000))) for _ in range(3)]:
            await ledger.cancel(task_id)
        for _ in range(3):
            await ledger.tick()
            ledger.clock_ms += 100
        assert await store.xlen(keys.key("0", "queue", "echo", "normal")) == 0
        assert await store.keys(keys.key("0", "waiting", "*", "*", "*").replace("{", "[{]")) == []
