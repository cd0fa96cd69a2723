"""Pauses of tasks, agents and tenants: what runs goes on, nothing else starts, and nothing is lost by waiting."""

from __future__ import annotations

import pytest
from ledger_fold import check_history
from ledger_hand import Hand, failed, handed_back, pass_time, succeeded
from ledger_plans import accept, chain, graph, side_by_side

from waybill.core.plan import Question, RetryPolicy
from waybill.core.task import StepState, TaskState
from waybill.errors import AlreadyExists, FailedPrecondition, NotFound
from waybill.ledger.ledger import Ledger
from waybill.ledger.records import Request
from waybill.ledger.steering import PauseKind


class TestPausedTask:
    async def test_given_ready_steps_when_paused_then_none_starts_until_it_is_resumed(
        self, ledger: Ledger, hand: Hand
    ) -> None:
        task_id = await accept(ledger, graph(side_by_side(3)))
        assert await ledger.pause(task_id) is TaskState.PAUSED
        assert await hand.take() == []
        assert await ledger.resume(task_id) is TaskState.RUNNING
        assert len(await hand.run_all()) == 3
        assert (await check_history(ledger, task_id))[0].state is TaskState.SUCCEEDED

    async def test_given_a_running_step_when_its_task_is_paused_then_its_result_counts_and_unblocks_later(
        self, ledger: Ledger, hand: Hand
    ) -> None:
        task_id = await accept(ledger, graph(chain(3)))
        (first,) = await hand.take()
        await ledger.pause(task_id)
        assert (await hand.exchange(succeeded(first))).grants == ()
        _, steps = await check_history(ledger, task_id)
        assert [steps[name].state for name in ("s0", "s1")] == [StepState.SUCCEEDED, StepState.PENDING]
        await ledger.resume(task_id)
        assert [grant.step for grant in await hand.run_all()] == ["s1", "s2"]

    async def test_given_the_last_steps_end_in_a_paused_task_then_it_ends(self, ledger: Ledger, hand: Hand) -> None:
        task_id = await accept(ledger, graph(side_by_side(2)))
        grants = await hand.take()
        await ledger.pause(task_id)
        await hand.exchange(*map(succeeded, grants))
        assert (await check_history(ledger, task_id))[0].state is TaskState.SUCCEEDED

    async def test_given_a_backoff_that_ends_in_the_pause_then_the_step_starts_when_resumed(
        self, ledger: Ledger, hand: Hand
    ) -> None:
        retry = RetryPolicy(initial_backoff_ms=100)
        task_id = await accept(ledger, graph(chain(1), retry=retry))
        (grant,) = await hand.take()
        await hand.exchange(failed(grant))
        await ledger.pause(task_id)
        await pass_time(ledger, 5_000, hand)
        assert await hand.take() == []
        await ledger.resume(task_id)
        (again,) = await hand.take()
        assert again.ref.attempt == 2
        await hand.exchange(succeeded(again))
        await check_history(ledger, task_id)

    async def test_given_a_step_handed_back_in_the_pause_then_it_waits_for_the_resumption(
        self, ledger: Ledger, hand: Hand
    ) -> None:
        task_id = await accept(ledger, graph(chain(1)))
        (grant,) = await hand.take()
        await ledger.pause(task_id)
        assert (await hand.exchange(handed_back(grant))).grants == ()
        await ledger.resume(task_id)
        assert len(await hand.run_all()) == 1

    async def test_given_many_pauses_without_a_worker_then_each_step_waits_once(self, ledger: Ledger) -> None:
        hand = await Hand(ledger, "gone").register()
        await ledger.unregister(hand.id)
        task_id = await accept(ledger, graph(side_by_side(100)))
        for _ in range(5):
            await ledger.pause(task_id)
            await pass_time(ledger, 2_000)
            await ledger.resume(task_id)
        (agent,) = await ledger.agents()
        assert agent.waiting_steps + agent.queued_batches == 100
        assert len(await (await Hand(ledger, "new").register()).run_all()) == 100

    async def test_given_a_paused_task_when_cancelled_then_it_ends(self, ledger: Ledger, hand: Hand) -> None:
        task_id = await accept(ledger, graph(chain(2)))
        await ledger.pause(task_id)
        assert await ledger.cancel(task_id) is TaskState.CANCELLED
        await check_history(ledger, task_id)

    async def test_given_a_goal_that_waits_for_its_plan_then_it_cannot_be_paused(self, ledger: Ledger) -> None:
        task_id = await accept(ledger, goal="why?")
        with pytest.raises(FailedPrecondition, match="it is planning"):
            await ledger.pause(task_id)
        with pytest.raises(NotFound):
            await ledger.pause("0-none")

    async def test_given_a_late_repetition_of_a_pause_then_a_resumed_task_stays_so(self, ledger: Ledger) -> None:
        task_id = await accept(ledger, graph(chain(1)))
        first = Request("acme", "pause-1")
        await ledger.pause(task_id, first)
        await ledger.resume(task_id, Request("acme", "resume-1"))
        assert await ledger.pause(task_id, first) is TaskState.RUNNING
        with pytest.raises(AlreadyExists):
            await ledger.resume(task_id, first)

    async def test_given_a_question_that_is_over_in_the_pause_then_its_default_unblocks_later(
        self, ledger: Ledger, hand: Hand
    ) -> None:
        asked = Question("Shall I?", timeout_ms=500, default_answer=b'"no"')
        task_id = await accept(ledger, graph({"ask": [], "act": ["ask"]}, questions={"ask": asked}))
        await ledger.pause(task_id)
        await pass_time(ledger, 2_000, hand)
        assert await hand.take() == []
        await ledger.resume(task_id)
        assert [grant.step for grant in await hand.run_all()] == ["act"]
        await check_history(ledger, task_id)


