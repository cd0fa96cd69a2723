"""`exchange`, the giving half: how attempts end, and what follows from it."""

import pytest
from ledger_fold import check_history
from ledger_hand import FAILURE, Hand, cancelled, failed, handed_back, succeeded
from ledger_plans import accept, chain, graph, side_by_side

from waybill.core.plan import RetryPolicy
from waybill.core.task import EventType, StepState, TaskState, Usage
from waybill.ledger.ledger import Ledger
from waybill.ledger.records import StepRef

SPENT = Usage(100, 20, 3_000)
ONCE_MORE = RetryPolicy(max_attempts=2, initial_backoff_ms=100, max_backoff_ms=100)


async def delays(ledger: Ledger, task_id: str) -> list[int]:
    """Backoff of each retry in a task's history."""
    events = await ledger.events(task_id, 1, 1_000)
    return [event.delay_ms for event in events if event.type is EventType.STEP_RETRIED]


async def after_backoff(ledger: Ledger, ms: int = 60_000) -> None:
    """Let every timer become due."""
    ledger.clock_ms += ms
    await ledger.tick()


async def test_given_usage_when_settled_then_step_and_task_add_it_up(ledger: Ledger, hand: Hand) -> None:
    task_id = await accept(ledger, graph(chain(2), retry=ONCE_MORE))
    await hand.exchange(failed((await hand.take())[0], usage=SPENT, run_ms=10))
    await after_backoff(ledger)
    (again,) = await hand.take()
    (last,) = (await hand.exchange(succeeded(again, usage=SPENT, run_ms=20))).grants
    await hand.exchange(succeeded(last, usage=SPENT, run_ms=30))
    task, steps = await check_history(ledger, task_id)
    assert (task.usage, task.run_ms) == (Usage(300, 60, 9_000), 60)
    assert (steps["s0"].usage, steps["s0"].run_ms, steps["s0"].tries) == (Usage(200, 40, 6_000), 30, 1)


class TestRetries:
    async def test_given_a_failure_then_the_step_backs_off_and_runs_again(self, ledger: Ledger, hand: Hand) -> None:
        task_id = await accept(ledger, graph({"only": []}))
        (grant,) = await hand.take()
        await hand.exchange(failed(grant))
        _, steps = await check_history(ledger, task_id)
        assert (steps["only"].state, steps["only"].tries, steps["only"].failure) == (StepState.BACKOFF, 1, FAILURE)
        await after_backoff(ledger)
        (again,) = await hand.take()
        assert (again.ref.number, again.ref.attempt) == (grant.ref.number, 2)
        await hand.exchange(succeeded(again))
        assert (await check_history(ledger, task_id))[0].state is TaskState.SUCCEEDED

    async def test_given_failures_then_each_wait_lies_between_half_and_all_of_its_bound(
        self, ledger: Ledger, hand: Hand
    ) -> None:
        retry = RetryPolicy(max_attempts=6, initial_backoff_ms=100, max_backoff_ms=1_000, multiplier=3.0)
        task_id = await accept(ledger, graph({"only": []}, retry=retry))
        for _ in range(5):
            await hand.exchange(failed((await hand.take())[0]))
            await after_backoff(ledger)
        for delay, full in zip(await delays(ledger, task_id), [100, 300, 900, 1_000, 1_000], strict=True):
            assert full // 2 <= delay <= full

    async def test_given_steps_that_fail_together_then_they_do_not_come_back_together(
        self, ledger: Ledger, hand: Hand
    ) -> None:
        retry = RetryPolicy(initial_backoff_ms=1_000_000, max_backoff_ms=1_000_000)
        task_id = await accept(ledger, graph(side_by_side(10), retry=retry))
        await hand.exchange(*map(failed, await hand.take()))
        told = await delays(ledger, task_id)
        assert len(set(told)) == len(told) == 10

    async def test_given_a_backoff_then_the_step_is_not_ready_before_it_is_over(
        self, ledger: Ledger, hand: Hand
    ) -> None:
        task_id = await accept(ledger, graph({"only": []}, retry=RetryPolicy(initial_backoff_ms=1_000)))
        await hand.exchange(failed((await hand.take())[0]))
        (delay,) = await delays(ledger, task_id)
        ledger.clock_ms += delay - 1
        assert (await ledger.tick()).retried == 0
        ledger.clock_ms += 100
        assert (await ledger.tick()).retried == 1

    async def test_given_per_step_limits_then_each_step_has_its_own(self, ledger: Ledger, hand: Hand) -> None:
        task_id = await accept(ledger, graph({"only": []}, retry=RetryPolicy(max_attempts=1)))
        await hand.exchange(failed((await hand.take())[0]))
        task, steps = await check_history(ledger, task_id)
        assert (task.state, task.failure, steps["only"].state) == (TaskState.FAILED, FAILURE, StepState.FAILED)

    async def test_given_a_final_failure_then_no_try_is_left_to_it(self, ledger: Ledger, hand: Hand) -> None:
        task_id = await accept(ledger, graph({"only": []}, retry=RetryPolicy(max_attempts=100)))
        await hand.exchange(failed((await hand.take())[0], final=True))
        assert (await check_history(ledger, task_id))[0].state is TaskState.FAILED

    async def test_given_no_backoff_at_all_then_the_next_tick_retries(self, ledger: Ledger, hand: Hand) -> None:
        retry = RetryPolicy(max_attempts=100, initial_backoff_ms=0, max_backoff_ms=0, multiplier=10.0)
        task_id = await accept(ledger, graph({"only": []}, retry=retry))
        for _ in range(99):
            await hand.exchange(failed((await hand.take())[0]))
            await after_backoff(ledger, 100)
        await hand.exchange(failed((await hand.take())[0]))
        assert (await check_history(ledger, task_id))[0].state is TaskState.FAILED


