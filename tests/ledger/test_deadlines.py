"""Deadlines of tasks, and how long a step waits for a worker or for a person."""

from __future__ import annotations

import pytest
from ledger_fold import check_history
from ledger_hand import Hand, cancelled, failed, pass_time, succeeded
from ledger_plans import accept, chain, graph, side_by_side

from waybill.core.plan import FailurePolicy, Question
from waybill.core.task import StepState, TaskState
from waybill.errors import AlreadyExists, FailedPrecondition, NotFound
from waybill.ledger.ledger import Ledger
from waybill.ledger.records import Request
from waybill.ledger.steering import PauseKind


class TestDeadline:
    async def test_given_a_task_past_its_deadline_then_it_stops_and_fails(self, ledger: Ledger, hand: Hand) -> None:
        task_id = await accept(ledger, graph(chain(3)), deadline_ms=5_000)
        (grant,) = await hand.take()
        await pass_time(ledger, 4_900, hand)
        assert (await ledger.task(task_id)).state is TaskState.RUNNING
        await pass_time(ledger, 200, hand)
        assert (await hand.renew()).cancel == (grant.ref,)
        await hand.exchange(cancelled(grant))
        task, steps = await check_history(ledger, task_id)
        assert (task.state, task.failure and task.failure.reason) == (TaskState.FAILED, "DEADLINE_EXCEEDED")
        assert {step.state for step in steps.values()} == {StepState.CANCELLED}

    async def test_given_a_paused_or_unplanned_task_then_its_deadline_holds_too(self, ledger: Ledger) -> None:
        paused = await accept(ledger, graph(chain(1)), deadline_ms=1_000)
        await ledger.pause(paused)
        unplanned = await accept(ledger, goal="why?", deadline_ms=1_000)
        await pass_time(ledger, 2_000)
        for task_id in (paused, unplanned):
            assert (await check_history(ledger, task_id))[0].state is TaskState.FAILED
        assert await ledger.lease_planning(1_000, 10) == []

    async def test_given_a_task_that_ends_in_time_then_its_deadline_says_nothing_more(
        self, ledger: Ledger, hand: Hand
    ) -> None:
        task_id = await accept(ledger, graph(chain(1)), deadline_ms=1_000)
        await hand.run_all()
        await pass_time(ledger, 2_000, hand)
        assert (await check_history(ledger, task_id))[0].state is TaskState.SUCCEEDED

    async def test_given_a_retry_then_the_same_span_begins_again(self, ledger: Ledger, hand: Hand) -> None:
        task_id = await accept(ledger, graph(chain(1)), deadline_ms=3_000)
        await pass_time(ledger, 4_000, hand)
        await ledger.retry(task_id)
        assert (await ledger.task(task_id)).deadline_at_ms == ledger.clock_ms + 3_000
        await pass_time(ledger, 2_000, hand)
        await hand.run_all()
        assert (await check_history(ledger, task_id))[0].state is TaskState.SUCCEEDED


class TestQueueTimeout:
    async def test_given_no_worker_in_time_then_the_step_fails_for_good(self, ledger: Ledger) -> None:
        task_id = await accept(ledger, graph({"a": []}, queue_timeout_ms=2_000))
        await pass_time(ledger, 1_900)
        assert (await ledger.task(task_id)).state is TaskState.RUNNING
        await pass_time(ledger, 200)
        task, steps = await check_history(ledger, task_id)
        assert (task.state, steps["a"].failure and steps["a"].failure.reason) == (TaskState.FAILED, "QUEUE_TIMEOUT")
        assert await (await Hand(ledger).register()).take() == []

    async def test_given_a_step_that_started_in_time_then_it_may_run_longer(self, ledger: Ledger, hand: Hand) -> None:
        task_id = await accept(ledger, graph(chain(2), queue_timeout_ms=2_000))
        (grant,) = await hand.take()
        await pass_time(ledger, 5_000, hand)
        await hand.exchange(succeeded(grant))
        await hand.run_all()
        assert (await check_history(ledger, task_id))[0].state is TaskState.SUCCEEDED

    async def test_given_a_retried_attempt_then_its_patience_begins_anew(self, ledger: Ledger, hand: Hand) -> None:
        task_id = await accept(ledger, graph(chain(1), queue_timeout_ms=2_000))
        (grant,) = await hand.take()
        await hand.exchange(failed(grant, retry_after_ms=1_000))
        await pass_time(ledger, 2_500, hand)
        assert (await ledger.task(task_id)).state is TaskState.RUNNING
        await pass_time(ledger, 2_000, hand)
        assert (await check_history(ledger, task_id))[0].state is TaskState.FAILED

    async def test_given_a_pause_of_task_agent_or_tenant_then_its_time_does_not_count(
        self, ledger: Ledger, hand: Hand
    ) -> None:
        task_id = await accept(ledger, graph({"a": []}, queue_timeout_ms=2_000))
        await ledger.pause(task_id)
        await pass_time(ledger, 5_000, hand)
        await ledger.set_paused(PauseKind.AGENT, "echo", True)
        await ledger.resume(task_id)
        await pass_time(ledger, 5_000, hand)
        await ledger.set_paused(PauseKind.TENANT, "acme", True)
        await ledger.set_paused(PauseKind.AGENT, "echo", False)
        await pass_time(ledger, 5_000, hand)
        await ledger.set_paused(PauseKind.TENANT, "acme", False)
        assert len(await hand.run_all()) == 1
        await check_history(ledger, task_id)

    async def test_given_a_plan_that_goes_on_then_the_others_run(self, ledger: Ledger, hand: Hand) -> None:
        plan = graph(
            {"nobody": [], "somebody": []},
            agents={"nobody": "absent"},
            queue_timeout_ms=1_000,
            on_failure=FailurePolicy.CONTINUE,
        )
        task_id = await accept(ledger, plan)
        await pass_time(ledger, 500, hand)
        (grant,) = await hand.take()
        await pass_time(ledger, 1_000, hand)
        await hand.exchange(succeeded(grant))
        task, steps = await check_history(ledger, task_id)
        assert task.state is TaskState.FAILED
        assert steps["somebody"].state is StepState.SUCCEEDED


