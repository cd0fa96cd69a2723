"""What a task that has ended takes in a store with the settings that Waybill gives to its own."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from full_stores import running
from ledger_hand import Hand, succeeded
from ledger_plans import chain, graph, new_task
from store_servers import Server

from waybill.cli.suite import COMPACT_SETTINGS
from waybill.ledger import keys
from waybill.ledger.ledger import Ledger

TARGET_BYTES = 2_048
OUTPUT = b'{"title": "An answer", "score": 0.87, "items": 12}'
REQUEST_ID = "5f0c1f8e-3f6a-4ed4-9a61-6d1f1f0c2b7a"
WORKER_NAME = "worker-1-b57f2e00db"


@pytest.fixture
def server(binary: str, tmp_path: Path) -> Iterator[Server]:
    """A server with those settings."""
    options = [word for name, value in COMPACT_SETTINGS.items() for word in (f"--{name}", value)]
    with running(Server(binary, tmp_path, options)) as started:
        yield started


async def test_given_a_small_task_that_has_ended_then_its_keys_take_less_than_the_target(
    ledger: Ledger, server: Server
) -> None:
    hand = await Hand(ledger, WORKER_NAME).register()
    task = new_task(graph(chain(1)), request_id=REQUEST_ID, fingerprint="f" * 32)
    await ledger.submit([task])
    await hand.exchange(*(succeeded(grant, OUTPUT) for grant in await hand.take()))
    names = [
        keys.key("0", "task", task.id),
        keys.key("0", "events", task.id),
        keys.key("0", "request", task.tenant, task.request_id),
        # One entry each, here alone in its key.
        keys.key("0", "index", task.tenant),
        keys.key("0", "expiry"),
    ]
    with contextlib.closing(server.client()) as client:
        assert client.object("encoding", names[0]) == b"listpack"
        assert sum(client.memory_usage(name, samples=0) for name in names) < TARGET_BYTES
