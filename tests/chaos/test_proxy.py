"""The proxy does to connections what it says, and nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest

from chaos.proxy import Link

HOST = "127.0.0.1"
SOON_SECONDS = 0.2
LATE_SECONDS = 10.0


class Echo:
    """A server that answers each line with itself, and keeps what it was asked."""

    def __init__(self) -> None:
        self.asked: list[bytes] = []
        self.open = 0
        self.port = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.open += 1
        try:
            while line := await reader.readline():
                self.asked.append(line)
                writer.write(line)
        except OSError:
            pass
        finally:
            self.open -= 1
            writer.close()

    async def until_open(self, count: int) -> None:
        async with asyncio.timeout(LATE_SECONDS):
            while self.open != count:
                await asyncio.sleep(0.01)


@pytest.fixture
async def echo() -> AsyncIterator[Echo]:
    server = Echo()
    listening = await asyncio.start_server(server.serve, HOST, 0)
    server.port = listening.sockets[0].getsockname()[1]
    yield server
    listening.close()


@pytest.fixture
async def link(echo: Echo) -> AsyncIterator[Link]:
    between = Link("client-echo", HOST, echo.port)
    await between.open()
    yield between
    await between.close()


class Talk:
    """A client's connection through a link."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def ask(self, line: bytes) -> bytes:
        """The answer; empty if the connection has ended. TimeoutError if none came."""
        self.writer.write(line)
        return await self.hear(LATE_SECONDS)

    async def hear(self, seconds: float) -> bytes:
        try:
            async with asyncio.timeout(seconds):
                return await self.reader.readline()
        except ConnectionError:
            return b""


async def talk(link: Link) -> Talk:
    return Talk(*await asyncio.open_connection(HOST, link.port))


async def test_a_good_link_passes_everything(link: Link) -> None:
    talking = await talk(link)
    large = b"x" * 60_000 + b"\n"
    for line in (b"one\n", large, b"two\n"):
        assert await talking.ask(line) == line
    assert link.connections == 1


async def test_a_client_that_leaves_is_seen_to_leave(link: Link, echo: Echo) -> None:
    talking = await talk(link)
    await talking.ask(b"one\n")
    talking.writer.close()
    await echo.until_open(0)


async def test_given_a_cut_then_both_sides_see_it_and_a_new_connection_works(link: Link, echo: Echo) -> None:
    talking = await talk(link)
    await talking.ask(b"one\n")
    assert link.cut() == 1
    assert await talking.hear(LATE_SECONDS) == b""
    await echo.until_open(0)
    assert await (await talk(link)).ask(b"two\n") == b"two\n"


async def test_given_a_refusing_link_then_new_connections_end_at_once_and_old_ones_live(link: Link) -> None:
    old = await talk(link)
    assert await old.ask(b"one\n") == b"one\n"
    link.refusing = True
    assert await (await talk(link)).ask(b"two\n") == b""
    assert await old.ask(b"three\n") == b"three\n"
    link.heal()
    assert await (await talk(link)).ask(b"four\n") == b"four\n"


async def test_given_a_slow_link_then_everything_arrives_in_order(link: Link) -> None:
    talking = await talk(link)
    link.delay_seconds = 0.05
    talking.writer.write(b"one\n")
    await asyncio.sleep(0.01)
    assert await talking.ask(b"two\n") == b"one\n"
    assert await talking.hear(LATE_SECONDS) == b"two\n"


async def test_given_silence_then_nothing_passes_and_nobody_is_told(link: Link, echo: Echo) -> None:
    talking = await talk(link)
    await talking.ask(b"one\n")
    assert link.silence() == 1
    talking.writer.write(b"two\n")
    with pytest.raises(TimeoutError):
        await talking.hear(SOON_SECONDS)
    talking.writer.close()
    await asyncio.sleep(SOON_SECONDS)
    assert echo.open == 1, "the server was told that the client left"
    other = await talk(link)
    assert await other.ask(b"three\n") == b"three\n"
    link.heal()
    await echo.until_open(1)
    assert await other.ask(b"four\n") == b"four\n"
    assert echo.asked == [b"one\n", b"three\n", b"four\n"]


async def test_given_lost_replies_then_the_request_arrives_and_the_connection_ends_without_an_answer(
    link: Link, echo: Echo
) -> None:
    talking = await talk(link)
    await talking.ask(b"one\n")
    assert link.lose_replies(0.1) == 1
    assert await talking.ask(b"two\n") == b""
    assert echo.asked == [b"one\n", b"two\n"]
    assert await (await talk(link)).ask(b"three\n") == b"three\n"


async def test_given_lost_replies_then_what_was_asked_before_is_still_answered(link: Link, echo: Echo) -> None:
    talking = await talk(link)
    await talking.ask(b"one\n")
    link.delay_seconds = 0.1
    talking.writer.write(b"two\n")
    async with asyncio.timeout(LATE_SECONDS):
        while len(echo.asked) < 2:
            await asyncio.sleep(0.005)
    link.lose_replies(0.1)
    assert await talking.hear(LATE_SECONDS) == b"two\n"


async def test_given_no_server_then_a_connection_ends_at_once(unused_port: Callable[[], int]) -> None:
    link = Link("client-nobody", HOST, unused_port())
    await link.open()
    assert await (await talk(link)).ask(b"one\n") == b""
    await link.close()
