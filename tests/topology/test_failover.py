"""A store loses the server that owns the partition, and its replica takes over.

Guaranteed, with acceptance that waits for every replica that may take over: a task that was accepted exists on the new
owner, once for its request id, and reaches its end there; every step commits one result that the new owner knows of.
Not guaranteed: that a settlement which never reached the replica stays. Its step runs again.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest
from ledger_fold import check_history
from ledger_plans import new_task
from store_servers import Server, Servers, cluster, replicas_of, until, watched
from topology_load import BREATH_SECONDS, Load

from waybill.cancellation import cancel_all
from waybill.core.task import TaskState
from waybill.errors import Unavailable
from waybill.ledger import keys, packing
from waybill.ledger.bells import Bells
from waybill.ledger.ledger import Ledger
from waybill.ledger.records import Accepted, StepRef


@pytest.fixture(params=["sentinel", "cluster"])
def servers(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Servers]:
    """A store whose owner has one replica, which takes over once the owner has been silent for a second."""
    if request.param == "sentinel":
        with watched(tmp_path, sentinels=3, down_after_ms=1_000) as running:
            yield running
    else:
        with cluster(tmp_path, replicas=1, node_timeout_ms=1_000) as running:
            yield running


async def failed_over(servers: Servers, old: Server) -> Server:
    """The new owner, once the store itself says that it is one."""

    def new_owner() -> bool:
        owner = servers.owner()
        return owner is not old and owner.tell("ROLE")[0] == b"master"

    await asyncio.to_thread(until, new_owner, "the replica takes over")
    return servers.owner()


async def followed(master: Server) -> None:
    await asyncio.to_thread(until, lambda: replicas_of(master) == 1, "the old owner follows the new one")


def stored_requests(owner: Server) -> Counter[str]:
    """How many tasks each request id has, by the tasks themselves."""
    with closing(owner.client()) as client:
        names = client.scan_iter(keys.key("0", "task", "*"), count=10_000)
        return Counter(str(client.hget(name, "request"), "ascii") for name in names)


async def test_given_a_killed_owner_under_load_then_every_accepted_task_exists_once_and_ends(
    servers: Servers, ledger: Ledger
) -> None:
    load = Load(ledger)
    async with load.running():
        await load.more(50)
        old = servers.owner()
        old.kill()
        new = await failed_over(servers, old)
        # Empty as it comes back, it must follow the new owner and not be followed.
        old.start()
        await followed(new)
        await load.more(50)
    for task_id, request in load.accepted.items():
        task, _ = await check_history(ledger, task_id)
        assert task.state is TaskState.SUCCEEDED
        assert await ledger.submit([request]) == [Accepted(task_id, repeated=True)]
    requests = stored_requests(new)
    assert requests.keys() >= {request.request_id for request in load.accepted.values()}
    assert set(requests.values()) == {1}, "a request has several tasks"


async def test_given_an_owner_that_stands_still_when_it_goes_on_then_nobody_stays_with_it(
    servers: Servers, ledger: Ledger
) -> None:
    load = Load(ledger)
    old = servers.owner()
    try:
        async with load.running():
            await load.more(20)
            old.pause()
            new = await failed_over(servers, old)
            old.resume()
            await followed(new)
            await load.more(20)
    finally:
        old.resume()
    for task_id in load.accepted:
        assert (await ledger.task(task_id)).state is TaskState.SUCCEEDED


async def test_given_listeners_when_the_owner_is_lost_then_they_are_woken_and_hear_again(
    servers: Servers, ledger: Ledger
) -> None:
    bells = Bells(servers.url)
    ringing = asyncio.create_task(bells.run())
    (accepted,) = await ledger.submit([new_task(goal="g")])
    old = servers.owner()
    try:
        async with bells.listen(accepted.task) as rung, asyncio.timeout(60):
            await _rings(old, accepted.task, rung)
            old.pause()
            rung.clear()
            await rung.wait()  # something may have happened unheard
            await _rings(await failed_over(servers, old), accepted.task, rung)
    finally:
        old.resume()
        await cancel_all([ringing])
        await bells.close()


async def test_given_a_worker_that_listens_when_the_owner_is_lost_then_it_learns_of_it_and_hears_the_new_one(
    servers: Servers, ledger: Ledger
) -> None:
    heard: asyncio.Queue[StepRef | None] = asyncio.Queue()

    async def listen() -> None:
        while True:
            with suppress(Unavailable):
                async for ref in ledger.listen_control("worker.1"):
                    heard.put_nowait(ref)
            heard.put_nowait(None)
            await asyncio.sleep(BREATH_SECONDS)

    listening = asyncio.create_task(listen())
    old = servers.owner()
    try:
        async with asyncio.timeout(60):
            await _told(old, heard)
            old.pause()
            while await heard.get() is not None:
                pass
            await _told(await failed_over(servers, old), heard)
    finally:
        old.resume()
        await cancel_all([listening])


async def _told(owner: Server, heard: asyncio.Queue[StepRef | None]) -> None:
    """Tell the worker to stop a step until it is heard."""
    ref = StepRef("0-task", 1, 1)
    while heard.empty() or heard.get_nowait() != ref:
        owner.tell("PUBLISH", keys.key("0", "control", "worker.1"), packing.member(ref))
        await asyncio.sleep(BREATH_SECONDS)


async def _rings(owner: Server, task_id: str, rung: asyncio.Event) -> None:
    """Ring until it is heard: whoever listens may still be on his way to the new owner."""
    rung.clear()
    while not rung.is_set():
        owner.tell("PUBLISH", keys.key("0", "bell", task_id), "1")
        await asyncio.sleep(BREATH_SECONDS)
