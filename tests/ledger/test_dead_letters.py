"""Dead letters: steps that kill their process or cannot be decoded are given up, and block nobody."""

from __future__ import annotations

import pytest
import redis.asyncio
from ledger_fold import check_history
from ledger_hand import Hand, died, pass_time, succeeded, undecodable
from ledger_plans import accept, chain, graph, side_by_side

from waybill.core.plan import FailurePolicy
from waybill.core.task import StepState, TaskState
from waybill.errors import AlreadyExists, NotFound
from waybill.ledger import keys
from waybill.ledger.ledger import Ledger
from waybill.ledger.records import Request


async def bury(ledger: Ledger, hand: Hand, **fields: str) -> str:
    """The task of a step that killed its process as often as it may."""
    task_id = await accept(ledger, graph(chain(2)), **fields)
    granted = await hand.take()
    for _ in range(3):
        granted = list((await hand.exchange(*map(died, granted))).grants)
    assert granted == []
    return task_id


async def test_given_a_step_that_kills_its_process_three_times_then_it_is_a_dead_letter(
    ledger: Ledger, hand: Hand
) -> None:
    task_id = await bury(ledger, hand)
    task, steps = await check_history(ledger, task_id)
    assert (task.state, steps["s0"].state, steps["s0"].deaths) == (TaskState.FAILED, StepState.FAILED, 3)
    (letter,), end = await ledger.dead_letters("acme", 10)
    assert end is None
    assert (letter.task, letter.number, letter.step, letter.agent) == (task_id, 1, "s0", "echo")
    assert (letter.failure.reason, letter.deaths, letter.attempt) == ("PROCESS_DIED", 3, 3)
    assert await ledger.dead_letter("acme", letter.id) == letter
    assert await ledger.dead_letters("zeta", 10) == ([], None)


async def test_given_a_death_then_the_step_runs_alone_from_then_on_until_it_ends(ledger: Ledger, hand: Hand) -> None:
    task_id = await accept(ledger, graph(chain(1)))
    (grant,) = await hand.take()
    assert not grant.suspect
    (alone,) = (await hand.exchange(died(grant))).grants
    assert alone.suspect
    await hand.exchange(succeeded(alone))
    assert (await check_history(ledger, task_id))[0].state is TaskState.SUCCEEDED


async def test_given_a_worker_that_is_lost_then_what_it_held_runs_alone_and_no_death_is_counted(
    ledger: Ledger, hand: Hand
) -> None:
    await accept(ledger, graph(side_by_side(3)))
    assert len(await hand.take()) == 3
    await hand.restart()
    assert [grant.suspect for grant in await hand.take()] == [True, True, True]
    assert await ledger.dead_letters("acme", 10) == ([], None)


async def test_given_what_cannot_be_decoded_then_it_is_dead_at_once_and_its_batch_goes_on(
    ledger: Ledger, hand: Hand
) -> None:
    plan = graph(side_by_side(3), on_failure=FailurePolicy.CONTINUE)
    task_id = await accept(ledger, plan)
    bad, *good = await hand.take()
    await hand.exchange(undecodable(bad), *map(succeeded, good))
    _, steps = await check_history(ledger, task_id)
    assert sorted(step.state for step in steps.values()) == [StepState.FAILED, StepState.SUCCEEDED, StepState.SUCCEEDED]
    ((letter,), _) = await ledger.dead_letters("acme", 10)
    assert letter.failure.reason == "INPUT_UNDECODABLE"


@pytest.mark.parametrize("field", ["spec", "run"])
@pytest.mark.parametrize("garbage", [b"", b"\xc1", b"\x93\x01", b"hello", b"\x80"])
async def test_given_a_stored_step_that_no_code_can_decode_then_it_is_dead_and_the_rest_of_the_batch_runs(
    ledger: Ledger, store: redis.asyncio.Redis, field: str, garbage: bytes
) -> None:
    plan = graph(side_by_side(3), on_failure=FailurePolicy.CONTINUE)
    task_id = await accept(ledger, plan)
    await store.hset(keys.key("0", "task", task_id), f"{field}:2", garbage)
    hand = await Hand(ledger, max_batch=8).register()
    assert sorted(grant.step for grant in await hand.run_all()) == ["p0", "p2"]
    assert (await ledger.task(task_id)).state is TaskState.FAILED
    ((letter,), _) = await ledger.dead_letters("acme", 10)
    assert (letter.number, letter.failure.reason) == (2, "UNDECODABLE")
    states = [step.state for step in await ledger.steps(task_id, 1, 3)]
    assert states == [StepState.SUCCEEDED, StepState.FAILED, StepState.SUCCEEDED]


