"""Who owns the partition: found though some of those asked are dead, silent or behind."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterator

import pytest
from free_ports import HOST
from store_servers import SERVICE, SLOT, Server, Servers, until, watched
from topology_sentinel import answer, answer_always

from waybill.errors import Unavailable
from waybill.ledger import owner as owner_module
from waybill.ledger.address import parse
from waybill.ledger.connection import Store
from waybill.ledger.discovery import MOST_ASKED, ClusterNodes, Sentinels, discovery_of
from waybill.ledger.keys import prefix


@pytest.fixture(scope="module")
def steady_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    """A master and a Sentinel, for tests that break neither."""
    with watched(tmp_path_factory.mktemp("steady")) as running:
        yield running


def sentinels_of(servers: Servers) -> list[Server]:
    return [server for server in servers.all if "--sentinel" in server.options]


async def test_given_a_silent_and_a_dead_sentinel_then_the_third_is_enough(watched_store: Servers) -> None:
    silent, dead, _ = sentinels_of(watched_store)
    dead.kill()
    silent.pause()
    try:
        assert await Sentinels(parse(watched_store.url)).owner() == watched_store.masters[0].url
    finally:
        silent.resume()


async def test_given_a_sentinel_that_missed_a_failover_then_it_is_outvoted(watched_store: Servers) -> None:
    old = watched_store.masters[0]
    behind, informed, _ = sentinels_of(watched_store)
    behind.pause()
    try:
        informed.tell("SENTINEL", "FAILOVER", SERVICE)
        address = informed.tell, ("SENTINEL", "GET-MASTER-ADDR-BY-NAME", SERVICE)
        await asyncio.to_thread(until, lambda: int(address[0](*address[1])[1]) != old.port, "the Sentinels agree")
    finally:
        behind.kill()
    said = answer(old.port)
    async with await asyncio.start_server(lambda r, w: answer_always(r, w, said), HOST, 0) as server:
        stale = server.sockets[0].getsockname()[1]
        for nodes in ([stale, informed.port], [informed.port, stale]):
            seeds = ",".join(f"{HOST}:{port}" for port in nodes)
            owner = await Sentinels(parse(f"redis+sentinel://{seeds}/{SERVICE}")).owner()
            assert owner != old.url


async def test_given_sentinels_that_know_no_such_service_then_it_is_unavailable(steady_store: Servers) -> None:
    with pytest.raises(Unavailable):
        await Sentinels(parse(steady_store.url.replace(SERVICE, "other"))).owner()


async def test_given_a_demoted_master_then_it_is_not_taken_for_the_owner(steady_store: Servers) -> None:
    replica = steady_store.replica()
    said = answer(replica.port)
    async with await asyncio.start_server(lambda r, w: answer_always(r, w, said), HOST, 0) as server:
        store = Store(f"redis+sentinel://{HOST}:{server.sockets[0].getsockname()[1]}/{SERVICE}")
        with pytest.raises(Unavailable):
            await store.command("PING")
        await store.close()


async def test_given_an_owner_with_several_names_when_it_is_looked_up_then_its_connections_are_kept(
    steady_store: Servers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(owner_module, "LOOK_SECONDS", 0.0)
    names = itertools.cycle([HOST, "localhost"])
    asked = 0

    async def tell(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal asked
        asked += 1
        await answer_always(reader, writer, answer(steady_store.masters[0].port, next(names)))

    async with await asyncio.start_server(tell, HOST, 0) as server:
        store = Store(f"redis+sentinel://{HOST}:{server.sockets[0].getsockname()[1]}/{SERVICE}")
        ids = set()
        async with asyncio.timeout(60):
            while asked < 6:
                ids.add(await store.command("CLIENT", "ID"))
        assert len(ids) == 1
        await store.close()


async def test_given_a_seed_that_is_gone_for_good_then_nodes_met_before_are_asked(replicated_cluster: Servers) -> None:
    owner = replicated_cluster.owner()
    seed = next(server for server in replicated_cluster.masters if server is not owner)
    discovery = discovery_of(parse(f"redis+cluster://{HOST}:{seed.port}"), SLOT)
    assert isinstance(discovery, ClusterNodes)
    assert await discovery.owner() == owner.url
    seed.kill()
    assert len(replicated_cluster.all) <= MOST_ASKED
    assert await discovery.owner() == owner.url


async def test_given_a_cluster_behind_the_url_of_one_server_then_the_reason_says_so(
    replicated_cluster: Servers,
) -> None:
    other = next(server for server in replicated_cluster.masters if server is not replicated_cluster.owner())
    store = Store(other.url)
    with pytest.raises(Unavailable) as refused:
        await store.command("GET", f"{prefix('0')}:nothing")
    assert refused.value.reason == "STORE_IS_A_CLUSTER"
    await store.close()
