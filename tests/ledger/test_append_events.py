"""append_events: what an agent tells stands in the history once, in order, and only while its attempt is current."""

from __future__ import annotations

import pytest
from ledger_hand import Hand, succeeded
from ledger_plans import accept, chain, graph

from waybill.core.task import Event, EventType
from waybill.ledger import ledger as ledger_module
from waybill.ledger.ledger import Ledger
from waybill.ledger.records import StepRef


def text(word: str) -> Event:
    return Event(type=EventType.STEP_TEXT, step="s0", attempt=1, text=word)


async def words(ledger: Ledger, ref: StepRef) -> list[str]:
    events = await ledger.events(ref.task, 1, 1_000)
    assert [event.sequence for event in events] == list(range(1, len(events) + 1))
    return [event.text for event in events if event.type is EventType.STEP_TEXT]


async def test_given_a_current_attempt_then_its_events_are_added_with_the_time(ledger: Ledger, hand: Hand) -> None:
    await accept(ledger, graph(chain(1)))
    (grant,) = await hand.take()
    ledger.clock_ms = 1_234_567
    assert await ledger.append_events(hand.id, grant.ref, 0, [text("a"), text("b")])
    events = await ledger.events(grant.ref.task, 1, 100)
    assert [(event.text, event.time_ms) for event in events[-2:]] == [("a", 1_234_567), ("b", 1_234_567)]


async def test_given_a_lost_reply_when_repeated_with_more_then_nothing_stands_twice(ledger: Ledger, hand: Hand) -> None:
    await accept(ledger, graph(chain(1)))
    (grant,) = await hand.take()
    await ledger.append_events(hand.id, grant.ref, 0, [text("a"), text("b")])
    await ledger.append_events(hand.id, grant.ref, 0, [text("a"), text("b")])
    await ledger.append_events(hand.id, grant.ref, 0, [text("a"), text("b"), text("c")])
    await ledger.append_events(hand.id, grant.ref, 3, [text("d")])
    assert await words(ledger, grant.ref) == ["a", "b", "c", "d"]


async def test_given_a_second_attempt_then_it_counts_from_the_start_again(ledger: Ledger, hand: Hand) -> None:
    await accept(ledger, graph(chain(1)))
    (first,) = await hand.take()
    await ledger.append_events(hand.id, first.ref, 0, [text("a")])
    await ledger.unregister(hand.id)
    other = await Hand(ledger, "other").register()
    (second,) = await other.take()
    assert not await ledger.append_events(hand.id, first.ref, 1, [text("late")])
    assert await ledger.append_events(other.id, second.ref, 0, [text("b")])
    assert await words(ledger, first.ref) == ["a", "b"]


async def test_given_a_settled_step_then_it_has_nothing_more_to_tell(ledger: Ledger, hand: Hand) -> None:
    await accept(ledger, graph(chain(1)))
    (grant,) = await hand.take()
    await hand.exchange(succeeded(grant))
    assert not await ledger.append_events(hand.id, grant.ref, 0, [text("late")])


async def test_given_a_task_with_too_many_events_then_more_are_dropped_and_it_still_ends(
    ledger: Ledger, hand: Hand, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger_module.limits, "MAX_TASK_EVENTS", 5)
    await accept(ledger, graph(chain(1)))
    (grant,) = await hand.take()
    assert await ledger.append_events(hand.id, grant.ref, 0, [text("a")])
    assert await ledger.append_events(hand.id, grant.ref, 1, [text("b"), text("c")])
    await hand.exchange(succeeded(grant))
    assert await words(ledger, grant.ref) == ["a"]
    assert (await ledger.task(grant.ref.task)).state.ended
