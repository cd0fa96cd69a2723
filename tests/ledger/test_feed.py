"""The feed: each end of a task is told once, in order, to readers that break off anywhere and go on from any place."""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random

import pytest
import redis.asyncio
from ledger_hand import Hand, failed, succeeded
from ledger_plans import accept, graph, side_by_side

from waybill.core.task import TaskState
from waybill.errors import OutOfRange
from waybill.ledger import feed, keys
from waybill.ledger.ended import SEVERAL_SINKS
from waybill.ledger.feed import FeedEnds, FeedPlace
from waybill.ledger.ledger import Ledger

ONE = graph({"only": []})
START = FeedPlace(0)
WEEK_MS = 604_800_000


@dataclass
class Reader:
    """One reader of a feed: what it was told, and the place after each of that."""

    ledger: Ledger
    place: FeedPlace = START
    told: list[tuple[str, int]] = field(default_factory=list)
    places: list[FeedPlace] = field(default_factory=lambda: [START])

    async def read(self, limit: int) -> None:
        """Read one page."""
        for task in await self.ledger.ends_after("acme", self.place, limit):
            self.told.append((task.id, task.ended_ms))
            self.place = FeedPlace(task.number, task.id, task.ended_ms)
            self.places.append(self.place)

    def go_back(self, count: int) -> None:
        """Forget the newest so many that were told, as one who broke off before they arrived."""
        count = min(count, len(self.places) - 1)
        for _ in range(count):
            forgotten = self.places.pop()
            if forgotten.task:
                self.told.pop()
        self.place = self.places[-1]


async def ended(ledger: Ledger, hand: Hand, count: int = 1) -> list[str]:
    """Tasks that have succeeded, in the order of their ends."""
    tasks = []
    for _ in range(count):
        tasks.append(await accept(ledger, ONE))
        await hand.run_all()
    return tasks


async def test_given_ends_in_one_call_when_read_then_each_has_a_number_and_the_bell_rang_once(
    ledger: Ledger, hand: Hand, store: redis.asyncio.Redis
) -> None:
    tasks = [await accept(ledger, ONE) for _ in range(3)]
    other = await accept(ledger, ONE, tenant="other")
    granted = await hand.take()
    async with store.pubsub(ignore_subscribe_messages=True) as bell:
        await bell.subscribe(keys.key("0", "bell", "feed:acme"))
        await bell.get_message(timeout=1)
        await hand.exchange(*map(succeeded, granted))
        assert (await bell.get_message(timeout=5) or {})["data"] == b"3"
        assert await bell.get_message(timeout=0.05) is None
    page = await ledger.feed_after("acme", START, 10)
    assert [number for number, _ in page] == [1, 2, 3]
    assert {task for _, task in page} == set(tasks)
    assert await ledger.feed_after("acme", START, 2) == page[:2]
    assert await ledger.feed_after("other", START, 10) == [(1, other)]
    assert await ledger.feed_after("nobody", START, 10) == []
    assert await ledger.feed_ends("acme") == FeedEnds(3, 0)


async def test_given_every_kind_of_end_when_read_then_all_are_told(ledger: Ledger, hand: Hand) -> None:
    cancelled = await accept(ledger, goal="g")
    await ledger.cancel(cancelled)
    called_off = await accept(ledger, ONE, start_ms=ledger.clock_ms + 1_000)
    await ledger.cancel(called_off)
    broken = await accept(ledger, ONE)
    (grant,) = await hand.take()
    await hand.exchange(failed(grant, final=True))
    late = await accept(ledger, goal="g", deadline_ms=10)
    ledger.clock_ms += 10
    await ledger.tick()
    page = await ledger.feed_after("acme", START, 10)
    assert [task for _, task in page] == [cancelled, called_off, broken, late]


async def test_given_a_retried_task_when_it_ends_again_then_only_its_last_end_is_there(
    ledger: Ledger, hand: Hand
) -> None:
    task_id = await accept(ledger, ONE)
    await ledger.cancel(task_id)
    (other,) = await ended(ledger, hand)
    place = FeedPlace(1, task_id, ledger.clock_ms)
    await ledger.retry(task_id)
    assert await ledger.feed_after("acme", START, 10) == [(2, other)]
    await hand.run_all()
    assert await ledger.feed_after("acme", place, 10) == [(2, other), (3, task_id)]


async def test_given_outputs_when_results_are_read_then_they_come_with_their_steps(ledger: Ledger, hand: Hand) -> None:
    single, several = await accept(ledger, ONE), await accept(ledger, graph(side_by_side(2)))
    await hand.run_all()
    bad = await accept(ledger, goal="g")
    await ledger.cancel(bad)
    records = await ledger.ends_of("acme", [single, bad, several])
    assert await ledger.result_bytes(records) == [1, 0, 2]
    assert await ledger.results(records) == [[("", b"1")], [], [("p0", b"1"), ("p1", b"1")]]
    ledger.clock_ms += WEEK_MS
    await ledger.expire(10)
    assert await ledger.results(records) == [None, [], None]


