"""Clients that watch through a gateway while everything behind it breaks: what they fold is the history in the end."""

from __future__ import annotations

import asyncio
import itertools
import random

import pytest

from waybill import Client
from waybill.core.task import EventType

TASK = "tasks/t1"
WATCHERS = 4
ACTS = 25


async def fold(client: Client, sequences: list[int]) -> list[tuple[int, int]]:
    """Watch to the end; numbers and digests of what was seen since the last reset."""
    folded: list[tuple[int, int]] = []
    async for event in client.watch(TASK):
        if event.type is EventType.STREAM_RESET:
            folded.clear()
        else:
            folded.append((event.sequence, event.digest))
        sequences.append(event.sequence)
    return folded


async def disturb(dispatcher, chance: random.Random) -> None:
    """Let something happen: news, an end that is taken back, a break, a restart, a failover that loses events."""
    count = len(dispatcher.events[TASK])
    match chance.choice(("emit", "emit", "retry", "break", "lose", "restart", "restart and lose", "wait")):
        case "emit":
            await dispatcher.emit(TASK, chance.randint(1, 5))
        case "retry":
            await dispatcher.finish_and_retry(TASK)
        case "break":
            await dispatcher.break_streams()
        case "lose":
            await dispatcher.lose(TASK, chance.randint(1, count), f"lost {chance.random()}")
        case "restart":
            await dispatcher.kill()
            await dispatcher.start()
        case "restart and lose":
            await dispatcher.kill()
            await dispatcher.lose(TASK, chance.randint(1, count), f"lost {chance.random()}")
            await dispatcher.start()
        case _:
            await asyncio.sleep(chance.uniform(0, 0.2))


@pytest.mark.parametrize("seed", range(6))
async def test_whatever_happens_what_a_watcher_folds_is_the_history(gateway, dispatcher, seed):
    chance = random.Random(seed)
    dispatcher.add_task(TASK)
    async with Client(f"127.0.0.1:{gateway.server.grpc_port}") as client:
        seen: list[list[int]] = [[] for _ in range(WATCHERS)]
        watchers = []
        for act in range(ACTS):
            if act % 5 == 0 and len(watchers) < WATCHERS:
                watchers.append(asyncio.create_task(fold(client, seen[len(watchers)])))
            await disturb(dispatcher, chance)
            await asyncio.sleep(chance.choice((0, 0, 0.02)))
        await dispatcher.emit(TASK, 2, finish=True)
        folded = await asyncio.gather(*watchers)
    history = [(event.sequence, event.digest) for event in dispatcher.events[TASK]]
    assert folded == [history] * WATCHERS
    for sequences in seen:
        assert all(after in (0, before + 1) for before, after in itertools.pairwise(sequences))
