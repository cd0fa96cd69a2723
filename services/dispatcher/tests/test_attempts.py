"""Attempts: what the fold of a history says of them is what the ledger counted."""

from __future__ import annotations

import asyncio
from collections import defaultdict

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ledger_hand import Hand, cancelled, failed, handed_back, pass_time, succeeded
from ledger_plans import accept, graph
from redis import Redis
from waybill_dispatcher.attempts import Attempt, AttemptFold

from waybill.core.plan import Plan, PlanStep, Question, RetryPolicy
from waybill.core.task import Event, EventType, Failure, StepState, Usage
from waybill.core.validation import link
from waybill.ledger.ledger import Ledger
from waybill.ledger.records import Settlement

START_MS = 1_700_000_000_000
OPEN = (StepState.RUNNING, StepState.WAITING)
ENDS = st.sampled_from(["ok", "fail", "final", "back", "cancelled", "die", "pause", "retry", "cancel", "late"])
RETRY = RetryPolicy(max_attempts=3, initial_backoff_ms=100)


def settled(how: str, ref) -> Settlement:
    """The end of an attempt, with a spend that its reference decides."""
    spent = Usage(ref.attempt, 2 * ref.number, 3)
    if how == "fail":
        return failed(ref, run_ms=7, usage=spent)
    if how == "final":
        return failed(ref, final=True, run_ms=8, usage=spent)
    if how == "cancelled":
        return cancelled(ref, run_ms=9, usage=spent)
    return handed_back(ref) if how == "back" else succeeded(ref, run_ms=5, usage=spent)


async def live(ledger: Ledger, task: str, ends: list[str]) -> None:
    """A life of a task: its attempts end as told, one after another, and operators meddle."""
    hand = await Hand(ledger, slots=1).register()
    for how in ends:
        ledger.clock_ms += 13
        state = (await ledger.task(task)).state
        if how == "die":
            hand = await hand.restart()
        elif how == "late":
            await pass_time(ledger, 8_000, hand)
            hand.held.clear()
        elif how == "pause" and state == "running":
            await ledger.pause(task)
            ledger.clock_ms += 5
            await ledger.resume(task)
        elif how == "retry" and state in ("failed", "cancelled"):
            await ledger.retry(task)
        elif how == "cancel" and not state.ended:
            await ledger.cancel(task)
        else:
            await pass_time(ledger, 500, hand)
            await hand.exchange(*(settled(how, ref) for ref in hand.held))


def check(attempts: list[Attempt], untold: set[int], step) -> None:
    """The attempts of a step are what the ledger counted."""
    assert [attempt.number for attempt in attempts] == list(range(1, step.attempt + 1))
    assert all(attempt.state not in OPEN for attempt in attempts[:-1])
    assert all(attempt.ended_ms >= attempt.started_ms for attempt in attempts if attempt.state not in OPEN)
    assert sum((attempt.usage for attempt in attempts), Usage()) == step.usage
    assert sum(attempt.wait_ms for attempt in attempts) == step.wait_ms
    assert sum(attempt.run_ms for attempt in attempts if attempt.number not in untold) == step.run_ms
    if attempts:
        last = attempts[-1]
        assert (last.worker, last.started_ms) == (step.worker, step.started_ms)
        assert (last.state in OPEN) == (step.state in OPEN)
        if step.state is StepState.SUCCEEDED:
            assert (last.state, last.ended_ms) == (StepState.SUCCEEDED, step.ended_ms)


async def any_life(url: str, ends: list[str]) -> None:
    ledger = Ledger(url, clock_ms=START_MS)
    try:
        task = await accept(ledger, graph({"a": [], "b": ["a"]}, retry=RETRY, run_timeout_ms=2_000))
        await live(ledger, task, ends)
        record = await ledger.task(task)
        events = await ledger.events(task, 1, 10_000)
        fold, ended, untold = AttemptFold(), defaultdict(set), defaultdict(set)
        for event in events:
            fold.add(event)
            if event.type in (EventType.STEP_RETRIED, EventType.STEP_FINISHED):
                if event.usage is None and event.attempt not in ended[event.step]:
                    untold[event.step].add(event.attempt)
                ended[event.step].add(event.attempt)
        for step in await ledger.steps(task, 1, record.step_count):
            check(fold.of(step.name), untold[step.name], step)
    finally:
        await ledger.close()


