"""A worker that the store is silent to is stuck; one whose store is away, or that has nothing to do, is not."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from waybill_worker.pulse import Pulse
from waybill_worker.worker import Worker
from worker_fake_ledger import FakeLedger

from waybill.errors import Unavailable

STUCK_SECONDS = 1.5
"""Longer than from heartbeat to heartbeat, shorter than a heartbeat lasts."""


def silence() -> Unavailable:
    """What a call comes to that gets no answer."""
    error = Unavailable("no answer")
    error.__cause__ = TimeoutError()
    return error


def refusal() -> Unavailable:
    """What a call comes to that nobody listens to."""
    error = Unavailable("refused")
    error.__cause__ = ConnectionRefusedError()
    return error


async def becomes(worker: Worker, alive: bool) -> None:
    """Return once the worker says so of itself."""
    async with asyncio.timeout(30):
        while worker.alive(STUCK_SECONDS) is not alive:
            await asyncio.sleep(0.01)


def raising(error: Callable[[], Unavailable]) -> Any:
    async def call(*_: object) -> None:
        raise error()

    return call


async def test_given_a_store_that_says_nothing_when_it_answers_again_then_the_worker_has_recovered(
    worker: Worker, fake: FakeLedger
) -> None:
    while not await worker.ready():
        await asyncio.sleep(0.01)
    renew = fake.renew

    fake.renew = raising(silence)  # type: ignore[method-assign]
    await becomes(worker, False)
    fake.renew = renew  # type: ignore[method-assign]

    await becomes(worker, True)


async def test_given_a_store_that_refuses_connections_when_it_stays_away_then_the_worker_lives(
    worker: Worker, fake: FakeLedger
) -> None:
    while not await worker.ready():
        await asyncio.sleep(0.01)

    fake.renew = fake.exchange = fake.wait_for_work = raising(refusal)  # type: ignore[method-assign]
    async with asyncio.timeout(30):
        while await worker.ready():
            await asyncio.sleep(0.01)

    assert worker.alive(STUCK_SECONDS), "its last reply is longer ago than that"


async def test_given_an_exchange_that_never_ends_when_the_store_answers_else_then_the_worker_is_stuck(
    worker: Worker, fake: FakeLedger
) -> None:
    while not await worker.ready():
        await asyncio.sleep(0.01)
    exchange, go = fake.exchange, asyncio.Event()

    async def hang(*args: Any) -> Any:
        await go.wait()
        return await exchange(*args)

    fake.exchange = hang  # type: ignore[method-assign]
    worker._exchange._queues_dry = False
    await becomes(worker, False)
    go.set()

    await becomes(worker, True)


async def test_given_a_worker_that_is_drained_when_it_has_ended_then_nothing_is_stuck(worker: Worker) -> None:
    while not await worker.ready():
        await asyncio.sleep(0.01)
    worker.drain()
    await asyncio.sleep(1.5 * STUCK_SECONDS)

    assert worker.alive(STUCK_SECONDS)


def test_given_an_answer_after_a_failure_when_asked_then_the_time_of_answers_begins_anew() -> None:
    pulse = Pulse()
    pulse.failed(silence())
    assert pulse.answering_seconds == 0

    silent_before = pulse.silent_seconds
    pulse.answered()

    assert pulse.silent_seconds <= silent_before + 1
    assert pulse.answering_seconds >= 0