class TestFinalFailure:
    async def test_given_running_siblings_when_a_step_fails_then_the_task_ends_after_the_last(
        self, ledger: Ledger, hand: Hand
    ) -> None:
        after = {**side_by_side(3), "later": ["p0"]}
        task_id = await accept(ledger, graph(after, retry=RetryPolicy(max_attempts=1)))
        first, second, third = await hand.take()
        await hand.exchange(failed(first))
        task, steps = await check_history(ledger, task_id)
        assert (task.state, task.failure) == (TaskState.CANCELLING, FAILURE)
        assert steps["later"].state is StepState.CANCELLED
        assert {ref.number for ref in (await hand.renew()).cancel} == {2, 3}
        await hand.exchange(cancelled(second, usage=SPENT))
        assert (await ledger.task(task_id)).state is TaskState.CANCELLING
        await hand.exchange(cancelled(third))
        task, steps = await check_history(ledger, task_id)
        assert (task.state, task.failure, task.usage) == (TaskState.FAILED, FAILURE, SPENT)
        assert [steps[name].state for name in ("p0", "p1", "p2")] == [StepState.FAILED, *[StepState.CANCELLED] * 2]

    async def test_given_waiting_and_backing_off_siblings_when_a_step_fails_then_they_end_at_once(
        self, ledger: Ledger, hand: Hand
    ) -> None:
        task_id = await accept(ledger, graph(side_by_side(3)))
        first, second = await hand.take(2)
        await hand.exchange(failed(first), free=0)
        await hand.exchange(failed(second, final=True), free=0)
        task, steps = await check_history(ledger, task_id)
        assert task.state is TaskState.FAILED
        assert [steps[name].state for name in ("p0", "p1", "p2")] == [
            StepState.CANCELLED,
            StepState.FAILED,
            StepState.CANCELLED,
        ]
        assert steps["p0"].failure == FAILURE

    @pytest.mark.parametrize("outcome", [failed, handed_back, cancelled])
    async def test_given_a_stopping_task_when_its_last_step_ends_anyhow_then_nothing_runs_again(
        self, ledger: Ledger, hand: Hand, outcome: object
    ) -> None:
        task_id = await accept(ledger, graph(side_by_side(2)))
        first, second = await hand.take()
        await hand.exchange(failed(first, final=True), outcome(second))  # type: ignore[operator]
        _, steps = await check_history(ledger, task_id)
        assert (await ledger.task(task_id)).state is TaskState.FAILED
        assert steps["p1"].state is StepState.CANCELLED

    async def test_given_two_final_failures_in_one_call_then_the_first_names_the_reason(
        self, ledger: Ledger, hand: Hand
    ) -> None:
        task_id = await accept(ledger, graph(side_by_side(2)))
        first, second = await hand.take()
        await hand.exchange(failed(first, final=True), failed(second, final=True))
        _, steps = await check_history(ledger, task_id)
        assert [steps[name].state for name in ("p0", "p1")] == [StepState.FAILED, StepState.CANCELLED]

    async def test_given_a_failure_and_a_final_one_in_one_call_then_the_cancelled_step_keeps_its_own(
        self, ledger: Ledger, hand: Hand
    ) -> None:
        task_id = await accept(ledger, graph(side_by_side(2)))
        first, second = await hand.take()
        await hand.exchange(failed(first), failed(second, final=True))
        _, steps = await check_history(ledger, task_id)
        assert (steps["p0"].state, steps["p0"].failure) == (StepState.CANCELLED, FAILURE)