class TestPausedAgent:
    async def test_given_queued_steps_when_their_agent_is_paused_then_none_starts_and_others_do(
        self, ledger: Ledger
    ) -> None:
        hand = await Hand(ledger, agents=("echo", "slow")).register()
        await accept(ledger, graph(side_by_side(3)))
        await accept(ledger, graph({"other": []}, agents={"other": "slow"}))
        await ledger.set_paused(PauseKind.AGENT, "echo", True)
        assert [grant.agent for grant in await hand.run_all()] == ["slow"]
        assert [(agent.name, agent.paused, agent.queued_batches) for agent in await ledger.agents()] == [
            ("echo", True, 0),
            ("slow", False, 0),
        ]
        await ledger.set_paused(PauseKind.AGENT, "echo", False)
        assert len(await hand.run_all()) == 3

    async def test_given_a_batch_that_was_read_before_the_pause_then_its_claim_puts_it_back(
        self, ledger: Ledger, hand: Hand
    ) -> None:
        await accept(ledger, graph(side_by_side(1)))
        assert await hand.wait()
        await ledger.set_paused(PauseKind.AGENT, "echo", True)
        assert await hand.take() == []
        (agent,) = await ledger.agents()
        assert agent.waiting_steps == 1
        await ledger.set_paused(PauseKind.AGENT, "echo", False)
        assert len(await hand.run_all()) == 1

    async def test_given_a_running_step_then_it_ends_and_its_successor_waits(self, ledger: Ledger, hand: Hand) -> None:
        task_id = await accept(ledger, graph(chain(2)))
        (first,) = await hand.take()
        await ledger.set_paused(PauseKind.AGENT, "echo", True)
        assert (await hand.exchange(succeeded(first))).grants == ()
        await ledger.set_paused(PauseKind.AGENT, "echo", False)
        assert [grant.step for grant in await hand.run_all()] == ["s1"]
        await check_history(ledger, task_id)

    async def test_given_a_late_repetition_then_it_changes_nothing(self, ledger: Ledger, hand: Hand) -> None:
        request = Request("acme", "one")
        await ledger.set_paused(PauseKind.AGENT, "echo", True, request)
        await ledger.set_paused(PauseKind.AGENT, "echo", False, Request("acme", "two"))
        await ledger.set_paused(PauseKind.AGENT, "echo", True, request)
        assert [agent.paused for agent in await ledger.agents()] == [False]


class TestPausedTenant:
    async def test_given_two_tenants_when_one_is_paused_then_only_the_other_runs(
        self, ledger: Ledger, hand: Hand
    ) -> None:
        await ledger.set_policy({"queue_window": 1})
        mine = await accept(ledger, graph(side_by_side(3)), tenant="acme")
        theirs = await accept(ledger, graph(side_by_side(3)), tenant="zeta")
        await ledger.set_paused(PauseKind.TENANT, "acme", True)
        assert await ledger.is_paused("acme")
        assert {grant.ref.task for grant in await hand.run_all()} == {theirs}
        await ledger.set_paused(PauseKind.TENANT, "acme", False)
        assert {grant.ref.task for grant in await hand.run_all()} == {mine}

    async def test_given_a_batch_that_was_read_before_the_pause_then_its_claim_puts_it_back(
        self, ledger: Ledger, hand: Hand
    ) -> None:
        await accept(ledger, graph(side_by_side(1)), tenant="acme")
        assert await hand.wait()
        await ledger.set_paused(PauseKind.TENANT, "acme", True)
        assert await hand.take() == []
        await ledger.set_paused(PauseKind.TENANT, "acme", False)
        assert len(await hand.run_all()) == 1

    async def test_given_a_tenant_that_comes_back_then_it_takes_turns_and_makes_up_for_nothing(
        self, ledger: Ledger
    ) -> None:
        await ledger.set_policy({"queue_window": 1})
        hand = await Hand(ledger, slots=1).register()
        await accept(ledger, graph(side_by_side(6)), tenant="acme")
        await ledger.set_paused(PauseKind.TENANT, "acme", True)
        await accept(ledger, graph(side_by_side(12)), tenant="zeta")
        granted = await hand.take()
        for _ in range(6):
            granted = list((await hand.exchange(*map(succeeded, granted))).grants)
        await ledger.set_paused(PauseKind.TENANT, "acme", False)
        turns = []
        for _ in range(6):
            granted = list((await hand.exchange(*map(succeeded, granted))).grants)
            turns += [grant.tenant for grant in granted]
        assert 2 <= turns.count("acme") <= 4, turns
        await hand.run_all()
