"""What an attempt reports: complete, in order, within the limits, and in few calls."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from waybill_worker.outbox import FLUSH_INTERVAL_SECONDS, Outbox
from worker_fake_ledger import FakeLedger, Fate, grant_of

from waybill.core.limits import MAX_EVENT_MESSAGE_CHARS, MAX_EVENT_TEXT_BYTES
from waybill.core.task import Event, EventType
from waybill.errors import ResourceExhausted
from waybill.ledger.records import StepRef

GRANT = grant_of("echo")
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=50)
reports = st.one_of(texts, st.tuples(st.text(max_size=5), st.none() | st.floats()), st.just("ä" * 40_000))


def outbox_on(fake: FakeLedger) -> Outbox:
    fake.held[GRANT.ref] = (GRANT, 1)
    return Outbox(fake, "w.1", GRANT, lambda: None)


@given(st.lists(st.tuples(reports, st.booleans()), max_size=30))
@settings(deadline=None)
def test_given_any_reports_when_closed_then_all_text_and_the_last_progress_arrived_in_order(
    reported: list[tuple[str | tuple[str, float | None], bool]],
) -> None:
    async def scenario() -> list[Event]:
        fake = FakeLedger()
        outbox = outbox_on(fake)
        for report, pause in reported:
            if isinstance(report, str):
                outbox.text(report)
            else:
                outbox.progress(*report)
            if pause:
                await asyncio.sleep(0)
        await outbox.close()
        return fake.events()

    events = asyncio.run(scenario())

    assert told_of(events) == told_of([event_of(report) for report, _ in reported])
    for event, before in with_text_before(events):
        assert len(event.text.encode()) <= MAX_EVENT_TEXT_BYTES
        assert event.fraction is None or 0.0 <= event.fraction <= 1.0
        assert event.type is EventType.STEP_PROGRESS or event.text_offset == before


def told_of(events: Sequence[Event]) -> tuple[str, list[str]]:
    """All text, and all messages, repeated ones once."""
    messages = [event.message for event in events if event.type is EventType.STEP_PROGRESS]
    once = [message for at, message in enumerate(messages) if at == 0 or messages[at - 1] != message]
    return "".join(event.text for event in events), once


def event_of(report: str | tuple[str, float | None]) -> Event:
    if isinstance(report, str):
        return Event(type=EventType.STEP_TEXT, text=report)
    return Event(type=EventType.STEP_PROGRESS, message=report[0].encode("utf-8", "replace").decode())


def with_text_before(events: Sequence[Event]) -> Iterator[tuple[Event, int]]:
    """Each event with the characters that were told before it."""
    chars = 0
    for event in events:
        yield event, chars
        chars += len(event.text)


class Clock:
    """Stands for the time between two appends: an outbox goes on when it is told to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.ticks = 0

        async def pause(outbox: Outbox) -> None:
            ticks = self.ticks
            while self.ticks == ticks and not outbox._closing.is_set():
                await asyncio.sleep(0)

        monkeypatch.setattr(Outbox, "_pause", pause)

    async def tick(self) -> None:
        """So much time goes by that the outbox may append again."""
        self.ticks += 1
        for _ in range(20):
            await asyncio.sleep(0)


