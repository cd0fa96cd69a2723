"""What the client's errors mean: ours for all that the store or its connection can say, none for our own bugs."""

from __future__ import annotations

import asyncio
import socket

import pytest
import uvloop

from waybill.errors import Unavailable
from waybill.ledger.replies import is_lost, store_errors


def test_given_a_write_to_a_connection_that_uvloop_has_closed_then_the_store_is_unavailable() -> None:
    async def write_to_a_closed_connection() -> None:
        ours, theirs = socket.socketpair()
        _, writer = await asyncio.open_connection(sock=ours)
        theirs.close()
        writer.transport.abort()
        await asyncio.sleep(0)
        with store_errors():
            writer.writelines([b"PING"])

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner, pytest.raises(Unavailable):
        runner.run(write_to_a_closed_connection())


def test_given_an_error_of_our_own_then_it_goes_on_as_it_is() -> None:
    with pytest.raises(RuntimeError, match="a bug"), store_errors():
        raise RuntimeError("a bug")
    assert not is_lost(RuntimeError("a bug"))
