"""Effects: what an attempt intends happens at most once, and what nobody knows is said to be unknown."""

from __future__ import annotations

import pytest
from ledger_fold import check_history
from ledger_hand import Hand, cancelled, failed, pass_time, succeeded
from ledger_plans import accept, chain, graph

from waybill.core import limits
from waybill.core.plan import RetryPolicy
from waybill.core.task import EffectState
from waybill.errors import AlreadyExists, FailedPrecondition, NotFound, ResourceExhausted
from waybill.ledger.ledger import Ledger
from waybill.ledger.records import Effect, Grant, Request, StepEffect

AT_ONCE = RetryPolicy(max_attempts=9, initial_backoff_ms=0, max_backoff_ms=0)


async def granted(ledger: Ledger, hand: Hand) -> Grant:
    await accept(ledger, graph(chain(1), retry=AT_ONCE))
    (grant,) = await hand.take()
    return grant


async def again(ledger: Ledger, hand: Hand, grant: Grant) -> Grant:
    """The next attempt of a step whose attempt fails now."""
    await hand.exchange(failed(grant))
    await pass_time(ledger, 500, hand)
    (after,) = await hand.take()
    return after


async def test_given_an_effect_that_was_done_then_later_attempts_get_its_result(ledger: Ledger, hand: Hand) -> None:
    grant = await granted(ledger, hand)
    assert await ledger.begin_effect(hand.id, grant.ref, "pay", "n1") == Effect(EffectState.INTENDED, 1)
    assert await ledger.end_effect(hand.id, grant.ref, "pay", "n1", EffectState.DONE, b'{"id": 7}\n \xc3\xa9')
    assert await ledger.end_effect(hand.id, grant.ref, "pay", "n1", EffectState.DONE, b'{"id": 7}\n \xc3\xa9')
    later = await again(ledger, hand, grant)
    assert await ledger.begin_effect(hand.id, later.ref, "pay", "n2") == Effect(
        EffectState.DONE, 1, b'{"id": 7}\n \xc3\xa9'
    )
    await hand.exchange(succeeded(later))


async def test_given_a_repeated_call_then_it_may_go_on_and_a_second_one_may_not(ledger: Ledger, hand: Hand) -> None:
    grant = await granted(ledger, hand)
    for _ in range(2):
        begun = await ledger.begin_effect(hand.id, grant.ref, "pay", "n1")
        assert begun is not None
        assert begun.state is EffectState.INTENDED
    second = await ledger.begin_effect(hand.id, grant.ref, "pay", "n2")
    assert second is not None
    assert second.state is EffectState.UNKNOWN


async def test_given_a_crash_between_intention_and_record_then_the_effect_is_unknown_until_it_is_told(
    ledger: Ledger, hand: Hand
) -> None:
    grant = await granted(ledger, hand)
    await ledger.begin_effect(hand.id, grant.ref, "pay", "n1")
    later = await again(ledger, hand, grant)
    assert await ledger.begin_effect(hand.id, later.ref, "pay", "n2") == Effect(EffectState.UNKNOWN, 1)
    assert await ledger.end_effect(hand.id, later.ref, "pay", "n2", EffectState.FAILED)
    assert await ledger.begin_effect(hand.id, later.ref, "pay", "n3") == Effect(EffectState.INTENDED, 2)
    assert await ledger.end_effect(hand.id, later.ref, "pay", "n3", EffectState.DONE, b"1")
    assert not await ledger.end_effect(hand.id, later.ref, "pay", "n2", EffectState.DONE, b"2")


async def test_given_a_stale_attempt_then_it_can_neither_begin_nor_end(ledger: Ledger, hand: Hand) -> None:
    grant = await granted(ledger, hand)
    await ledger.begin_effect(hand.id, grant.ref, "pay", "n1")
    await again(ledger, hand, grant)
    assert await ledger.begin_effect(hand.id, grant.ref, "other", "n1") is None
    assert not await ledger.end_effect(hand.id, grant.ref, "pay", "n1", EffectState.DONE, b"1")


async def test_given_a_task_that_stops_then_nothing_new_begins_and_what_began_is_recorded(
    ledger: Ledger, hand: Hand
) -> None:
    grant = await granted(ledger, hand)
    await ledger.begin_effect(hand.id, grant.ref, "pay", "n1")
    await ledger.cancel(grant.ref.task)
    assert await ledger.begin_effect(hand.id, grant.ref, "other", "n2") is None
    assert await ledger.end_effect(hand.id, grant.ref, "pay", "n1", EffectState.DONE, b"1")
    await hand.exchange(cancelled(grant))
    assert await ledger.effects(grant.ref.task) == [StepEffect(1, "pay", Effect(EffectState.DONE, 1, b"1"))]


async def test_given_an_unknown_effect_when_a_person_decides_then_a_retry_goes_on_from_there(
    ledger: Ledger, hand: Hand
) -> None:
    grant = await granted(ledger, hand)
    task_id = grant.ref.task
    await ledger.begin_effect(hand.id, grant.ref, "pay", "n1")
    with pytest.raises(FailedPrecondition, match="it is intended"):
        await ledger.decide_effect(task_id, 1, "pay", EffectState.DONE, b"1")
    await hand.exchange(failed(grant, final=True))
    assert await ledger.effects(task_id) == [StepEffect(1, "pay", Effect(EffectState.UNKNOWN, 1))]

    request = Request("acme", "decision")
    await ledger.decide_effect(task_id, 1, "pay", EffectState.DONE, b'"paid"', request)
    await ledger.decide_effect(task_id, 1, "pay", EffectState.DONE, b'"paid"', request)
    with pytest.raises(AlreadyExists):
        await ledger.decide_effect(task_id, 1, "pay", EffectState.FAILED, b"", request)
    with pytest.raises(NotFound):
        await ledger.decide_effect(task_id, 1, "other", EffectState.DONE, b"1")

    await ledger.retry(task_id)
    (later,) = await hand.take()
    assert await ledger.begin_effect(hand.id, later.ref, "pay", "n2") == Effect(EffectState.DONE, 1, b'"paid"')
    await hand.exchange(succeeded(later))
    await check_history(ledger, task_id)


async def test_given_too_many_effects_then_no_other_begins(
    ledger: Ledger, hand: Hand, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "MAX_EFFECTS_PER_TASK", 2)
    grant = await granted(ledger, hand)
    for key in ("a", "b"):
        await ledger.begin_effect(hand.id, grant.ref, key, "n")
    with pytest.raises(ResourceExhausted, match="2 effects"):
        await ledger.begin_effect(hand.id, grant.ref, "c", "n")


async def test_given_keys_of_any_text_then_effects_keep_them_apart(ledger: Ledger, hand: Hand) -> None:
    grant = await granted(ledger, hand)
    keys = ["a:b", "a b", "a|b", "ä", "1:a"]
    for at, key in enumerate(keys):
        await ledger.begin_effect(hand.id, grant.ref, key, f"n{at}")
        await ledger.end_effect(hand.id, grant.ref, key, f"n{at}", EffectState.DONE, str(at).encode())
    found = {item.key: item.effect.result for item in await ledger.effects(grant.ref.task)}
    assert found == {key: str(at).encode() for at, key in enumerate(keys)}
