"""`rediss`: every byte to the store is encrypted, and a server that nobody vouches for is not talked to.

The certificate beside this file is made for loopback, vouches for itself, and is used for nothing else.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from free_ports import HOST
from ledger_hand import Hand
from ledger_plans import DIAMOND, accept, graph
from store_servers import SERVICE
from topology_sentinel import answer, answer_always

from waybill.cancellation import cancel_all
from waybill.core.task import TaskState
from waybill.errors import Unavailable
from waybill.ledger.connection import Store
from waybill.ledger.ledger import Ledger

TLS = Path(__file__).parent / "tls"
CERTIFICATE = TLS / "certificate.pem"


class Terminator:
    """A TLS server that passes on what it decrypts, to a Sentinel made up on the spot or to the store."""

    def __init__(self, port: int) -> None:
        self._store_port = port
        self.port = 0
        self._passing: set[asyncio.Task[None]] = set()

    async def store(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection(HOST, self._store_port)
        both = [_pass_on(reader, far_writer), _pass_on(far_reader, writer)]
        passing = {asyncio.create_task(one) for one in both}
        self._passing |= passing
        await asyncio.wait(passing)

    async def sentinel(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await answer_always(reader, writer, answer(self.port))

    async def close(self) -> None:
        await cancel_all(self._passing)


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with closing(writer):
        while received := await reader.read(65536):
            writer.write(received)
            await writer.drain()


@pytest.fixture
async def tls_ports(embedded_url: str) -> AsyncIterator[tuple[int, int]]:
    """Ports that speak TLS alone: the embedded store's, and a Sentinel's that names it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATE, TLS / "key.pem")
    terminator = Terminator(urlsplit(embedded_url).port or 0)
    async with await asyncio.start_server(terminator.store, HOST, 0, ssl=context) as store:
        terminator.port = store.sockets[0].getsockname()[1]
        async with await asyncio.start_server(terminator.sentinel, HOST, 0, ssl=context) as sentinel:
            yield terminator.port, sentinel.sockets[0].getsockname()[1]
            await terminator.close()


@pytest.mark.parametrize("form", ["rediss://{host}:{store}", "rediss+sentinel://{host}:{sentinel}/{service}"])
async def test_given_a_certificate_that_is_vouched_for_then_a_task_runs_to_its_end(
    tls_ports: tuple[int, int], form: str
) -> None:
    store, sentinel = tls_ports
    url = form.format(host=HOST, store=store, sentinel=sentinel, service=SERVICE)
    ledger = Ledger(f"{url}?ssl_ca_certs={CERTIFICATE}")
    await ledger.connect()
    hand = await Hand(ledger).register()
    task_id = await accept(ledger, graph(DIAMOND))
    await hand.run_all()
    assert (await ledger.task(task_id)).state is TaskState.SUCCEEDED
    await ledger.close()


async def test_given_a_certificate_that_nobody_vouches_for_then_nothing_is_sent(tls_ports: tuple[int, int]) -> None:
    for options in ("", "?ssl_check_hostname=true"):
        store = Store(f"rediss://{HOST}:{tls_ports[0]}{options}")
        with pytest.raises(Unavailable):
            await store.command("PING")
        await store.close()