class TestFirstCommitWins:
    async def test_given_a_stopping_task_when_a_step_succeeds_then_its_output_counts_and_unblocks_nothing(
        self, ledger: Ledger, hand: Hand
    ) -> None:
        task_id = await accept(ledger, graph(chain(2)))
        (grant,) = await hand.take()
        await ledger.cancel(task_id)
        reply = await hand.exchange(succeeded(grant, b'"kept"'))
        assert (reply.stale, reply.grants) == ((), ())
        task, steps = await check_history(ledger, task_id)
        assert task.state is TaskState.CANCELLED
        assert (steps["s0"].state, steps["s0"].output) == (StepState.SUCCEEDED, b'"kept"')
        assert steps["s1"].state is StepState.CANCELLED

    async def test_given_a_settled_attempt_when_settled_again_then_the_first_result_stays(
        self, ledger: Ledger, hand: Hand
    ) -> None:
        task_id = await accept(ledger, graph({"only": []}))
        (grant,) = await hand.take()
        await hand.exchange(succeeded(grant, b"1"), succeeded(grant, b"2"))
        reply = await hand.exchange(failed(grant, final=True))
        assert reply.stale == (grant.ref,)
        assert await ledger.outputs(task_id, [1]) == [b"1"]
        assert (await check_history(ledger, task_id))[0].state is TaskState.SUCCEEDED


class TestStale:
    async def test_given_stale_settlements_among_good_ones_then_they_alone_are_rejected(
        self, ledger: Ledger, hand: Hand
    ) -> None:
        task_id = await accept(ledger, graph(side_by_side(3), retry=ONCE_MORE))
        first, second, third = await hand.take()
        await hand.exchange(failed(first))
        await after_backoff(ledger)
        (again,) = await hand.take()
        unknown = StepRef("0-unknown", 1, 1), StepRef(task_id, 99, 1), StepRef(task_id, 2, 9)
        reply = await hand.exchange(
            succeeded(second), succeeded(first), *map(succeeded, unknown), succeeded(third), succeeded(again)
        )
        assert set(reply.stale) == {first.ref, *unknown}
        assert (await check_history(ledger, task_id))[0].state is TaskState.SUCCEEDED

    async def test_given_another_workers_step_when_settled_then_it_stays_with_its_worker(
        self, ledger: Ledger, hand: Hand
    ) -> None:
        task_id = await accept(ledger, graph({"only": []}))
        (grant,) = await hand.take()
        thief = await Hand(ledger, "thief").register()
        assert (await thief.exchange(succeeded(grant, b'"stolen"'))).stale == (grant.ref,)
        await hand.exchange(succeeded(grant, b'"mine"'))
        await check_history(ledger, task_id)
        assert await ledger.outputs(task_id, [1]) == [b'"mine"']

    async def test_given_an_expired_task_when_settled_then_stale(self, ledger: Ledger, hand: Hand) -> None:
        await ledger.set_policy({"retention_ms": 1_000})
        await accept(ledger, graph({"only": []}))
        (grant,) = await hand.take()
        await hand.exchange(succeeded(grant))
        ledger.clock_ms += 1_000
        assert await ledger.expire(1) == 1
        assert (await hand.exchange(succeeded(grant))).stale == (grant.ref,)


class TestHandingBack:
    async def test_given_a_step_handed_back_then_it_runs_again_first_and_costs_no_try(
        self, ledger: Ledger, hand: Hand
    ) -> None:
        task_id = await accept(ledger, graph(side_by_side(3), retry=RetryPolicy(max_attempts=1)))
        (grant,) = await hand.take(1)
        await ledger.set_policy({"queue_window": 1})
        await hand.exchange(handed_back(grant), free=0)
        ran = await hand.run_all()
        assert [(step.step, step.ref.attempt) for step in ran if step.step == "p0"] == [("p0", 2)]
        task, steps = await check_history(ledger, task_id)
        assert (task.state, steps["p0"].tries, steps["p0"].deaths) == (TaskState.SUCCEEDED, 0, 0)

    async def test_given_a_step_cancelled_though_its_task_runs_then_it_is_handed_back(
        self, ledger: Ledger, hand: Hand
    ) -> None:
        task_id = await accept(ledger, graph({"only": []}))
        await hand.exchange(cancelled((await hand.take())[0]))
        await hand.run_all()
        assert (await check_history(ledger, task_id))[0].state is TaskState.SUCCEEDED
