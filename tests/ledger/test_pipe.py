"""Many callers on one connection: each gets its own reply or an error, whatever becomes of the others."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import cast

import pytest
import redis.asyncio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import DataError, InvalidResponse, ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

from waybill.errors import Unavailable
from waybill.ledger import pipe as pipe_module
from waybill.ledger.connection import Store
from waybill.ledger.node import Node, Way
from waybill.ledger.pipe import Pipe, open_pipe, packed

GUARD_SECONDS = 60.0
KEY = "waybill:{0}:pipe"
Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def serving(serve: Serve) -> AsyncIterator[str]:
    """URL of a server that treats each connection so."""
    opened: set[asyncio.StreamWriter] = set()

    async def until_done(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        opened.add(writer)
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            await serve(reader, writer)
        writer.close()

    async with await asyncio.start_server(until_done, "127.0.0.1", 0) as server:
        yield f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}/0"
        for writer in opened:
            writer.close()


async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while await reader.read(65536):
        pass


async def echoing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answers ECHO as a server does."""
    while head := await reader.readline():
        parts = []
        for _ in range(int(head[1:])):
            size = int((await reader.readline())[1:])
            parts.append((await reader.readexactly(size + 2))[:-2])
        writer.write(b"$%d\r\n%s\r\n" % (len(parts[1]), parts[1]))


@asynccontextmanager
async def pipe_to(url: str) -> AsyncIterator[Pipe]:
    node = Node(url)
    pipe = await open_pipe(node._new_connection())
    try:
        yield pipe
    finally:
        pipe.close()
        await node.close()


@pytest.fixture
async def other(embedded_url: str) -> AsyncIterator[redis.asyncio.Redis]:
    """A plain client of the embedded server, to look at it from outside."""
    client = redis.asyncio.Redis.from_url(embedded_url)
    await client.delete(KEY)
    yield client
    await client.delete(KEY)
    await client.aclose()


async def test_given_ten_thousand_callers_then_each_gets_its_own_reply_over_one_connection(store_url: str) -> None:
    store = Store(store_url)

    async def call(number: int) -> None:
        assert await store.command("ECHO", f"reply {number}") == b"reply %d" % number

    async with asyncio.timeout(GUARD_SECONDS):
        await asyncio.gather(*(call(number) for number in range(10_000)))
    node = await store._owner.node()
    assert len(node._shared) == 1
    await store.close()


async def test_given_calls_of_several_commands_among_others_then_each_gets_all_of_its_own_replies(
    store_url: str,
) -> None:
    store = Store(store_url)

    async def call(number: int) -> None:
        commands = [("ECHO", f"{number}.{at}") for at in range(number % 7)]
        assert await store.commands(commands) == [f"{number}.{at}".encode() for at in range(number % 7)]

    async with asyncio.timeout(GUARD_SECONDS):
        await asyncio.gather(*(call(number) for number in range(500)))
    await store.close()


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["one", "several", "large", "refused", "urgent", "alone"]),
            st.sampled_from(["stays", "leaves at once", "leaves later", "has too little time"]),
            st.integers(0, 3),
        ),
        min_size=1,
        max_size=60,
    ),
    st.integers(0, 2**32),
)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_whoever_leaves_or_fails_then_replies_go_to_their_own_callers(
    embedded_url: str, callers: list[tuple[str, str, int]], seed: int
) -> None:
    node = Node(embedded_url)
    chance = random.Random(seed)

    async def call(number: int, kind: str, timeout_seconds: float) -> None:
        text = f"{seed}.{number}"
        if kind == "several":
            found = await node.replies([("ECHO", text), ("INCR",), ("ECHO", text)], timeout_seconds=timeout_seconds)
            assert (found[0], type(found[1]), found[2]) == (text.encode(), ResponseError, text.encode())
        elif kind == "large":
            text *= 50_000
            assert await node.reply(("ECHO", text), timeout_seconds=timeout_seconds) == text.encode()
        elif kind == "refused":
            assert text in str(await node.reply((f"NO-{text}",), timeout_seconds=timeout_seconds))
        else:
            way = {"one": Way.SHARED, "urgent": Way.URGENT, "alone": Way.ALONE}[kind]
            assert await node.reply(("ECHO", text), timeout_seconds=timeout_seconds, way=way) == text.encode()

    async def come_and_go(number: int, kind: str, manner: str, turns: int) -> None:
        for _ in range(turns):
            await asyncio.sleep(0)
        calling = asyncio.create_task(call(number, kind, 0.0 if manner == "has too little time" else GUARD_SECONDS))
        if manner.startswith("leaves"):
            await asyncio.sleep(0 if manner == "leaves at once" else chance.random() / 1_000)
            calling.cancel()
        try:
            await calling
        except asyncio.CancelledError:
            assert manner.startswith("leaves")
        except (TimeoutError, RedisTimeoutError):
            assert manner == "has too little time"

    async with asyncio.timeout(GUARD_SECONDS):
        await asyncio.gather(*(come_and_go(at, *caller) for at, caller in enumerate(callers)))
        assert await node.execute("ECHO", "afterwards", timeout_seconds=GUARD_SECONDS) == b"afterwards"
    await node.close()