ASK = Question("Shall I send it?", '{"type": "string"}')


class TestAnswers:
    async def test_given_an_answer_then_it_is_the_output_and_what_follows_runs(
        self, ledger: Ledger, hand: Hand
    ) -> None:
        after = {"draft": [], "ask": ["draft"], "send": ["ask"]}
        inputs = {"send": b'{"go": "${ask}"}'}
        task_id = await accept(ledger, graph(after, questions={"ask": ASK}, inputs=inputs))
        await hand.run_all()
        task, steps = await check_history(ledger, task_id)
        assert (task.state, steps["ask"].state) == (TaskState.RUNNING, StepState.WAITING)
        assert steps["ask"].question == ASK
        await pass_time(ledger, 3_600_000 // 60, hand)
        await ledger.answer(task_id, 2, b'"yes"')
        (send,) = await hand.take()
        assert send.inputs == {"ask": b'"yes"'}
        await hand.exchange(succeeded(send))
        task, steps = await check_history(ledger, task_id)
        assert (task.state, steps["ask"].output) == (TaskState.SUCCEEDED, b'"yes"')

    async def test_given_nobody_answers_then_the_default_does_or_the_step_fails(self, ledger: Ledger) -> None:
        kind = Question("Shall I?", timeout_ms=1_000, default_answer=b"false")
        strict = Question("Shall I?", timeout_ms=1_000)
        defaulted = await accept(ledger, graph({"ask": []}, questions={"ask": kind}))
        failing = await accept(ledger, graph({"ask": []}, questions={"ask": strict}))
        await pass_time(ledger, 2_000)
        task, steps = await check_history(ledger, defaulted)
        assert (task.state, steps["ask"].output) == (TaskState.SUCCEEDED, b"false")
        task, _ = await check_history(ledger, failing)
        assert (task.state, task.failure and task.failure.reason) == (TaskState.FAILED, "ANSWER_TIMEOUT")

    async def test_given_a_second_answer_then_the_first_stays(self, ledger: Ledger) -> None:
        task_id = await accept(ledger, graph({"ask": [], "also": []}, questions={"ask": ASK, "also": ASK}))
        first = Request("acme", "answer-1")
        await ledger.answer(task_id, 1, b'"yes"', first)
        assert await ledger.answer(task_id, 1, b'"yes"', first) is TaskState.RUNNING
        with pytest.raises(AlreadyExists):
            await ledger.answer(task_id, 1, b'"no"', first)
        with pytest.raises(FailedPrecondition, match="it is succeeded"):
            await ledger.answer(task_id, 1, b'"no"', Request("acme", "answer-2"))
        with pytest.raises(NotFound):
            await ledger.answer(task_id, 3, b'"no"')

    async def test_given_a_cancelled_task_then_its_question_is_over(self, ledger: Ledger) -> None:
        timed = Question("Shall I?", timeout_ms=1_000)
        task_id = await accept(ledger, graph({"ask": []}, questions={"ask": timed}))
        assert await ledger.cancel(task_id) is TaskState.CANCELLED
        with pytest.raises(FailedPrecondition, match="it is cancelled"):
            await ledger.answer(task_id, 1, b"1")
        await pass_time(ledger, 2_000)
        await check_history(ledger, task_id)

    async def test_given_a_retried_question_then_it_is_asked_again_and_old_timers_are_void(
        self, ledger: Ledger, hand: Hand
    ) -> None:
        timed = Question("Shall I?", timeout_ms=2_000)
        task_id = await accept(ledger, graph({"ask": [], **side_by_side(1)}, questions={"ask": timed}))
        await pass_time(ledger, 1_500, hand)
        await ledger.cancel(task_id)
        await ledger.retry(task_id)
        await pass_time(ledger, 1_000, hand)
        _, steps = await check_history(ledger, task_id)
        assert (steps["ask"].state, steps["ask"].attempt) == (StepState.WAITING, 2)
        await ledger.answer(task_id, 1, b"1")
        await hand.run_all()
        assert (await check_history(ledger, task_id))[0].state is TaskState.SUCCEEDED
