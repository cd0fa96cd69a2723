"""A cluster's slot moves to another node: calls follow it, and while it is on its way no function runs."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from free_ports import HOST
from ledger_fold import check_history
from ledger_hand import Hand
from ledger_plans import DIAMOND, accept, graph, new_task
from store_servers import SLOT, Server, Servers

from waybill.core.task import TaskState
from waybill.errors import Unavailable
from waybill.ledger.ledger import Ledger
from waybill.ledger.records import Accepted


class Move:
    """The partition's slot on its way from its owner to another master."""

    def __init__(self, servers: Servers) -> None:
        self.masters = servers.masters
        self.source = servers.owner()
        self.target = next(server for server in servers.masters if server is not self.source)

    def begin(self) -> None:
        """Both nodes know that the slot moves; no key has."""
        self.target.tell("CLUSTER", "SETSLOT", SLOT, "IMPORTING", _id(self.source))
        self.source.tell("CLUSTER", "SETSLOT", SLOT, "MIGRATING", _id(self.target))

    def give_up(self) -> None:
        """Everything stays where it was."""
        self.source.tell("CLUSTER", "SETSLOT", SLOT, "STABLE")
        self.target.tell("CLUSTER", "SETSLOT", SLOT, "STABLE")

    def finish(self) -> None:
        """Every key moves, and then the slot itself."""
        while found := self.source.tell("CLUSTER", "GETKEYSINSLOT", SLOT, 100):
            names = [str(name, "ascii") for name in found]
            self.source.tell("MIGRATE", HOST, self.target.port, "", 0, 5_000, "KEYS", *names)
        for server in (self.target, self.source, *self.masters):
            server.tell("CLUSTER", "SETSLOT", SLOT, "NODE", _id(self.target))


def _id(server: Server) -> str:
    return str(server.tell("CLUSTER", "MYID"), "ascii")


@pytest.fixture
async def ledger(replicated_cluster: Servers) -> AsyncIterator[Ledger]:
    """A ledger that waits for no replica."""
    opened = Ledger(replicated_cluster.url)
    yield opened
    await opened.close()


async def test_given_a_slot_that_has_moved_then_calls_follow_it_and_its_tasks_end(
    replicated_cluster: Servers, ledger: Ledger
) -> None:
    hand = await Hand(ledger).register()
    task_id = await accept(ledger, graph(DIAMOND))
    move = Move(replicated_cluster)
    move.begin()
    move.finish()
    task = new_task(graph(DIAMOND))
    results = await ledger.submit([task, new_task(goal="g"), task])
    assert [type(result) for result in results] == [Accepted] * 3
    await hand.run_all()
    for name in (task_id, task.id):
        assert (await check_history(ledger, name))[0].state is TaskState.SUCCEEDED
    assert move.source.tell("DBSIZE") == 0


async def test_given_a_slot_on_its_way_then_functions_are_unavailable_and_change_nothing(
    replicated_cluster: Servers, ledger: Ledger
) -> None:
    kept, refused = await accept(ledger, graph(DIAMOND)), new_task(goal="g")
    move = Move(replicated_cluster)
    move.begin()
    (result,) = await ledger.submit([refused])
    assert isinstance(result, Unavailable)
    with pytest.raises(Unavailable):
        await ledger.tick()
    move.give_up()
    assert await ledger.tasks([refused.id]) == [None]
    (result,) = await ledger.submit([refused])
    assert isinstance(result, Accepted)
    assert not result.repeated
    await (await Hand(ledger).register()).run_all()
    assert (await check_history(ledger, kept))[0].state is TaskState.SUCCEEDED