async def test_given_a_caller_that_is_cancelled_then_its_reply_is_dropped_and_others_get_theirs(
    embedded_url: str,
) -> None:
    async with pipe_to(embedded_url) as pipe:
        first = pipe.send(packed(("ECHO", "first")), 1, GUARD_SECONDS)
        second = pipe.send(packed(("ECHO", "second")), 1, GUARD_SECONDS)
        first.cancel()
        assert await second == b"second"
        assert pipe.is_open
        assert pipe.is_idle


async def test_given_a_reply_that_is_late_then_its_caller_alone_is_told_and_nothing_more_is_sent_there() -> None:
    told = asyncio.Event()

    async def late_for_one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await told.wait()
        writer.write(b"$4\r\nlate\r\n$6\r\nbehind\r\n")
        await silent(reader, writer)

    async with serving(late_for_one) as url, pipe_to(url) as pipe:
        late = pipe.send(packed(("ECHO", "late")), 1, 0.05)
        behind = pipe.send(packed(("ECHO", "behind")), 1, GUARD_SECONDS)
        with pytest.raises(RedisTimeoutError):
            await late
        assert not pipe.is_open
        told.set()
        assert await behind == b"behind"


async def test_given_a_silent_server_then_the_next_call_opens_a_connection_of_its_own() -> None:
    opened = []

    async def only_the_first_is_silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        opened.append(writer)
        await (silent if len(opened) == 1 else echoing)(reader, writer)

    async with serving(only_the_first_is_silent) as url:
        store = Store(url, reply_timeout_seconds=0.05)
        with pytest.raises(Unavailable):
            await store.command("ECHO", "lost")
        assert await store.command("ECHO", "heard") == b"heard"
        await store.close()


async def test_given_a_reply_that_is_lost_then_what_was_applied_once_is_not_applied_again(
    embedded_url: str, other: redis.asyncio.Redis
) -> None:
    node = Node(embedded_url)
    assert await node.execute("INCR", KEY, timeout_seconds=GUARD_SECONDS) == 1
    (pipe,) = node._shared
    applied = pipe.send(packed(("INCR", KEY)), 1, GUARD_SECONDS)
    cast(asyncio.Transport, pipe._transport).pause_reading()  # the server's answer is never read
    async with asyncio.timeout(GUARD_SECONDS):
        while await other.get(KEY) != b"2":
            await asyncio.sleep(0.001)
    pipe._transport.abort()
    with pytest.raises(RedisConnectionError):
        await applied
    assert await node.execute("GET", KEY, timeout_seconds=GUARD_SECONDS) == b"2"
    await node.close()


