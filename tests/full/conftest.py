"""Stores of a test's own, small enough to be filled, and a ledger on each whose clock stands still."""

from __future__ import annotations

import shutil
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "ledger"))
sys.path.insert(0, str(Path(__file__).parent))

from full_stores import DurableServer, running
from ledger_hand import Hand
from store_servers import Server, binary_of

from waybill.ledger.ledger import Ledger

START_MS = 1_700_000_000_000


@pytest.fixture(params=["embedded", *(["redis"] if shutil.which("redis-server") else [])])
def binary(request: pytest.FixtureRequest) -> str:
    """The server to run: the embedded one, and Redis itself where it is installed."""
    return binary_of(request.param)


@pytest.fixture
def server(binary: str, tmp_path: Path) -> Iterator[Server]:
    """A server without files that refuses writes when its memory is full."""
    with running(Server(binary, tmp_path, ("--maxmemory-policy", "noeviction"))) as started:
        yield started


@pytest.fixture
def durable(binary: str, tmp_path: Path) -> Iterator[DurableServer]:
    """A server with the recommended settings: each write is on the disk before its reply."""
    with running(DurableServer(binary, tmp_path, ("--appendfsync", "always"))) as started:
        yield started


@pytest.fixture
def lazy(binary: str, tmp_path: Path) -> Iterator[DurableServer]:
    """A server that writes its file at once and forces it to the disk once a second."""
    with running(DurableServer(binary, tmp_path, ("--appendfsync", "everysec"))) as started:
        yield started


@pytest.fixture
async def open_ledger() -> AsyncIterator[Callable[[Server], Awaitable[Ledger]]]:
    """Opens ledgers on servers, with a clock that only the test moves, and closes them."""
    opened: list[Ledger] = []

    async def begin(server: Server) -> Ledger:
        ledger = Ledger(server.url, clock_ms=START_MS)
        opened.append(ledger)
        await ledger.connect()
        return ledger

    yield begin
    for ledger in opened:
        await ledger.close()


@pytest.fixture
async def ledger(server: Server, open_ledger: Callable[[Server], Awaitable[Ledger]]) -> Ledger:
    """The ledger on `server`."""
    return await open_ledger(server)


@pytest.fixture
async def hand(ledger: Ledger) -> Hand:
    """A registered worker of agent `echo` with 16 slots, on `server`."""
    return await Hand(ledger).register()
