"""Fixtures of the ledger's tests: a ledger whose clock stands still, a hand-driven worker, a plain client."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import redis.asyncio

sys.path.insert(0, str(Path(__file__).parent))

from ledger_hand import Hand
from store_servers import plain_url

from waybill.ledger.ledger import Ledger

START_MS = 1_700_000_000_000


@pytest.fixture
def ledger(ledger: Ledger) -> Ledger:
    """The ledger with a clock that only the test moves, by `ledger.clock_ms`."""
    ledger.clock_ms = START_MS
    return ledger


@pytest.fixture
async def store(store_url: str) -> AsyncIterator[redis.asyncio.Redis]:
    """A plain client of the server that owns the ledger's partition."""
    client = redis.asyncio.Redis.from_url(plain_url(store_url))
    yield client
    await client.aclose()


@pytest.fixture
async def hand(ledger: Ledger) -> Hand:
    """A registered worker of agent `echo` with 16 slots."""
    return await Hand(ledger).register()
