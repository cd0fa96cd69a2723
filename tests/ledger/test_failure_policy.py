"""What a plan does when one of its steps fails for good, and which failures are."""

from __future__ import annotations

from ledger_fold import check_history
from ledger_hand import Hand, failed, pass_time, succeeded
from ledger_plans import accept, chain, graph

from waybill.core.plan import FailurePolicy, RetryPolicy
from waybill.core.task import Failure, StepState, TaskState
from waybill.ledger.ledger import Ledger

GOES_ON = FailurePolicy.CONTINUE


async def test_given_a_plan_that_goes_on_when_a_step_fails_then_only_what_depends_on_it_is_skipped(
    ledger: Ledger, hand: Hand
) -> None:
    after = {"bad": [], "good": [], "both": ["bad", "good"], "far": ["both"], "free": ["good"]}
    task_id = await accept(ledger, graph(after, on_failure=GOES_ON))
    by_name = {grant.step: grant for grant in await hand.take()}
    await hand.exchange(failed(by_name["bad"], final=True))
    task, steps = await check_history(ledger, task_id)
    assert task.state is TaskState.RUNNING
    assert {name: steps[name].state for name in ("both", "far")} == dict.fromkeys(("both", "far"), StepState.SKIPPED)
    (free,) = (await hand.exchange(succeeded(by_name["good"]))).grants
    assert free.step == "free"
    await hand.exchange(succeeded(free))
    task, steps = await check_history(ledger, task_id)
    assert (task.state, task.failure) == (TaskState.FAILED, Failure("AGENT_ERROR", "it did not work"))
    assert steps["free"].state is StepState.SUCCEEDED


async def test_given_two_failures_then_the_first_is_the_task_s(ledger: Ledger, hand: Hand) -> None:
    task_id = await accept(ledger, graph({"a": [], "b": []}, on_failure=GOES_ON))
    by_name = {grant.step: grant for grant in await hand.take()}
    await hand.exchange(failed(by_name["a"], final=True, failure=Failure("FIRST", "1")))
    await hand.exchange(failed(by_name["b"], final=True, failure=Failure("SECOND", "2")))
    task, _ = await check_history(ledger, task_id)
    assert task.failure == Failure("FIRST", "1")


async def test_given_a_plan_that_goes_on_when_cancelled_after_a_failure_then_it_is_cancelled(
    ledger: Ledger, hand: Hand
) -> None:
    task_id = await accept(ledger, graph({"a": [], "b": [], "c": ["b"]}, on_failure=GOES_ON))
    by_name = {grant.step: grant for grant in await hand.take()}
    await hand.exchange(failed(by_name["a"], final=True))
    await ledger.cancel(task_id)
    await hand.exchange(succeeded(by_name["b"]))
    task, _ = await check_history(ledger, task_id)
    assert (task.state, task.failure) == (TaskState.CANCELLED, None)


async def test_given_a_wide_plan_whose_root_fails_then_all_of_it_is_skipped(ledger: Ledger, hand: Hand) -> None:
    width = 2_000
    after = {"root": [], **{f"m{at}": ["root"] for at in range(width)}, "end": [f"m{at}" for at in range(width)]}
    task_id = await accept(ledger, graph(after, on_failure=GOES_ON))
    (root,) = await hand.take()
    await hand.exchange(failed(root, final=True))
    task, steps = await check_history(ledger, task_id)
    assert task.state is TaskState.FAILED
    assert sum(step.state is StepState.SKIPPED for step in steps.values()) == width + 1


async def test_given_a_final_reason_then_no_other_attempt_is_made(ledger: Ledger, hand: Hand) -> None:
    retry = RetryPolicy(max_attempts=5, final_reasons=("QUOTA", "GONE"))
    task_id = await accept(ledger, graph({"a": []}, retry=retry))
    (grant,) = await hand.take()
    await hand.exchange(failed(grant, failure=Failure("GONE", "it is not there")))
    task, steps = await check_history(ledger, task_id)
    assert (task.state, steps["a"].tries) == (TaskState.FAILED, 1)


async def test_given_an_agent_that_asks_for_a_wait_then_no_attempt_comes_sooner(ledger: Ledger, hand: Hand) -> None:
    retry = RetryPolicy(max_attempts=5, initial_backoff_ms=10, max_backoff_ms=20)
    task_id = await accept(ledger, graph(chain(1), retry=retry))
    (grant,) = await hand.take()
    await hand.exchange(failed(grant, retry_after_ms=4_000))
    await pass_time(ledger, 3_900, hand)
    assert await hand.take() == []
    await pass_time(ledger, 200, hand)
    assert len(await hand.run_all()) == 1
    await check_history(ledger, task_id)


async def test_given_no_jitter_then_the_wait_is_the_backoff_itself(ledger: Ledger, hand: Hand) -> None:
    retry = RetryPolicy(max_attempts=2, initial_backoff_ms=2_000, max_backoff_ms=2_000, jitter=0.0)
    task_id = await accept(ledger, graph(chain(1), retry=retry))
    (grant,) = await hand.take()
    await hand.exchange(failed(grant))
    (retried,) = [event for event in await ledger.events(task_id, 1, 100) if event.delay_ms]
    assert retried.delay_ms == 2_000
