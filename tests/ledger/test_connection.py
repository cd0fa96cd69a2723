"""Calls to the store: none is sent twice, each ends by its own time, and waiting for replicas is part of the write."""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
import redis.asyncio
from ledger_plans import DIAMOND, graph, new_task

from waybill.errors import Unavailable, WaybillError
from waybill.ledger.connection import NO_REPLICAS, Replicas, Store
from waybill.ledger.ledger import Ledger
from waybill.ledger.node import Node
from waybill.ledger.records import Accepted

GUARD_SECONDS = 20.0


@pytest.fixture
async def client(store_url: str) -> AsyncIterator[Store]:
    """Waybill's own client of a store of each kind."""
    opened = Store(store_url)
    yield opened
    await opened.close()


class Peer:
    """A server that reads what it is sent and never answers; with `hangs_up` it closes the connection instead."""

    def __init__(self, *, hangs_up: bool) -> None:
        self.hangs_up = hangs_up
        self.calls: list[bytes] = []
        self.url = ""

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while received := await reader.read(65536):
            self.calls.append(received)
            if self.hangs_up:
                break
        writer.close()


@asynccontextmanager
async def peer(*, hangs_up: bool = False) -> AsyncIterator[Peer]:
    serving = Peer(hangs_up=hangs_up)
    async with await asyncio.start_server(serving, "127.0.0.1", 0) as server:
        serving.url = f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}/0"
        yield serving


CALLS: dict[str, Callable[[Store], Awaitable[object]]] = {
    "one": lambda store: store.command("FCALL", "f", 0),
    "several": lambda store: store.commands([("FCALL", "f", 0), ("FCALL", "g", 0)]),
    "with replicas": lambda store: store.commands([("FCALL", "f", 0)], replicas=Replicas(1, 10)),
    "blocking": lambda store: store.command("XREADGROUP", "BLOCK", 10, block_seconds=0.01),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
async def test_given_a_lost_reply_then_the_call_was_sent_once_and_is_unavailable(
    call: Callable[[Store], Awaitable[object]],
) -> None:
    async with peer(hangs_up=True) as server:
        store = Store(server.url)
        with pytest.raises(Unavailable):
            await call(store)
        assert len(server.calls) == 1
        await store.close()


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
async def test_given_a_silent_server_then_every_call_ends_by_its_own_time(
    call: Callable[[Store], Awaitable[object]],
) -> None:
    async with peer() as server, asyncio.timeout(GUARD_SECONDS):
        store = Store(server.url, reply_timeout_seconds=0.05)
        with pytest.raises(Unavailable):
            await call(store)
        assert len(server.calls) == 1
        await store.close()


async def test_given_a_half_open_connection_then_an_idle_worker_notices_within_its_blocking_time() -> None:
    async with peer() as server, asyncio.timeout(GUARD_SECONDS):
        ledger = Ledger(server.url)
        with pytest.raises(Unavailable):
            await ledger.wait_for_work("worker.1", ["echo"], 100)
        await ledger.close()


async def test_given_nobody_who_listens_then_it_is_unavailable(unused_port: Callable[[], int]) -> None:
    for scheme in ("redis", "redis+sentinel", "redis+cluster"):
        store = Store(f"{scheme}://127.0.0.1:{unused_port()}/{'main' if 'sentinel' in scheme else ''}")
        with pytest.raises(Unavailable):
            await store.command("PING")
        with pytest.raises(Unavailable):
            async with store.listener():
                pass
        await store.close()


async def test_given_a_store_that_wants_a_password_then_the_reason_says_so(
    store: redis.asyncio.Redis, store_url: str
) -> None:
    with_password = store_url.replace("://", "://:wrong@")
    client = Store(with_password)
    await store.config_set("requirepass", "right")
    try:
        with pytest.raises(Unavailable) as refused:
            await client.command("GET", "waybill:{0}:nothing")
        assert refused.value.reason == "STORE_LOGIN_REFUSED"
    finally:
        await client.close()
        await store.config_set("requirepass", "")


async def test_connections_are_kept_alive_by_the_system(embedded_url: str) -> None:
    node = Node(embedded_url)
    connection = await node.connection()
    assert connection._writer is not None
    held = connection._writer.get_extra_info("socket")
    assert held.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
    await connection.disconnect()
    await node.close()


async def test_given_a_blocking_read_then_others_are_served_meanwhile(client: Store) -> None:
    key = "waybill:{0}:blocking"
    await client.command("XGROUP", "CREATE", key, "g", "$", "MKSTREAM")
    read = ("XREADGROUP", "GROUP", "g", "c", "BLOCK", 10_000, "STREAMS", key, ">")
    waiting = asyncio.create_task(client.command(*read, block_seconds=10.0))
    async with asyncio.timeout(GUARD_SECONDS):
        while not waiting.done():
            await client.command("XADD", key, "*", "field", "value")
            await asyncio.sleep(0.01)
    assert (await waiting)[0][0] == key.encode()
    await client.command("DEL", key)


async def test_given_one_bad_command_of_several_then_it_stands_in_its_place_or_is_raised(client: Store) -> None:
    key = "waybill:{0}:text"
    commands = [("SET", key, "text"), ("INCR", key), ("GET", key), ("DEL", key)]
    replies = await client.commands(commands, keep_errors=True)
    assert isinstance(replies[1], Exception)
    assert (replies[2], replies[3]) == (b"text", 1)
    with pytest.raises(WaybillError):
        await client.commands(commands)


async def test_given_many_who_call_while_the_store_is_away_then_all_learn_of_it_together(
    unused_port: Callable[[], int],
) -> None:
    store = Store(f"redis+cluster://127.0.0.1:{unused_port()}")
    found = await asyncio.gather(*(store.command("PING") for _ in range(50)), return_exceptions=True)
    assert {type(error) for error in found} == {Unavailable}
    await store.close()


class TestReplicas:
    """Acceptance that waits for replicas, on single servers, which have none."""

    @pytest.fixture
    async def waiting(self, embedded_url: str) -> AsyncIterator[Ledger]:
        opened = Ledger(embedded_url, replicas=Replicas(1, 20))
        yield opened
        await opened.close()

    async def test_given_too_few_replicas_then_a_submission_is_not_accepted_yet_and_repeating_finds_the_same_task(
        self, waiting: Ledger, embedded_url: str
    ) -> None:
        task, again = new_task(graph(DIAMOND), request_id="r"), new_task(graph(DIAMOND), request_id="r")
        for repeated in (task, again):
            (result,) = await waiting.submit([repeated])
            assert isinstance(result, Unavailable)
            assert result.reason == "NOT_REPLICATED"
        patient = Ledger(embedded_url, replicas=NO_REPLICAS)
        assert await patient.submit([again]) == [Accepted(task.id, repeated=True)]
        await patient.close()

    async def test_given_too_few_replicas_then_each_of_many_is_told_so(self, waiting: Ledger) -> None:
        results = await waiting.submit([new_task(goal="g") for _ in range(5)])
        assert [isinstance(result, Unavailable) and result.reason for result in results] == ["NOT_REPLICATED"] * 5

    async def test_given_a_replica_then_a_submission_counts_once_that_has_it(
        self, ledger: Ledger, store_url: str, store: redis.asyncio.Redis
    ) -> None:
        replicas = (await store.info("replication"))["connected_slaves"]
        opened = Ledger(store_url, replicas=Replicas(replicas, 10_000))
        task = new_task(graph(DIAMOND))
        (first,) = await opened.submit([task])
        assert isinstance(first, Accepted)
        assert await opened.submit([task]) == [Accepted(task.id, repeated=True)]
        await opened.close()