async def test_given_garbage_in_a_queue_then_whoever_claims_it_goes_on(
    ledger: Ledger, hand: Hand, store: redis.asyncio.Redis
) -> None:
    queue = keys.key("0", "queue", "echo", "normal")
    for body in ("", "nonsense", "0-none:1", "a:b:c d", "\x00\xff"):
        await store.xadd(queue, {"steps": body})
    await store.xadd(queue, {"other": "field"})
    while await hand.wait():
        await hand.take()
    await store.xadd(queue, {"other": "field"})
    task_id = await accept(ledger, graph(chain(1)))
    await hand.run_all()
    assert (await check_history(ledger, task_id))[0].state is TaskState.SUCCEEDED
    while await hand.wait():  # nobody has announced the last one: whoever is idle next reads it
        await hand.take()
    assert await store.xlen(queue) == 0


async def test_given_a_record_of_damaged_text_then_its_steps_can_be_granted_and_settled(
    ledger: Ledger, hand: Hand, store: redis.asyncio.Redis
) -> None:
    task_id = await accept(ledger, graph({"a": []}, inputs={"a": b'{"goal": "${task.goal}"}'}), goal="why?")
    await store.hset(keys.key("0", "task", task_id), mapping={"trace": b"\xff", "goal": b"\xc3("})
    (grant,) = await hand.take()
    assert grant.inputs["task"].decode() == '{"goal":"\ufffd(","input":null}'
    await hand.exchange(undecodable(grant))
    ((letter,), _) = await ledger.dead_letters("acme", 10)
    assert letter.task == task_id
    await ledger.drop_letter("acme", letter.id)
    await store.hset(keys.key("0", "task", task_id), mapping={"trace": "", "goal": "why?"})


async def test_given_a_dropped_letter_then_the_task_stays_as_it_ended(ledger: Ledger, hand: Hand) -> None:
    task_id = await bury(ledger, hand)
    request = Request("acme", "drop-it")
    await ledger.drop_letter("acme", f"{task_id}.1", request)
    await ledger.drop_letter("acme", f"{task_id}.1", request)
    with pytest.raises(AlreadyExists):
        await ledger.drop_letter("acme", f"{task_id}.2", request)
    with pytest.raises(NotFound):
        await ledger.dead_letter("acme", f"{task_id}.1")
    with pytest.raises(NotFound):
        await ledger.drop_letter("acme", f"{task_id}.1")
    assert (await ledger.task(task_id)).state is TaskState.FAILED


async def test_given_a_retried_task_then_its_letters_are_gone(ledger: Ledger, hand: Hand) -> None:
    task_id = await bury(ledger, hand)
    await ledger.retry(task_id)
    assert await ledger.dead_letters("acme", 10) == ([], None)
    assert [grant.step for grant in await hand.run_all()] == ["s0", "s1"]
    await check_history(ledger, task_id)


async def test_given_an_expired_task_then_its_letters_are_gone(ledger: Ledger, hand: Hand) -> None:
    await ledger.set_policy({"retention_ms": 1_000})
    await bury(ledger, hand)
    await pass_time(ledger, 3_000, hand)
    assert await ledger.dead_letters("acme", 10) == ([], None)


async def test_given_many_letters_then_pages_neither_skip_nor_repeat(ledger: Ledger, hand: Hand) -> None:
    buried = [await bury(ledger, hand) for _ in range(5)]
    ledger.clock_ms += 1
    buried += [await bury(ledger, hand) for _ in range(2)]
    found, after = [], None
    while True:
        page, after = await ledger.dead_letters("acme", 3, after)
        found += [letter.task for letter in page]
        if after is None:
            break
    assert sorted(found) == sorted(buried)
    assert set(found[:2]) == set(buried[-2:])
