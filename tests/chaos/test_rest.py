"""The check of the store at rest finds what is left, on a real store."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import redis.asyncio

from chaos import rest
from chaos.checks import Kind
from waybill.core.plan import Graph, LinkedStep, PlanStep
from waybill.ledger import keys
from waybill.ledger.ledger import Ledger
from waybill.ledger.records import AgentOffer, NewTask, Outcome, Settlement, WorkerOffer

WORKER = "worker-1.a"
ONE_STEP = Graph((LinkedStep(PlanStep("only", "echo"), (), (), ()),))


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rest, "REST_SECONDS", 1.0)


@pytest.fixture
async def store(embedded_url: str) -> AsyncIterator[redis.asyncio.Redis]:
    client = redis.asyncio.Redis.from_url(embedded_url)
    yield client
    await client.aclose()


@pytest.fixture
async def ledger(embedded_url: str) -> AsyncIterator[Ledger]:
    opened = Ledger(embedded_url)
    await opened.connect()
    await opened.register(WorkerOffer(WORKER, "worker-1", "127.0.0.1:1", 4, (AgentOffer("echo", "", "{}", ""),)))
    yield opened
    await opened.close()


async def submit(ledger: Ledger) -> None:
    await ledger.submit([NewTask("0-abc", "chaos", "r1", "f", graph=ONE_STEP)])


async def run(ledger: Ledger) -> None:
    """Submit a task of one step and see it through."""
    await submit(ledger)
    taken = await ledger.exchange(WORKER, 1, 0, [], [], ["echo"], 4)
    await ledger.exchange(WORKER, 2, 1, [Settlement(taken.grants[0].ref, Outcome.SUCCEEDED, b"1")], [], ["echo"], 4)


async def test_given_an_ended_task_then_the_store_is_at_rest_and_expiry_leaves_nothing(
    ledger: Ledger, store: redis.asyncio.Redis, embedded_url: str
) -> None:
    await run(ledger)
    assert await rest.at_rest(store) == []
    assert await rest.expired(embedded_url, store) == []
    assert [name async for name in store.scan_iter(keys.prefix("0") + ":task:*")] == []


async def test_given_a_task_that_waits_then_its_queue_and_its_keys_are_leaks(
    ledger: Ledger, store: redis.asyncio.Redis
) -> None:
    await submit(ledger)
    found = await rest.at_rest(store)
    assert {violation.kind for violation in found} == {Kind.LEAK}
    subjects = {violation.subject for violation in found}
    assert keys.key("0", "queue", "echo", "normal") in subjects
    assert keys.key("0", "task", "0-abc") in subjects
    assert keys.key("0", "request", "chaos", "r1") in subjects


async def test_given_a_step_that_is_held_then_the_held_set_is_a_leak(
    ledger: Ledger, store: redis.asyncio.Redis
) -> None:
    await submit(ledger)
    await ledger.exchange(WORKER, 1, 0, [], [], ["echo"], 4)
    assert keys.key("0", "held", WORKER) in {violation.subject for violation in await rest.at_rest(store)}


@pytest.mark.parametrize("kind", ["timers", "planning", "sweep"])
async def test_given_something_in_what_is_empty_at_rest_then_it_is_a_leak(
    ledger: Ledger, store: redis.asyncio.Redis, kind: str
) -> None:
    name = keys.key("0", kind)
    if keys.KEYS[kind].type == "zset":
        await store.zadd(name, {"0-abc:1:1": 1})
    else:
        await store.sadd(name, "echo:normal")
    assert [violation.subject for violation in await rest.at_rest(store)] == [name]


async def test_given_a_key_that_outlives_its_task_then_expiry_finds_it(
    ledger: Ledger, store: redis.asyncio.Redis, embedded_url: str
) -> None:
    await run(ledger)
    name = keys.key("0", "events", "0-forgotten")
    await store.rpush(name, "{}")
    assert name in {violation.subject for violation in await rest.expired(embedded_url, store)}


async def test_given_a_key_that_nobody_knows_then_it_is_a_leak(ledger: Ledger, store: redis.asyncio.Redis) -> None:
    name = keys.prefix("0") + ":surprise:1"
    await store.set(name, "x")
    assert [violation.subject for violation in await rest.at_rest(store)] == [name]
