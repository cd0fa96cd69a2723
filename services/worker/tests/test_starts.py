"""Attempts start in order and in bunches, and what has ended is settled with its bunch, not one by one."""

from __future__ import annotations

import asyncio
import contextvars

import pytest
from waybill_worker import starts as starts_module
from waybill_worker.attempt import Attempt
from waybill_worker.exchange import ExchangeLoop
from waybill_worker.execution import Execution
from waybill_worker.held import HeldSteps
from waybill_worker.pool import ProcessPool
from waybill_worker.starts import Starts
from worker_fake_ledger import FakeLedger, grant_of

from waybill.agent import AgentDefinition
from waybill.ledger.records import Outcome


class Noted:
    """Notes when it is begun and watched, and the turn of the loop between."""

    def __init__(self, number: int, journal: list[tuple[str, int]]) -> None:
        self._number = number
        self._journal = journal

    def begin(self, context: contextvars.Context) -> None:
        """Note it, and run a little later."""
        self._journal.append(("begun", self._number))
        asyncio.get_running_loop().call_soon(lambda: self._journal.append(("ran", self._number)), context=context)

    def watch(self) -> None:
        """Note it."""
        self._journal.append(("watched", self._number))


async def quiet(starts: Starts) -> None:
    """Wait until nothing is being started."""
    silence = asyncio.Event()
    starts.on_quiet = silence.set
    await asyncio.wait_for(silence.wait(), 30)


async def test_given_many_attempts_when_started_then_each_has_run_before_it_is_watched_and_all_in_order() -> None:
    starts, journal = Starts(), []
    for number in range(200):
        starts.add(Noted(number, journal))

    await quiet(starts)

    for event in ("begun", "ran", "watched"):
        assert [number for what, number in journal if what == event] == list(range(200))
    for number in range(200):
        assert [what for what, other in journal if other == number] == ["begun", "ran", "watched"]
    assert not starts.gathering


async def test_given_a_lone_attempt_when_added_then_it_begins_at_once() -> None:
    starts, journal = Starts(), []

    starts.add(Noted(1, journal))

    assert journal == [("begun", 1)]
    assert starts.gathering
    await quiet(starts)


async def test_given_bunches_that_take_long_when_started_then_they_get_smaller_and_nothing_waits_for_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(starts_module, "LONG_BUNCH_SECONDS", -1.0)
    starts, journal, told = Starts(), [], []
    starts.on_quiet = lambda: told.append(len(journal))
    for number in range(20):
        starts.add(Noted(number, journal))

    while sum(what == "watched" for what, _ in journal) < 20:
        await asyncio.sleep(0)
        assert not starts.gathering or ("watched", 0) not in journal

    assert len(told) == 20, "with the loop held for long, each is started by itself and told of"


@pytest.mark.parametrize("turns", [0, 1])
async def test_given_agents_that_end_at_once_when_a_batch_is_granted_then_one_exchange_settles_it(
    fake: FakeLedger, agents: dict[str, AgentDefinition], pool: ProcessPool, turns: int
) -> None:
    execution = Execution(fake, "w.1", agents, pool)
    held = HeldSteps(32, lambda grant, on_end, slot: Attempt(grant, execution, on_end, slot), execution.starts)
    loop = ExchangeLoop(fake, "w.1", sorted(agents), held, lambda: pytest.fail("the worker is known"))
    # The first attempt of a process imports what all need, which takes long.
    fake.offer_step(grant_of("remembering", {"value": "warm"}, number=1000))
    running = asyncio.create_task(loop.run())
    await fake.settled(1)
    for number in range(1, 33):
        fake.offer_step(grant_of("remembering", {"value": f"{number}", "turns": turns}, number=number))

    settled = (await fake.settled(33))[1:]

    loop.drain()
    await asyncio.wait_for(running, 30)
    assert {item.outcome for item in settled} == {Outcome.SUCCEEDED}
    assert [item.output for item in sorted(settled, key=lambda item: item.ref.number)] == [
        f'["nothing","{number}"]'.encode() for number in range(1, 33)
    ], "what one attempt puts into its context is nothing to another"
    assert len(fake.calls) <= 8


async def test_given_more_steps_than_slots_when_one_starts_after_another_then_it_gets_nothing_of_its_context(
    fake: FakeLedger, agents: dict[str, AgentDefinition], pool: ProcessPool
) -> None:
    execution = Execution(fake, "w.1", agents, pool)
    held = HeldSteps(1, lambda grant, on_end, slot: Attempt(grant, execution, on_end, slot), execution.starts)
    for number in range(1, 6):
        grant = grant_of("remembering", {"value": f"{number}", "turns": number % 2}, number=number)
        held.add(grant)

    while held.running:
        await asyncio.sleep(0)

    assert [item.output for item in held.settlements()] == [
        f'["nothing","{number}"]'.encode() for number in range(1, 6)
    ]