async def test_given_small_outputs_when_ends_are_read_then_they_come_along_up_to_a_size(
    ledger: Ledger, hand: Hand, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed, "SMALL_OUTPUT_BYTES", 40)
    monkeypatch.setattr(feed, "OUTPUTS_A_READ_BYTES", 100)
    sizes = [30, 41, 40, 31, 30]
    for size in sizes:
        await accept(ledger, ONE)
        (grant,) = await hand.take()
        await hand.exchange(succeeded(grant, b'"' + b"x" * (size - 2) + b'"'))
    await accept(ledger, graph(side_by_side(2)))
    await hand.run_all()
    await ledger.cancel(await accept(ledger, goal="g"))
    ends = await ledger.ends_after("acme", START, 10)
    assert [end.output_bytes for end in ends] == [*sizes, SEVERAL_SINKS, 0]
    assert [end.output is not None for end in ends] == [True, False, True, False, True, False, False]
    assert [end.lacks_output for end in ends] == [False, True, False, True, False, True, False]
    assert ends == await ledger.ends_of("acme", [end.id for end in ends])
    monkeypatch.setattr(feed, "_TASKS_A_READ", 2)
    names = [end.id for end in reversed(ends)]
    assert [end.id for end in await ledger.ends_of("acme", names)] == names
    assert [end.number for end in ends] == [1, 2, 3, 4, 5, 6, 7]


async def test_given_names_that_nobody_has_when_ends_are_read_then_they_are_empty(ledger: Ledger) -> None:
    (nobody,) = await ledger.ends_of("acme", ["0-nobody"])
    assert (nobody.state, nobody.number, nobody.last_sequence, nobody.output) == ("", 0, 0, None)
    assert await ledger.ends_of("acme", []) == []
    assert await ledger.ends_after("acme", START, 10) == []


async def test_given_a_reader_who_lags_when_results_expire_then_it_is_told(ledger: Ledger, hand: Hand) -> None:
    tasks = await ended(ledger, hand, 2)
    ended_ms = ledger.clock_ms
    ledger.clock_ms += WEEK_MS
    await hand.renew()
    (newest,) = await ended(ledger, hand)
    assert await ledger.expire(100) == 2
    assert await ledger.feed_ends("acme") == FeedEnds(3, 2)
    assert await ledger.feed_after("acme", FeedPlace(2, tasks[1], ended_ms), 10) == [(3, newest)]
    with pytest.raises(OutOfRange) as caught:
        await ledger.feed_after("acme", FeedPlace(1, tasks[0], ended_ms), 10)
    assert caught.value.reason == "CURSOR_EXPIRED"
    assert await ledger.feed_after("acme", FeedPlace(1), 10, may_lack=True) == [(3, newest)]


async def test_given_a_place_that_never_was_when_read_then_it_is_not_known(ledger: Ledger, hand: Hand) -> None:
    first, second = await ended(ledger, hand, 2)
    now = ledger.clock_ms
    for place in (FeedPlace(3), FeedPlace(2, first, now), FeedPlace(2, second, now - 1)):
        with pytest.raises(OutOfRange) as caught:
            await ledger.feed_after("acme", place, 10)
        assert caught.value.reason == "CURSOR_UNKNOWN"


@pytest.mark.parametrize("seed", range(12))
async def test_given_anything_that_happens_when_readers_break_off_then_each_end_is_told_once(
    ledger: Ledger, hand: Hand, seed: int
) -> None:
    random = Random(seed)
    standing: dict[str, int] = {}
    lost: set[tuple[str, int]] = set()
    ends: list[tuple[str, int]] = []
    reader = Reader(ledger)

    async def note(task_id: str) -> None:
        record = await ledger.task(task_id)
        assert record.state.ended
        standing[task_id] = record.ended_ms
        ends.append((task_id, record.ended_ms))

    async def end() -> None:
        task_id = await accept(ledger, ONE)
        if random.random() < 0.5:
            await ledger.cancel(task_id)
        await hand.run_all()
        await note(task_id)

    async def retry() -> None:
        stopped = [task_id for task_id in standing if (await ledger.task(task_id)).state is TaskState.CANCELLED]
        if stopped:
            task_id = random.choice(stopped)
            await ledger.retry(task_id)
            del standing[task_id]
            if random.random() < 0.7:
                await hand.run_all()
                await note(task_id)
            else:
                await ledger.cancel(task_id)
                await note(task_id)

    async def expire() -> None:
        ledger.clock_ms += random.choice([1_000, WEEK_MS // 3, WEEK_MS])
        await hand.renew()
        await ledger.expire(random.choice([1, 100]))
        for task_id in [task_id for task_id in standing if await ledger.tasks([task_id]) == [None]]:
            lost.add((task_id, standing.pop(task_id)))

    async def read() -> None:
        if random.random() < 0.3:
            reader.go_back(random.randint(1, 4))
        reason = ""
        try:
            await reader.read(random.choice([1, 2, 100]))
        except OutOfRange as error:
            reason = error.reason
        assert reason in ("", "CURSOR_EXPIRED")
        if reason:
            missed = lost - set(reader.told)
            assert missed, "the reader has missed nothing"
            reader.place = FeedPlace((await ledger.feed_ends("acme")).lost)
            reader.places.append(reader.place)

    for _ in range(60):
        ledger.clock_ms += 1
        await random.choice([end, end, end, retry, expire, read, read, read])()
    for _ in range(3):
        await read()
        await reader.read(1_000)
    assert len(set(reader.told)) == len(reader.told), "an end was told twice"
    assert set(standing.items()) <= set(reader.told)
    assert [end for end in ends if end in set(reader.told)] == reader.told
