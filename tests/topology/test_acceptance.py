"""A task counts as accepted once the replica has it: not before, and not because it was there already."""

from __future__ import annotations

import asyncio

from ledger_plans import DIAMOND, graph, new_task
from store_servers import Servers
from topology_load import patiently

from waybill.errors import Unavailable
from waybill.ledger.connection import Replicas
from waybill.ledger.ledger import Ledger
from waybill.ledger.records import Accepted


async def test_given_a_replica_that_stands_still_then_nothing_is_accepted_until_it_goes_on(
    servers: Servers, ledger: Ledger
) -> None:
    task, other = new_task(graph(DIAMOND)), new_task(goal="g")
    hasty = Ledger(servers.url, replicas=Replicas(1, 50))
    replica = servers.replica()
    replica.pause()
    try:
        for _ in range(2):  # the second time it is there, and the replica still does not have it
            results = await hasty.submit([task, other])
            assert [isinstance(result, Unavailable) and result.reason for result in results] == ["NOT_REPLICATED"] * 2
    finally:
        replica.resume()
        await hasty.close()
    assert await ledger.submit([task, other]) == [Accepted(task.id, repeated=True), Accepted(other.id, repeated=True)]


async def test_given_an_owner_that_demands_a_replica_when_it_has_none_then_calls_are_unavailable_and_change_nothing(
    servers: Servers, ledger: Ledger
) -> None:
    owner, replica, task = servers.owner(), servers.replica(), new_task(goal="g")
    owner.tell("CONFIG", "SET", "min-replicas-max-lag", 1)
    owner.tell("CONFIG", "SET", "min-replicas-to-write", 1)
    replica.kill()
    async with asyncio.timeout(60):
        while not isinstance((await ledger.submit([task]))[0], Unavailable):
            await asyncio.sleep(0.1)
            task = new_task(goal="g")
        refused = new_task(goal="g")
        assert isinstance((await ledger.submit([refused]))[0], Unavailable)
    owner.tell("CONFIG", "SET", "min-replicas-to-write", 0)
    assert await ledger.tasks([refused.id]) == [None]
    alone = Ledger(servers.url)
    (accepted,) = await patiently(lambda: alone.submit([refused]))
    await alone.close()
    assert isinstance(accepted, Accepted)
    assert not accepted.repeated
