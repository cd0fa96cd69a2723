"""A worker in this process on a fake ledger: cancellation, loss, outages and drain."""

from __future__ import annotations

import asyncio

import pytest
from waybill_worker import heartbeat
from waybill_worker.pool import ProcessPool
from waybill_worker.worker import Worker, drain_within
from worker_fake_ledger import FakeLedger, grant_of, outcomes

from waybill.ledger.records import Outcome


@pytest.fixture(autouse=True)
def quick_heart(monkeypatch: pytest.MonkeyPatch) -> None:
    """Heartbeats follow at once."""
    monkeypatch.setattr(heartbeat, "INTERVAL_SECONDS", 0.01)


async def registered(fake: FakeLedger, times: int = 1) -> None:
    async with asyncio.timeout(30):
        while len(fake.offers) < times:
            await asyncio.sleep(0.002)


async def test_given_a_worker_when_it_starts_then_it_announces_itself_and_its_agents(
    worker: Worker, fake: FakeLedger
) -> None:
    await registered(fake)

    (offer,) = fake.offers
    assert (offer.id, offer.name, offer.slots) == (worker.id, "w", 2)
    assert offer.id.startswith("w.")
    assert {"echo", "pid-of-process"} <= {agent.name for agent in offer.agents}
    assert "words" in next(agent.input_schema for agent in offer.agents if agent.name == "chatty")


async def test_given_steps_of_every_kind_when_offered_then_each_is_settled(worker: Worker, fake: FakeLedger) -> None:
    fake.offer_step(grant_of("echo", {"value": 5}, number=1))
    fake.offer_step(grant_of("pid-of-process", number=2))
    fake.offer_step(grant_of("in-thread", {"words": ["a"]}, number=3))
    fake.offer_step(grant_of("failing", {"kind": "exit_in_task"}, number=4))
    fake.offer_step(grant_of("dying", {"how": "exit"}, number=5))
    fake.offer_step(grant_of("unheard-of", number=6))

    settled = {item.ref.number: item for item in await fake.settled(6)}

    assert [settled[number].outcome for number in (1, 2, 3)] == [Outcome.SUCCEEDED] * 3
    assert [settled[number].failure.reason for number in (4, 5, 6)] == [  # type: ignore[union-attr]
        "AGENT_ERROR",
        "PROCESS_DIED",
        "AGENT_UNKNOWN",
    ]


@pytest.mark.parametrize("announced", [True, False])
@pytest.mark.parametrize("agent", ["sleeper", "hanging"])
async def test_given_a_running_step_when_its_task_is_cancelled_then_it_stops_whichever_way_the_word_comes(
    worker: Worker, fake: FakeLedger, agent: str, announced: bool
) -> None:
    ref = fake.offer_step(grant_of(agent))
    await fake.reported()

    fake.cancel_step(ref, announce=announced)

    assert outcomes(await fake.settled()) == [Outcome.CANCELLED]


async def test_given_the_ledger_forgot_the_worker_when_it_hears_so_then_it_registers_and_starts_over(
    worker: Worker, fake: FakeLedger
) -> None:
    ref = fake.offer_step(grant_of("sleeper", {"seconds": 0.3}))
    await fake.reported()

    fake.forget_worker()

    (settlement,) = await fake.settled()
    assert (settlement.ref.number, settlement.ref.attempt) == (ref.number, 2)
    assert {offer.id for offer in fake.offers} == {worker.id}
    assert len(fake.offers) >= 2


async def test_given_a_step_was_taken_away_when_the_heartbeat_says_so_then_it_is_stopped_without_a_word(
    worker: Worker, fake: FakeLedger
) -> None:
    ref = fake.offer_step(grant_of("sleeper"))
    await fake.reported()

    del fake.held[ref]

    async with asyncio.timeout(30):
        while worker.status.running:
            await asyncio.sleep(0.002)
    assert fake.settlements() == []


async def test_given_the_store_goes_away_when_it_is_back_then_what_ended_meanwhile_is_settled(
    worker: Worker, fake: FakeLedger
) -> None:
    await registered(fake)
    for number in (1, 2):
        fake.offer_step(grant_of("chatty", {"words": ["a"] * 50}, number=number))
    async with asyncio.timeout(30):
        while not worker.status.running:
            await asyncio.sleep(0)
    fake.away = True
    await asyncio.sleep(0.2)
    assert len(fake.settlements()) < 2

    fake.away = False

    assert outcomes(await fake.settled(2)) == [Outcome.SUCCEEDED] * 2
    assert "".join(event.text for event in fake.events()) == "a" * 100


async def test_given_the_store_is_away_at_the_start_when_it_comes_then_the_worker_becomes_ready(
    fake: FakeLedger, worker: Worker
) -> None:
    fake.away = True
    await asyncio.sleep(0.05)
    assert not await worker.ready()

    fake.away = False

    async with asyncio.timeout(30):
        while not await worker.ready():
            await asyncio.sleep(0.002)


async def test_given_running_and_waiting_steps_when_drained_then_the_first_end_and_the_rest_go_untouched(
    fake: FakeLedger, agents: dict[str, object], pool: ProcessPool
) -> None:
    made = Worker(fake, agents, pool, name="w", slots=2)  # type: ignore[arg-type]
    for number in (1, 2):
        fake.offer_step(grant_of("sleeper", {"seconds": 0.3}, number=number))
    running = asyncio.create_task(made.run("127.0.0.1:1"))
    await fake.reported(2)
    waiting = fake.offer_step(grant_of("sleeper", number=3))

    await drain_within(made, running, grace_seconds=30)

    assert running.done()
    assert outcomes(fake.settlements()) == [Outcome.SUCCEEDED] * 2
    assert [grant.ref for grant in fake.queue] == [waiting]
    assert not fake.known, "it said goodbye"


@pytest.mark.parametrize("agent", ["sleeper", "hanging"])
async def test_given_a_step_longer_than_the_grace_when_drained_then_it_is_interrupted_and_handed_back(
    fake: FakeLedger, agents: dict[str, object], pool: ProcessPool, agent: str
) -> None:
    made = Worker(fake, agents, pool, name="w", slots=2)  # type: ignore[arg-type]
    fake.offer_step(grant_of(agent))
    running = asyncio.create_task(made.run("127.0.0.1:1"))
    await fake.reported()

    await drain_within(made, running, grace_seconds=2.0)

    assert outcomes(fake.settlements()) == [Outcome.HANDED_BACK]


async def test_given_the_store_is_away_when_drained_then_the_worker_ends_all_the_same(
    fake: FakeLedger, agents: dict[str, object], pool: ProcessPool
) -> None:
    made = Worker(fake, agents, pool, name="w", slots=2)  # type: ignore[arg-type]
    fake.offer_step(grant_of("sleeper"))
    running = asyncio.create_task(made.run("127.0.0.1:1"))
    await fake.reported()
    fake.away = True

    await drain_within(made, running, grace_seconds=0.1)

    assert running.done()
