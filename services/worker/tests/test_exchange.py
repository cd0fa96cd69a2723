"""The exchange loop: whatever is lost on the way, every step is started once and settled once."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Callable, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from waybill_worker import patience
from waybill_worker.attempt import Attempt, Stop
from waybill_worker.calls import Slot
from waybill_worker.exchange import ExchangeLoop
from waybill_worker.heartbeat import Heartbeat
from waybill_worker.held import HeldSteps
from waybill_worker.pulse import Pulse
from worker_fake_ledger import Call, FakeLedger, Fate, grant_of

from waybill.errors import NotFound, Unavailable
from waybill.ledger.records import Grant, Outcome, QueueEntry, Settlement, StepRef


class ShortAttempt(Attempt):
    """Ends after some turns of the loop, successfully."""

    def __init__(self, grant: Grant, turns: int, on_end: Callable[[Attempt, Settlement | None], None]) -> None:
        self.grant = grant
        self._end = on_end
        self._task = asyncio.get_running_loop().create_task(self._live(turns))

    async def _live(self, turns: int) -> None:
        for _ in range(turns):
            await asyncio.sleep(0)
        self._end(self, Settlement(self.grant.ref, Outcome.SUCCEEDED, b"null"))

    def stop(self, why: Stop) -> None:
        """Whether it is lost or not, it never lasts long."""


class Bench:
    """A loop with its heartbeat on a fake ledger."""

    def __init__(self, fake: FakeLedger, slots: int, turns: Sequence[int] = (1,)) -> None:
        self.started: list[StepRef] = []
        self.most_running = 0
        self.ledger = fake
        self._turns = turns
        self.held = HeldSteps(slots, self._start)
        self.loop = ExchangeLoop(fake, "w.1", ["echo"], self.held, self._never)
        self.heartbeat = Heartbeat(fake, "w.1", self.held, self.loop, self._never, Pulse())

    def _start(self, grant: Grant, on_end: Callable[[Attempt, Settlement | None], None], _: Slot) -> Attempt:
        self.started.append(grant.ref)
        self.most_running = max(self.most_running, self.held.running + 1)
        return ShortAttempt(grant, self._turns[grant.ref.number % len(self._turns)], on_end)

    async def _never(self) -> None:
        raise AssertionError("the ledger knows this worker all the time")

    async def run_until_settled(self, steps: int) -> None:
        """Run until so many steps are settled, then drain."""
        running = asyncio.create_task(self.loop.run())
        beating = asyncio.create_task(self._beat())
        try:
            await self.ledger.settled(steps)
        finally:
            self.loop.drain()
            await asyncio.wait_for(running, 30)
            beating.cancel()
            await asyncio.gather(beating, return_exceptions=True)

    async def _beat(self) -> None:
        while True:
            with contextlib.suppress(Unavailable, NotFound):
                await self.heartbeat.beat()
            await asyncio.sleep(0)


@given(
    steps=st.integers(1, 12),
    slots=st.integers(1, 5),
    most_per_exchange=st.integers(1, 5),
    turns=st.lists(st.integers(0, 6), min_size=1, max_size=4),
    fates=st.lists(st.sampled_from(Fate), max_size=60),
)
@settings(max_examples=150, deadline=None)
def test_given_lost_calls_and_replies_when_run_then_every_step_runs_once_and_is_settled_once(
    steps: int, slots: int, most_per_exchange: int, turns: list[int], fates: list[Fate]
) -> None:
    async def scenario() -> tuple[FakeLedger, Bench]:
        left = iter(fates)
        fake = FakeLedger(fate=lambda _: next(left, Fate.ARRIVES), most_per_exchange=most_per_exchange, known=True)
        for number in range(1, steps + 1):
            fake.offer_step(grant_of("echo", number=number))
        bench = Bench(fake, slots, turns)
        await bench.run_until_settled(steps)
        return fake, bench

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(patience, "FIRST_WAIT_SECONDS", 0.0)
        fake, bench = asyncio.run(scenario())

    refs = [StepRef("0-task", number, 1) for number in range(1, steps + 1)]
    assert Counter(bench.started) == Counter(refs)
    assert Counter(item.ref for item in fake.settlements()) == Counter(refs)
    assert fake.requeued == [], "a heartbeat never makes the ledger doubt what this worker holds"
    assert bench.most_running <= slots
    assert fake.most_in_flight == 1
    assert_numbered(fake.calls)
    assert fake.held == {}


def assert_numbered(calls: list[Call]) -> None:
    """One number a call, and the same arguments whenever a number is used again."""
    first: dict[int, Call] = {}
    for call in calls:
        assert first.setdefault(call.seq, call) == call
        assert call.seen == call.seq - 1
    assert sorted(first) == list(range(1, len(first) + 1))


async def test_given_steps_that_end_together_when_settled_then_one_exchange_takes_them_all(
    fake: FakeLedger,
) -> None:
    for number in range(1, 9):
        fake.offer_step(grant_of("echo", number=number))

    await Bench(fake, slots=8).run_until_settled(8)

    assert [len(call.settlements) for call in fake.calls if call.settlements] == [8]


async def test_given_a_chain_when_a_step_is_settled_then_the_same_call_brings_the_next(fake: FakeLedger) -> None:
    bench = Bench(fake, slots=4)
    length = 20
    apply = fake._exchange

    def settle_and_continue(call: Call) -> object:
        for settlement in call.settlements:
            if settlement.ref.number < length:
                fake.queue.append(grant_of("echo", number=settlement.ref.number + 1))
        return apply(call)

    fake._exchange = settle_and_continue  # type: ignore[method-assign,assignment]
    fake.offer_step(grant_of("echo", number=1))

    await bench.run_until_settled(length)

    assert len(fake.calls) <= length + 2


async def test_given_no_work_when_idle_then_the_loop_blocks_instead_of_exchanging(fake: FakeLedger) -> None:
    bench = Bench(fake, slots=4)
    running = asyncio.create_task(bench.loop.run())
    await asyncio.sleep(0.1)

    assert len(fake.calls) == 1

    bench.loop.drain()
    await running


async def test_given_a_batch_read_while_draining_when_the_loop_ends_then_the_batch_was_put_back(
    fake: FakeLedger,
) -> None:
    bench = Bench(fake, slots=1)
    read = asyncio.Event()
    let_go = asyncio.Event()

    async def slow_wait(*_: object) -> list[QueueEntry]:
        read.set()
        await let_go.wait()
        return fake._read()

    fake.wait_for_work = slow_wait  # type: ignore[method-assign]
    running = asyncio.create_task(bench.loop.run())
    await read.wait()
    ref = fake.offer_step(grant_of("echo"))

    bench.loop.drain()
    let_go.set()
    await asyncio.wait_for(running, 30)

    assert [grant.ref for grant in fake.queue] == [ref]
    assert bench.started == []
