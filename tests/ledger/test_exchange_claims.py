"""`exchange`, the taking half: what a worker is given, in which batches, in which order."""

import msgspec
import pytest
import redis.asyncio
from ledger_fold import check_history
from ledger_hand import Hand, succeeded
from ledger_plans import DIAMOND, accept, chain, fan_and_join, graph, side_by_side

from waybill.core.task import StepState, TaskState
from waybill.errors import NotFound
from waybill.ledger import keys
from waybill.ledger.ledger import Ledger


async def test_given_a_diamond_when_run_then_every_step_follows_what_it_depends_on(ledger: Ledger, hand: Hand) -> None:
    task_id = await accept(ledger, graph(DIAMOND))
    assert [grant.step for grant in await hand.run_all()] == ["a", "b", "c", "d"]
    task, _ = await check_history(ledger, task_id)
    assert task.state is TaskState.SUCCEEDED


@pytest.mark.parametrize("width", [50, 1_000])
async def test_given_a_fan_and_join_when_run_then_all_of_it_runs_once(ledger: Ledger, width: int) -> None:
    hand = await Hand(ledger, slots=64, max_batch=64).register()
    task_id = await accept(ledger, graph(fan_and_join(width)))
    ran = [grant.step for grant in await hand.run_all()]
    assert (ran[0], ran[-1], len(ran), len(set(ran))) == ("first", "last", width + 2, width + 2)
    assert (await check_history(ledger, task_id))[0].state is TaskState.SUCCEEDED


async def test_given_references_when_granted_then_their_outputs_come_along(ledger: Ledger, hand: Hand) -> None:
    inputs = {"b": b'{"x": "${a.n}", "g": "${task.goal}"}'}
    await accept(ledger, graph({"a": [], "b": []}, inputs=inputs), goal='say "hi"', input=b'{"k": 1}')
    (first,) = await hand.take()
    assert (first.step, dict(first.inputs)) == ("a", {})
    (second,) = (await hand.exchange(succeeded(first, b'{"n": 5}'))).grants
    assert second.input == inputs["b"]
    assert second.inputs["a"] == b'{"n": 5}'
    assert msgspec.json.decode(second.inputs["task"]) == {"goal": 'say "hi"', "input": {"k": 1}}


async def test_given_a_dependency_without_a_reference_when_granted_then_its_output_stays(
    ledger: Ledger, hand: Hand
) -> None:
    await accept(ledger, graph(chain(2)))
    (first,) = await hand.take()
    (second,) = (await hand.exchange(succeeded(first, b"[1]"))).grants
    assert dict(second.inputs) == {}


async def test_given_inputs_over_256_kib_when_granted_then_all_are_whole(ledger: Ledger, hand: Hand) -> None:
    big = msgspec.json.encode("x" * 200_000)
    after = {"a": [], "b": [], "join": [], "small": []}
    inputs = {"join": b'{"x": "${a}", "y": "${b}", "z": "${task.input}"}', "small": b'{"x": "${task.goal}"}'}
    await accept(ledger, graph(after, inputs=inputs), goal="g", input=b"[7]")
    granted = {grant.step: grant for grant in await hand.take()}
    assert granted["small"].input == inputs["small"]
    reply = await hand.exchange(succeeded(granted["a"], big), succeeded(granted["b"], big))
    (join,) = reply.grants
    assert join.input == inputs["join"]
    assert (join.inputs["a"], join.inputs["b"], join.inputs["task"]) == (big, big, b'{"goal":"g","input":[7]}')


async def test_given_a_grant_when_it_waited_then_it_says_how_long_and_how_it_may_run(
    ledger: Ledger, hand: Hand
) -> None:
    await accept(ledger, graph({"only": []}, run_timeout_ms=1_234), traceparent="t", tenant="zeta")
    ledger.clock_ms += 77
    (grant,) = await hand.take()
    assert (grant.wait_ms, grant.run_timeout_ms, grant.tenant, grant.traceparent, grant.ref.attempt) == (
        77,
        1_234,
        "zeta",
        "t",
        1,
    )


class TestEntries:
    async def test_given_an_idle_worker_when_it_reads_more_than_it_can_take_then_nothing_is_lost(
        self, ledger: Ledger
    ) -> None:
        hand = await Hand(ledger, agents=("echo", "slow"), slots=1).register()
        task_id = await accept(ledger, graph({"a": [], "b": []}, agents={"b": "slow"}))
        assert len(await hand.wait()) == 2
        assert len(await hand.take()) == 1
        await hand.run_all()
        assert (await ledger.task(task_id)).state is TaskState.SUCCEEDED

    async def test_given_entries_read_when_passed_then_claimed_and_gone(
        self, ledger: Ledger, hand: Hand, store: redis.asyncio.Redis
    ) -> None:
        await accept(ledger, graph({"only": []}))
        await hand.wait()
        assert len(await hand.take()) == 1
        assert await store.xlen(keys.key("0", "queue", "echo", "normal")) == 0
        assert (await store.xpending(keys.key("0", "queue", "echo", "normal"), keys.GROUP))["pending"] == 0

    async def test_given_an_entry_passed_twice_then_its_step_runs_once(self, ledger: Ledger, hand: Hand) -> None:
        await accept(ledger, graph({"only": []}))
        entries = await hand.wait()
        hand.read += entries
        assert len(await hand.take()) == 1
        hand.read += entries
        assert await hand.take() == []

    async def test_given_steps_of_a_cancelled_task_when_claimed_then_dropped(self, ledger: Ledger, hand: Hand) -> None:
        task_id = await accept(ledger, graph(side_by_side(5)))
        await hand.wait()
        await ledger.cancel(task_id)
        assert await hand.take() == []
        (agent,) = await ledger.agents()
        assert (agent.queued_batches, agent.waiting_steps) == (0, 0)

    async def test_given_no_work_when_waited_then_nothing(self, ledger: Ledger, hand: Hand) -> None:
        assert await hand.wait() == []

    async def test_given_unknown_queues_when_waited_then_register_again(self, ledger: Ledger) -> None:
        with pytest.raises(NotFound):
            await ledger.wait_for_work("who.1", ["nobody-serves-this"], 1)


async def test_given_an_unknown_worker_when_it_exchanges_then_it_is_told_and_gets_nothing(ledger: Ledger) -> None:
    task_id = await accept(ledger, graph({"only": []}))
    with pytest.raises(NotFound):
        await Hand(ledger, "stranger").exchange()
    _, steps = await check_history(ledger, task_id)
    assert steps["only"].state is StepState.READY


async def test_given_an_agent_that_was_never_announced_when_asked_for_then_the_rest_is_served(
    ledger: Ledger, hand: Hand
) -> None:
    task_id = await accept(ledger, graph(chain(2)))
    (grant,) = await hand.take()
    hand.agents = ("never-announced", "echo")
    (second,) = (await hand.exchange(succeeded(grant))).grants
    assert second.step == "s1"
    await check_history(ledger, task_id)