@pytest.mark.parametrize("seed", range(5))
async def test_given_a_long_stream_with_progress_between_when_time_goes_by_then_a_tick_tells_one_text_event(
    fake: FakeLedger, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    clock, chance, outbox = Clock(monkeypatch), random.Random(seed), outbox_on(fake)
    whole, told_before = "", 0
    for _ in range(60):
        for number in range(chance.randrange(40)):
            piece = chance.choice(["word ", "ä", "", "x" * 100])
            whole += piece
            outbox.text(piece)
            if chance.random() < 0.5:
                outbox.progress(f"message {number}", None)
        await clock.tick()
        texts = [event for event in fake.events() if event.type is EventType.STEP_TEXT]
        assert len(texts) - told_before <= 1
        told_before = len(texts)
    await outbox.close()

    assert "".join(event.text for event in fake.events()) == whole
    assert FLUSH_INTERVAL_SECONDS >= 1 / 20


@given(st.lists(st.one_of(texts, st.integers(0, 60), st.none(), st.just("ä" * 40_000)), max_size=25))
@settings(deadline=None)
def test_given_text_that_is_taken_back_when_folded_by_its_offsets_then_the_text_that_stands_is_left(
    script: list[str | int | None],
) -> None:
    async def scenario() -> tuple[str, list[Event]]:
        outbox, stands = outbox_on(fake := FakeLedger()), ""
        for item in script:
            if isinstance(item, str):
                outbox.text(item)
                stands += item
            elif item is not None:
                stands = stands[:item]
                outbox.rewind(item)
                outbox.progress("again", None)
            else:
                await asyncio.sleep(0)
                await asyncio.sleep(0)
            assert outbox.streamed_chars == len(stands)
        await outbox.close()
        return stands, fake.events()

    stands, events = asyncio.run(scenario())
    text = ""
    for event in events:
        if event.type is EventType.STEP_TEXT:
            assert event.text_offset in (0, len(text))
            text = text[: event.text_offset] + event.text
    assert text == stands


@given(st.lists(st.tuples(texts | st.just("ä" * 40_000), st.booleans()), max_size=10), st.integers(0, 2**32))
@settings(deadline=None, max_examples=40)
def test_given_any_text_and_any_losses_when_put_together_by_its_offsets_then_what_arrived_stands_in_its_place(
    pieces: list[tuple[str, bool]], seed: int
) -> None:
    chance = random.Random(seed)

    async def scenario() -> list[Event]:
        fake = FakeLedger(fate=lambda _: chance.choice(list(Fate)))
        append = fake._append

        def append_or_refuse(*args: Any) -> bool:
            if chance.random() < 0.2:
                raise ResourceExhausted("full")
            return append(*args)

        fake._append = append_or_refuse  # type: ignore[method-assign]
        outbox = outbox_on(fake)
        for text, pause in pieces:
            outbox.text(text)
            for _ in range(5 * pause):
                await asyncio.sleep(0)
        await outbox.close()
        return fake.events()

    whole = "".join(text for text, _ in pieces)
    for event in asyncio.run(scenario()):
        assert whole[event.text_offset :].startswith(event.text)


@given(st.lists(st.tuples(texts, st.booleans()), max_size=10), st.integers(0, 2**32))
@settings(deadline=None, max_examples=40)
def test_given_any_lost_calls_and_replies_when_text_is_sent_again_then_the_offsets_give_all_of_it(
    pieces: list[tuple[str, bool]], seed: int
) -> None:
    chance = random.Random(seed)

    async def scenario() -> list[Event]:
        outbox = outbox_on(fake := FakeLedger(fate=lambda _: chance.choice(list(Fate))))
        for text, pause in pieces:
            outbox.text(text)
            for _ in range(5 * pause):
                await asyncio.sleep(0)
        await outbox.close()
        return fake.events()

    told = ""
    for event in asyncio.run(scenario()):
        assert event.text_offset == len(told)
        told += event.text
    assert told == "".join(text for text, _ in pieces)


async def test_given_thousands_of_reports_at_once_when_closed_then_few_calls_carry_them(fake: FakeLedger) -> None:
    outbox = outbox_on(fake)
    calls: list[int] = []
    append = fake._append

    def count(ref: StepRef, position: int, events: Sequence[Event]) -> bool:
        calls.append(len(events))
        return append(ref, position, events)

    fake._append = count  # type: ignore[method-assign]
    for number in range(5_000):
        outbox.text(f"{number} ")
        outbox.progress("counting", number / 5_000)
        if number % 1_000 == 0:
            await asyncio.sleep(0)
    await outbox.close()

    assert len(calls) <= 3
    assert "".join(event.text for event in fake.events()) == "".join(f"{number} " for number in range(5_000))


async def test_given_distinct_messages_without_end_when_closed_then_only_the_latest_of_the_overflow_is_kept(
    fake: FakeLedger,
) -> None:
    outbox = outbox_on(fake)
    for number in range(5_000):
        outbox.progress(f"message {number}", None)
    await outbox.close()

    assert len(fake.events()) <= 200
    assert fake.events()[-1].message == "message 4999"


async def test_given_distinct_messages_between_texts_when_closed_then_all_text_arrived_in_few_events(
    fake: FakeLedger,
) -> None:
    outbox = outbox_on(fake)
    for number in range(5_000):
        outbox.text(f"{number} ")
        outbox.progress(f"message {number}", None)
    await outbox.close()

    assert len(fake.events()) <= 202
    assert fake.events()[-1].message == "message 4999"
    told = [event for event in fake.events() if event.type is EventType.STEP_TEXT]
    whole = "".join(f"{number} " for number in range(5_000))
    assert "".join(event.text for event in told) == whole
    assert all(whole[event.text_offset :].startswith(event.text) for event in told)


async def test_given_a_very_long_message_when_reported_then_it_is_cut(fake: FakeLedger) -> None:
    outbox = outbox_on(fake)
    outbox.progress("x" * 10_000, None)
    await outbox.close()

    assert len(fake.events()[0].message) == MAX_EVENT_MESSAGE_CHARS


async def test_given_replies_that_are_lost_when_reports_are_sent_again_then_each_is_told_once(fake: FakeLedger) -> None:
    lost = iter([True, False, True, True, False])
    fake.fate = lambda name: Fate.REPLY_LOST if name == "append_events" and next(lost, False) else Fate.ARRIVES
    outbox = outbox_on(fake)
    for word in ("one ", "two ", "three "):
        outbox.text(word)
        outbox.progress(word, None)
        await asyncio.sleep(0.1)
    await outbox.close()

    assert "".join(event.text for event in fake.events()) == "one two three "


async def test_given_a_stale_attempt_when_it_reports_then_it_is_told_and_its_reports_are_dropped(
    fake: FakeLedger,
) -> None:
    told: list[bool] = []
    outbox = Outbox(fake, "w.1", GRANT, lambda: told.append(True))
    outbox.text("hello")
    await outbox.close()
    outbox.text("still there?")
    await outbox.close()

    assert (told, fake.events()) == ([True], [])


async def test_given_a_full_store_when_reports_are_refused_then_the_attempt_can_still_be_settled(
    fake: FakeLedger,
) -> None:
    def refuse(*_: object) -> bool:
        raise ResourceExhausted("full")

    fake._append = refuse  # type: ignore[method-assign]
    outbox = outbox_on(fake)
    outbox.text("hello")

    await asyncio.wait_for(outbox.close(), 30)
