"""Stores that can lose a server and go on: a fresh one for each test, since each test breaks its own."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "ledger"))
sys.path.insert(0, str(Path(__file__).parent))

from store_servers import Servers, cluster, watched

from waybill.ledger.connection import Replicas
from waybill.ledger.ledger import Ledger


@pytest.fixture
def watched_store(tmp_path: Path) -> Iterator[Servers]:
    """A master with one replica and three Sentinels, who let it be silent for long."""
    with watched(tmp_path, sentinels=3) as running:
        yield running


@pytest.fixture
def replicated_cluster(tmp_path: Path) -> Iterator[Servers]:
    """Three masters, of which the partition's owner has one replica, which lets it be silent for long."""
    with cluster(tmp_path, replicas=1) as running:
        yield running


@pytest.fixture(params=["watched_store", "replicated_cluster"])
def servers(request: pytest.FixtureRequest) -> Servers:
    """A store whose owner has one replica."""
    running: Servers = request.getfixturevalue(request.param)
    return running


@pytest.fixture
async def ledger(servers: Servers) -> AsyncIterator[Ledger]:
    """A ledger that accepts a task once the replica has it, on the real clock."""
    opened = Ledger(servers.url, replicas=Replicas(1, 1_000))
    await opened.connect()
    yield opened
    await opened.close()
