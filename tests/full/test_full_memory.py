"""A store whose memory is full: what was accepted goes on, what is new is refused clearly and leaves no trace."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest
from full_stores import fill_hard, limit_memory, traces_of, used_bytes
from ledger_fold import check_history
from ledger_hand import Hand, failed, pass_time, succeeded
from ledger_plans import accept, chain, fan_and_join, graph, new_task
from store_servers import Server

from waybill.core.plan import Question, RetryPolicy
from waybill.core.task import EffectState, Event, EventType, StepState, TaskState
from waybill.errors import NotFound, ResourceExhausted, WaybillError
from waybill.ledger.ledger import Ledger
from waybill.ledger.records import Accepted, NewTask
from waybill.ledger.steering import PauseKind

MIB = 1024 * 1024
BIG_INPUT = b'"' + b"x" * 20_000 + b'"'
AGAIN = RetryPolicy(max_attempts=2, initial_backoff_ms=1_000, max_backoff_ms=1_000)
HALF_FULL, ALMOST_FULL = 0.5, 0.85


async def fill_up_to(ledger: Ledger, server: Server, part: float) -> None:
    """Set the limit so that such a part of it is used, and let a tick see it."""
    limit_memory(server, int(used_bytes(server) / part))
    await pass_time(ledger, 1_000)


async def refusal(ledger: Ledger, task: NewTask) -> WaybillError:
    """The refusal of a submission."""
    (result,) = await ledger.submit([task])
    assert isinstance(result, WaybillError), result
    return result


def check_clear(error: WaybillError) -> None:
    """It says what is wrong and what to do."""
    assert isinstance(error, ResourceExhausted)
    assert error.reason == "STORE_FULL"
    assert "full" in error.message
    assert "try again" in error.message


class TestSubmissions:
    async def test_given_a_store_that_fills_up_then_submissions_stop_below_its_limit_and_all_accepted_ones_end(
        self, ledger: Ledger, server: Server, hand: Hand
    ) -> None:
        most_bytes = used_bytes(server) + 4 * MIB
        limit_memory(server, most_bytes)
        accepted, refused = [], []
        while not refused:
            await pass_time(ledger, 100, hand)
            for task in [new_task(graph(chain(2)), input=BIG_INPUT) for _ in range(5)]:
                (result,) = await ledger.submit([task])
                if isinstance(result, Accepted):
                    accepted.append(task)
                else:
                    refused.append((task, result))
        assert 0.8 * most_bytes < used_bytes(server) < most_bytes
        for task, error in refused:
            check_clear(error)
            assert traces_of(server, task) == []
        await hand.run_all()
        for task in accepted:
            record, _ = await check_history(ledger, task.id)
            assert record.state is TaskState.SUCCEEDED

    @pytest.mark.parametrize("hard", [False, True])
    async def test_given_a_full_store_when_submitting_then_it_is_refused_clearly_and_nothing_is_written(
        self, ledger: Ledger, server: Server, hand: Hand, hard: bool
    ) -> None:
        if hard:
            fill_hard(server)
        else:
            await fill_up_to(ledger, server, ALMOST_FULL)
        for task in (new_task(graph(fan_and_join(20))), new_task(goal="g"), new_task(graph(chain(1)), deadline_ms=5)):
            check_clear(await refusal(ledger, task))
            assert traces_of(server, task) == []
        assert await hand.take() == []

    async def test_given_an_accepted_task_when_its_submission_is_repeated_on_a_full_store_then_it_is_met_again(
        self, ledger: Ledger, server: Server, hand: Hand
    ) -> None:
        task_id = await accept(ledger, goal="g", request_id="mine")
        await fill_up_to(ledger, server, ALMOST_FULL)
        (again,) = await ledger.submit([new_task(goal="g", request_id="mine")])
        assert again == Accepted(task_id, repeated=True)

    @pytest.mark.parametrize("hard", [False, True])
    async def test_given_a_full_store_when_its_limit_grows_then_submissions_are_accepted_again(
        self, ledger: Ledger, server: Server, hand: Hand, hard: bool
    ) -> None:
        task = new_task(graph(chain(1)))
        if hard:
            fill_hard(server)
        await fill_up_to(ledger, server, 1.5 if hard else ALMOST_FULL)
        check_clear(await refusal(ledger, task))
        await fill_up_to(ledger, server, HALF_FULL)
        assert await ledger.submit([task]) == [Accepted(task.id, ledger.clock_ms, 3)]
        assert [grant.ref.task for grant in await hand.run_all()] == [task.id]

    async def test_given_a_full_store_when_tasks_expire_then_submissions_are_accepted_again(
        self, ledger: Ledger, server: Server, hand: Hand
    ) -> None:
        await ledger.set_policy({"retention_ms": 5_000})
        empty_bytes = used_bytes(server)
        old = [await accept(ledger, graph(chain(1)), input=BIG_INPUT) for _ in range(100)]
        limit_memory(server, empty_bytes + (used_bytes(server) - empty_bytes) // 2)
        await hand.run_all()
        await pass_time(ledger, 1_000, hand)
        check_clear(await refusal(ledger, new_task(graph(chain(1)))))
        await pass_time(ledger, 6_000, hand)
        assert await ledger.tasks(old) == [None] * len(old)
        assert await accept(ledger, graph(chain(1)))


class TestWhatWasAccepted:
    """Over the limit itself, where the server refuses every plain write."""

    async def test_given_a_full_store_then_steps_run_fail_retry_speak_and_unblock_others(
        self, ledger: Ledger, server: Server, hand: Hand
    ) -> None:
        wide = await accept(ledger, graph(fan_and_join(50)))
        flaky = await accept(ledger, graph({"flaky": []}, retry=AGAIN))
        fill_hard(server)
        assert (await hand.wait()) != []
        granted = {grant.ref.task: grant for grant in await hand.take()}
        said = Event(type=EventType.STEP_TEXT, step="flaky", attempt=1, text="so far")
        assert await ledger.append_events(hand.id, granted[flaky].ref, 0, [said])
        await hand.exchange(failed(granted[flaky]), succeeded(granted[wide], BIG_INPUT))
        await hand.run_all()
        await pass_time(ledger, 2_000, hand)
        assert [grant.ref.attempt for grant in await hand.run_all()] == [2]
        for task_id in (wide, flaky):
            assert (await check_history(ledger, task_id))[0].state is TaskState.SUCCEEDED

    async def test_given_a_full_store_then_goals_are_planned(self, ledger: Ledger, server: Server, hand: Hand) -> None:
        good, bad = await accept(ledger, goal="good"), await accept(ledger, goal="bad")
        fill_hard(server)
        leases = {lease.goal: lease.task for lease in await ledger.lease_planning(10_000, 10)}
        assert leases == {"good": good, "bad": bad}
        assert await ledger.attach_plan(good, 0, graph(chain(3)))
        await ledger.cancel(bad)
        await hand.run_all()
        assert (await check_history(ledger, good))[0].state is TaskState.SUCCEEDED
        assert (await check_history(ledger, bad))[0].state is TaskState.CANCELLED

    async def test_given_a_full_store_then_tasks_can_be_steered_and_answered(
        self, ledger: Ledger, server: Server, hand: Hand
    ) -> None:
        question = Question("Go on?", '{"type": "boolean"}')
        paused, stopped = await accept(ledger, graph(chain(2))), await accept(ledger, graph(chain(2)))
        asked = await accept(ledger, graph({"ask": [], "act": ["ask"]}, questions={"ask": question}))
        fill_hard(server)
        assert await ledger.pause(paused) is TaskState.PAUSED
        assert await ledger.cancel(stopped) is TaskState.CANCELLED
        await ledger.set_paused(PauseKind.AGENT, "echo", True)
        await ledger.answer(asked, 1, b"true")
        assert await hand.run_all() == []
        await ledger.set_paused(PauseKind.AGENT, "echo", False)
        assert await ledger.resume(paused) is TaskState.RUNNING
        assert len(await hand.run_all()) == 3
        for task_id, state in ((paused, TaskState.SUCCEEDED), (stopped, TaskState.CANCELLED)):
            assert (await check_history(ledger, task_id))[0].state is state
        assert (await check_history(ledger, asked))[0].state is TaskState.SUCCEEDED

    async def test_given_a_full_store_then_effects_are_recorded(
        self, ledger: Ledger, server: Server, hand: Hand
    ) -> None:
        await accept(ledger, graph(chain(1)))
        (grant,) = await hand.take()
        fill_hard(server)
        begun = await ledger.begin_effect(hand.id, grant.ref, "mail", "n1")
        assert begun is not None
        assert begun.state is EffectState.INTENDED
        assert await ledger.end_effect(hand.id, grant.ref, "mail", "n1", EffectState.DONE, b'"sent"')
        known = await ledger.begin_effect(hand.id, grant.ref, "mail", "n2")
        assert known is not None
        assert (known.state, known.result) == (EffectState.DONE, b'"sent"')

    async def test_given_a_full_store_when_a_worker_dies_or_comes_then_its_steps_run_on(
        self, ledger: Ledger, server: Server, hand: Hand
    ) -> None:
        task_id = await accept(ledger, graph(chain(1)))
        assert len(await hand.take()) == 1
        await pass_time(ledger, 1_000, hand)
        fill_hard(server)
        other = await Hand(ledger, "other").register()
        assert await pass_time(ledger, 5_000, other) == 1
        assert [grant.ref.attempt for grant in await other.run_all()] == [2]
        await ledger.unregister(other.id)
        assert (await check_history(ledger, task_id))[0].state is TaskState.SUCCEEDED

    async def test_given_a_full_store_when_a_dispatcher_comes_up_then_it_connects_and_makes_room(
        self, ledger: Ledger, server: Server, hand: Hand, open_ledger: Callable[[Server], Awaitable[Ledger]]
    ) -> None:
        await ledger.set_policy({"retention_ms": 5_000})
        task_id = await accept(ledger, graph(chain(1)))
        await hand.run_all()
        fill_hard(server)
        dispatcher = await open_ledger(server)
        await dispatcher.set_policy({"retention_ms": 5_000})
        await pass_time(dispatcher, 6_000)
        assert await dispatcher.tasks([task_id]) == [None]

    async def test_given_a_full_store_then_ended_tasks_expire(self, ledger: Ledger, server: Server, hand: Hand) -> None:
        await ledger.set_policy({"retention_ms": 5_000})
        task = new_task(graph(chain(2)))
        await ledger.submit([task])
        fill_hard(server)
        await hand.run_all()
        await pass_time(ledger, 6_000, hand)
        with pytest.raises(NotFound):
            await ledger.task(task.id)
        assert traces_of(server, task) == []


@pytest.mark.parametrize("hard", [False, True])
async def test_given_a_failed_task_when_retried_on_a_full_store_then_it_is_refused_and_stays_as_it_was(
    ledger: Ledger, server: Server, hand: Hand, hard: bool
) -> None:
    task_id = await accept(ledger, graph({"a": [], "b": ["a"]}))
    await hand.exchange(*(failed(grant, final=True) for grant in await hand.take()))
    before = await ledger.events(task_id, 1, 100)
    if hard:
        fill_hard(server)
    else:
        await fill_up_to(ledger, server, ALMOST_FULL)
    with pytest.raises(ResourceExhausted) as refused:
        await ledger.retry(task_id)
    check_clear(refused.value)
    task, steps = await check_history(ledger, task_id)
    assert (task.state, steps["a"].state) == (TaskState.FAILED, StepState.FAILED)
    assert await ledger.events(task_id, 1, 100) == before
    await fill_up_to(ledger, server, HALF_FULL)
    await hand.renew()
    assert await ledger.retry(task_id) is TaskState.RUNNING
    await hand.run_all()
    assert (await check_history(ledger, task_id))[0].state is TaskState.SUCCEEDED