def test_given_any_life_of_a_task_then_the_attempts_add_up_to_what_was_counted(embedded_url: str) -> None:
    @settings(
        max_examples=60, derandomize=True, deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow]
    )
    @given(st.lists(ENDS, min_size=1, max_size=14))
    def lives(ends: list[str]) -> None:
        with Redis.from_url(embedded_url) as client:
            client.flushall()
        asyncio.run(any_life(embedded_url, ends))

    lives()


async def asking(ledger: Ledger, **question) -> str:
    step = PlanStep("approve", question=Question("May I?", **question))
    return await accept(ledger, link(Plan((step,)), {}))


@pytest.mark.parametrize("answered", [True, False])
async def test_a_wait_for_a_person_is_an_attempt_without_a_worker(embedded_url: str, answered: bool) -> None:
    ledger = Ledger(embedded_url, clock_ms=START_MS)
    task = await asking(ledger, timeout_ms=1_000)
    ledger.clock_ms += 700
    if answered:
        await ledger.answer(task, 1, b"true")
    else:
        await pass_time(ledger, 1_000)
    fold = AttemptFold()
    fold.add_all(await ledger.events(task, 1, 100))
    (attempt,) = fold.of("approve")
    assert (attempt.number, attempt.worker, attempt.wait_ms) == (1, "", 0)
    assert attempt.run_ms == attempt.ended_ms - attempt.started_ms > 0
    if answered:
        assert (attempt.state, attempt.failure) == (StepState.SUCCEEDED, None)
    else:
        assert (attempt.state, attempt.failure.reason) == (StepState.FAILED, "ANSWER_TIMEOUT")
    await ledger.close()


events = st.builds(
    Event,
    type=st.sampled_from(list(EventType)),
    time_ms=st.integers(0, 99),
    step=st.sampled_from(["", "a", "b"]),
    attempt=st.integers(0, 3),
    step_state=st.none() | st.sampled_from(list(StepState)),
    failure=st.none() | st.just(Failure("R", "m")),
    usage=st.none() | st.just(Usage(1, 2, 3)),
)


@given(st.lists(events, max_size=20), st.integers(0, 20))
def test_given_any_events_then_folding_them_in_parts_is_folding_them_at_once(told: list[Event], cut: int) -> None:
    whole, parts = AttemptFold(), AttemptFold()
    whole.add_all(told)
    parts.add_all(told[:cut])
    parts.add_all(told[cut:])
    for step in ("a", "b"):
        assert whole.of(step) == parts.of(step)
        assert all(attempt.run_ms >= 0 and attempt.wait_ms >= 0 for attempt in whole.of(step))


def test_model_calls_count_for_their_attempt_whenever_they_are_told() -> None:
    fold = AttemptFold()
    fold.add_all(
        [
            Event(type=EventType.STEP_STARTED, step="a", attempt=1, worker="w"),
            Event(type=EventType.CALL_ENDED, step="a", attempt=1, call=1, usage=Usage(1, 1, 5)),
            Event(type=EventType.STEP_RETRIED, step="a", attempt=1, usage=Usage(0, 0, 1)),
            Event(type=EventType.CALL_ENDED, step="a", attempt=1, call=2, usage=Usage(0, 0, 90, 0, 0, 90)),
            Event(type=EventType.STEP_STARTED, step="a", attempt=2, worker="w"),
            Event(type=EventType.CALL_ENDED, step="a", attempt=2, call=1, usage=Usage(2, 2, 3)),
            Event(type=EventType.CALL_ENDED, step="a", attempt=1, call=2, usage=Usage(4, 4, 10)),
            Event(type=EventType.CALL_ENDED, attempt=1, call=1, usage=Usage(9, 9, 9)),
            Event(type=EventType.STEP_FINISHED, step="a", attempt=2, step_state=StepState.SUCCEEDED, usage=Usage()),
        ]
    )
    assert [attempt.usage for attempt in fold.of("a")] == [Usage(5, 5, 16), Usage(2, 2, 3)]
