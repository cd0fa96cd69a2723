"""The store at rest: what may still be in it when every task has ended, and when every task has expired."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import redis.asyncio

from chaos.checks import Kind, Violation
from waybill.ledger import keys
from waybill.ledger.ledger import Ledger

REST_SECONDS = 20.0
"""How long the store may take to come to rest: dead workers lapse, rooms are swept."""
FAR_FUTURE_MS = 10_000 * 365 * 24 * 3600 * 1000
FOR_GOOD = frozenset({"agents", "pace", "queues", "pulse", "policy", "queue"})
"""Kinds of keys that stay when every task is gone; `queue` is then an empty stream."""
OF_TASKS = frozenset({"task", "documents", "events", "request"})
"""Kinds of keys that go with their task; all but `request` have its id for the rest of their name."""
EMPTY = frozenset({"planning", "timers", "held", "ready", "waiting", "sweep"})
"""Kinds of keys that are gone when nothing runs, besides those whose description says so."""


async def at_rest(store: redis.asyncio.Redis) -> list[Violation]:
    """What is left once no task runs. Waits for the store to come to rest, for a bounded time."""
    deadline = time.monotonic() + REST_SECONDS
    while (found := await _unrest(store)) and time.monotonic() < deadline:
        await asyncio.sleep(0.5)
    return found


async def expired(url: str, store: redis.asyncio.Redis) -> list[Violation]:
    """What is left once every task has expired, by a clock that is far ahead; call it when no service runs."""
    ledger = Ledger(url)
    try:
        for worker in await ledger.workers():
            await ledger.unregister(worker.id)
        ledger.clock_ms = FAR_FUTURE_MS
        for _ in range(3):
            await ledger.tick()
            ledger.clock_ms += 1_000
        while await ledger.expire(1_000):
            pass
    finally:
        await ledger.close()
    found = []
    for name, kind, _ in await _all_keys(store):
        if kind not in FOR_GOOD and not await _may_stay(store, name, kind):
            found.append(Violation(Kind.LEAK, name, "is left when every task has expired"))
    return found


async def _may_stay(store: redis.asyncio.Redis, name: str, kind: str) -> bool:
    """Whether a key of a kind that the campaign does not know may stay: by its own lifetime, or by its description."""
    return await store.pttl(name) > 0 or (kind in keys.KEYS and "for good" in keys.KEYS[kind].lifetime)


async def _unrest(store: redis.asyncio.Redis) -> list[Violation]:
    found: list[Violation] = []
    expiring = {_text(member) for member in await store.zrange(keys.key("0", "expiry"), 0, -1)}
    for name, kind, rest in await _all_keys(store):
        lasts = await store.pttl(name) < 0
        if kind not in keys.KEYS:
            found.append(Violation(Kind.LEAK, name, "is no key of the ledger"))
            continue
        if kind == "queue":
            found += await _queue(store, name)
        elif kind == "request":
            rest = _text(await store.get(name) or b"").partition("|")[0]
        if lasts and kind in OF_TASKS and rest not in expiring:
            found.append(Violation(Kind.LEAK, name, "has no lifetime"))
        if lasts and kind != "queue" and _empty_at_rest(kind):
            found.append(Violation(Kind.LEAK, name, "is not empty at rest"))
    return found


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _empty_at_rest(kind: str) -> bool:
    return kind in EMPTY or "empty at rest" in keys.KEYS[kind].lifetime


async def _queue(store: redis.asyncio.Redis, name: str) -> list[Violation]:
    entries, pending = await store.xlen(name), (await store.xpending(name, keys.GROUP))["pending"]
    if entries or pending:
        return [Violation(Kind.LEAK, name, f"has {entries} entries and {pending} pending ones at rest")]
    return []


async def _all_keys(store: redis.asyncio.Redis) -> list[tuple[str, str, str]]:
    """Every key as its name, its kind and the rest of it."""
    found = []
    async for raw in store.scan_iter(count=1_000):
        name = _text(raw)
        kind, _, rest = name.removeprefix(keys.prefix("0") + ":").partition(":")
        found.append((name, kind, rest))
    return found