async def test_given_a_server_that_closes_in_the_middle_of_a_reply_then_all_who_wait_are_told() -> None:
    async def half(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(65536)
        writer.write(b"$5\r\nwhole\r\n*2\r\n$4\r\nha")
        await writer.drain()

    async with serving(half) as url, pipe_to(url) as pipe:
        calls = [pipe.send(packed(("ECHO", "x")), 1, GUARD_SECONDS) for _ in range(3)]
        assert await calls[0] == b"whole"
        for call in calls[1:]:
            with pytest.raises(RedisConnectionError):
                await call
        with pytest.raises(RedisConnectionError):
            pipe.send(packed(("ECHO", "x")), 1, GUARD_SECONDS)


@pytest.mark.parametrize("said", [b"?what\r\n", b"+unasked\r\n+unasked\r\n"])
async def test_given_a_server_that_says_what_cannot_be_then_its_connection_is_used_no_more(said: bytes) -> None:
    async def speaking(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(65536)
        writer.write(said)
        await silent(reader, writer)

    async with serving(speaking) as url, pipe_to(url) as pipe, asyncio.timeout(GUARD_SECONDS):
        call = pipe.send(packed(("ECHO", "x")), 1, GUARD_SECONDS)
        try:
            assert await call == b"unasked"
        except InvalidResponse:
            assert said.startswith(b"?")
        while pipe.is_open:
            await asyncio.sleep(0.001)


async def test_given_a_server_that_does_not_answer_then_what_waits_for_it_is_bounded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pipe_module, "MAX_UNANSWERED_BYTES", 10_000)
    async with serving(silent) as url, pipe_to(url) as pipe:
        data = packed(("ECHO", "x" * 4_000))
        waiting = [pipe.send(data, 1, GUARD_SECONDS) for _ in range(2)]
        with pytest.raises(Unavailable):
            pipe.send(data, 1, GUARD_SECONDS)
        assert pipe.is_open
        pipe.close()
        assert {type(call.exception()) for call in waiting} == {RedisConnectionError}


async def test_given_a_call_that_is_larger_than_all_that_may_wait_then_it_is_sent_if_it_is_alone(
    monkeypatch: pytest.MonkeyPatch, embedded_url: str
) -> None:
    monkeypatch.setattr(pipe_module, "MAX_UNANSWERED_BYTES", 10)
    async with pipe_to(embedded_url) as pipe:
        assert await pipe.send(packed(("ECHO", "x" * 4_000)), 1, GUARD_SECONDS) == b"x" * 4_000


async def test_given_large_calls_under_way_then_small_ones_do_not_queue_behind_them() -> None:
    async with serving(silent) as url:
        node = Node(url)
        large = asyncio.ensure_future(node.reply(("SET", KEY, bytes(3 * 1024 * 1024)), timeout_seconds=GUARD_SECONDS))
        small = [asyncio.ensure_future(node.reply(("ECHO", str(at)), timeout_seconds=GUARD_SECONDS)) for at in range(3)]
        beat = asyncio.ensure_future(node.reply(("ECHO", "beat"), timeout_seconds=GUARD_SECONDS, way=Way.URGENT))
        async with asyncio.timeout(GUARD_SECONDS):
            while len(node._urgent) + len(node._shared) < 2:
                await asyncio.sleep(0.001)
            late = [
                asyncio.ensure_future(node.reply(("ECHO", str(at)), timeout_seconds=GUARD_SECONDS)) for at in range(3)
            ]
            while len(node._shared) < 2:
                await asyncio.sleep(0.001)
        await node.close()
        for call in (large, *small, beat, *late):
            with pytest.raises(RedisConnectionError):
                await call


async def test_given_a_node_that_is_closed_while_it_connects_then_who_waits_is_told() -> None:
    async with serving(silent) as url:
        node = Node(url.replace("://", "://:secret@"))  # the answer to AUTH never comes
        calls = [asyncio.ensure_future(node.reply(("PING",), timeout_seconds=GUARD_SECONDS)) for _ in range(3)]
        await asyncio.sleep(0.05)
        await node.close()
        for call in calls:
            with pytest.raises(RedisConnectionError):
                await call


async def test_given_a_call_that_blocks_and_is_cancelled_then_it_takes_nothing_afterwards(
    embedded_url: str, other: redis.asyncio.Redis
) -> None:
    node = Node(embedded_url)
    blocking = asyncio.ensure_future(node.reply(("BLPOP", KEY, 0), timeout_seconds=GUARD_SECONDS, way=Way.ALONE))
    async with asyncio.timeout(GUARD_SECONDS):
        while not (await other.info("clients"))["blocked_clients"]:
            await asyncio.sleep(0.001)
        blocking.cancel()
        while (await other.info("clients"))["blocked_clients"]:
            await asyncio.sleep(0.001)
    await node.execute("RPUSH", KEY, "kept", timeout_seconds=GUARD_SECONDS)
    assert await node.execute("LPOP", KEY, timeout_seconds=GUARD_SECONDS) == b"kept"
    await node.close()


async def test_given_what_is_no_part_of_a_command_then_nothing_is_sent(embedded_url: str) -> None:
    async with pipe_to(embedded_url) as pipe:
        with pytest.raises(DataError):
            packed(("SET", KEY, object()))  # type: ignore[arg-type]
        assert pipe.is_idle
