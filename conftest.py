"""Fixtures for every test of the project: real stores, and checks that nothing is left behind."""

from __future__ import annotations

import contextlib
import shutil
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import psutil
import pytest
import redis.asyncio
from hypothesis import HealthCheck, settings

sys.path.insert(0, str(Path(__file__).parent / "tests"))

from free_ports import free_port
from permanent_keys import PERMANENT
from store_servers import Servers, cluster, one_server, plain_url, watched

from waybill.errors import FailedPrecondition
from waybill.ledger import keys
from waybill.ledger.ledger import Ledger

# A busy machine is no fault of the code: no test judges how long something took.
settings.register_profile("waybill", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("waybill")

FAR_FUTURE_MS = 10_000 * 365 * 24 * 3600 * 1000


def store_kinds() -> list[str]:
    """The embedded server, Redis itself where it is installed, a cluster, and a master that Sentinels watch."""
    return ["embedded", *(["redis"] if shutil.which("redis-server") else []), "cluster", "sentinel"]


@contextlib.contextmanager
def running_store(kind: str, folder: Path) -> Iterator[Servers]:
    """A store of this kind, without persistence."""
    opener = {"cluster": cluster, "sentinel": watched}.get(kind)
    with opener(folder) if opener else one_server(kind, folder) as servers:
        yield servers


@pytest.fixture(scope="session", autouse=True)
def indexes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keeps what tests index out of the user's own cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WAYBILL_WORKER_INDEX_DIR", str(tmp_path_factory.mktemp("indexes")))
        yield


class Stores:
    """The stores of a session by kind, each started when it is first asked for."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._running: dict[str, Servers] = {}
        self._stack = contextlib.ExitStack()

    def empty(self, kind: str) -> str:
        """The URL of a store of this kind, without any data or functions."""
        if kind not in self._running:
            self._running[kind] = self._stack.enter_context(running_store(kind, self._folder / kind))
        self._running[kind].flush()
        return self._running[kind].url

    def by_url(self, url: str) -> Servers:
        """The store of this URL."""
        return next(servers for servers in self._running.values() if servers.url == url)

    def pids(self) -> set[int]:
        """The processes that live until the session ends."""
        servers = [server for store in self._running.values() for server in store.all]
        return {server.process.pid for server in servers if server.process is not None}

    def close(self) -> None:
        """Stop all of them."""
        self._stack.close()


@pytest.fixture
def unused_port() -> Callable[[], int]:
    """Gives a TCP port that nobody uses now, each time it is called."""
    return free_port


@pytest.fixture(scope="session")
def stores(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stores]:
    """The stores of this session."""
    with contextlib.closing(Stores(tmp_path_factory.mktemp("stores"))) as started:
        yield started


@pytest.fixture
def embedded_url(stores: Stores) -> str:
    """An empty embedded store."""
    return stores.empty("embedded")


@pytest.fixture(params=store_kinds())
def store_url(request: pytest.FixtureRequest, stores: Stores) -> Iterator[str]:
    """An empty store, once for each kind. Whatever a test did, nothing is in any slot but the partition's."""
    url = stores.empty(request.param)
    yield url
    servers = stores.by_url(url)
    owner = servers.owner()
    for server in servers.masters:
        assert server is owner or server.tell("DBSIZE") == 0, "a key of ours is outside the partition's slot"


async def assert_nothing_leaks(ledger: Ledger, url: str) -> None:
    """Ends whatever runs, lets time pass, and asserts that no key, entry or claim is left of any task."""
    client = redis.asyncio.Redis.from_url(plain_url(url))
    try:
        for name in await client.keys("*"):
            kind, _, rest = name.decode().removeprefix(keys.prefix("0") + ":").partition(":")
            assert kind in keys.KEYS, f"{name!r} is no key of the ledger"
            if kind == "task":
                with contextlib.suppress(FailedPrecondition):  # it has ended
                    await ledger.cancel(rest)
            if kind == "schedule":
                await ledger.delete_schedule(*rest.split(":"))
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
            if kind in ("budget", "usage"):
                assert int(await client.hget(name, "reserved") or 0) == 0, f"{name!r} still has money reserved"
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
def no_process_left(stores: Stores) -> Iterator[None]:
    """Fails a test that leaves a child process running."""
    me = psutil.Process()
    before = {child.pid for child in me.children()}
    yield
    deadline = time.monotonic() + 5
    while left := [child for child in me.children() if child.pid not in before | stores.pids() and _is_ours(child)]:
        assert time.monotonic() < deadline, f"processes are left: {left}"
        time.sleep(0.05)
