"""Reads: pages that neither skip nor repeat, ranges of events, and what is told of agents and workers."""

import itertools

import msgspec
from ledger_hand import Hand, succeeded
from ledger_plans import accept, chain, graph, new_task, side_by_side

from waybill.core.task import TaskState
from waybill.ledger.ledger import Ledger
from waybill.ledger.reads import ListPosition
from waybill.ledger.records import TaskFilter, WorkerRecord


async def pages(ledger: Ledger, limit: int, *, submitting: bool = False) -> list[list[str]]:
    """Ids on every page of a list; new tasks come in between them if `submitting`."""
    found: list[list[str]] = []
    after: ListPosition | None = None
    while True:
        page, after = await ledger.list_tasks("acme", limit, after)
        found.append([record.id for record in page])
        if after is None:
            return found
        if submitting:
            ledger.clock_ms += 1
            await accept(ledger, goal="g")


async def test_given_300_tasks_of_one_millisecond_when_paged_by_7_then_each_comes_once(ledger: Ledger) -> None:
    tasks = [new_task(goal="g") for _ in range(300)]
    await ledger.submit(tasks)
    found = await pages(ledger, 7)
    assert [len(page) for page in found] == [7] * 42 + [6]
    assert sorted(itertools.chain.from_iterable(found)) == sorted(task.id for task in tasks)


async def test_given_tasks_that_come_in_while_paging_then_the_pages_stay(ledger: Ledger) -> None:
    accepted = []
    for _ in range(20):
        accepted.append(await accept(ledger, goal="g"))
        ledger.clock_ms += 1
    found = await pages(ledger, 3, submitting=True)
    assert list(itertools.chain.from_iterable(found)) == accepted[::-1]


async def test_given_as_many_tasks_as_a_page_holds_then_there_is_no_next(ledger: Ledger) -> None:
    task_id = await accept(ledger, goal="g")
    assert await pages(ledger, 1) == [[task_id]]


async def test_given_states_then_only_tasks_in_them_are_listed(ledger: Ledger) -> None:
    accepted = []
    for at in range(6):
        accepted.append(await accept(ledger, goal="g"))
        ledger.clock_ms += 1
        if at % 2:
            await ledger.cancel(accepted[-1])
    page, after = await ledger.list_tasks("acme", 2, None, TaskFilter(states=frozenset({TaskState.CANCELLED})))
    rest, end = await ledger.list_tasks("acme", 2, after, TaskFilter(states=frozenset({TaskState.CANCELLED})))
    assert [record.id for record in page + rest] == accepted[5::-2]
    assert end is None


async def test_given_another_tenant_then_its_tasks_are_not_listed(ledger: Ledger) -> None:
    await accept(ledger, goal="g", tenant="zeta")
    assert await ledger.list_tasks("acme", 10) == ([], None)


async def test_given_a_range_then_those_events_and_no_others(ledger: Ledger) -> None:
    task_id = await accept(ledger, graph(side_by_side(8)))
    assert [event.sequence for event in await ledger.events(task_id, 3, 4)] == [3, 4, 5, 6]
    assert [event.sequence for event in await ledger.events(task_id, 9, 100)] == [9, 10]
    assert await ledger.events(task_id, 11, 100) == []
    assert await ledger.events("0-nothing", 1, 100) == []


async def test_given_workers_then_agents_and_workers_tell_of_them(ledger: Ledger) -> None:
    first = await Hand(ledger, "first", ("echo", "slow"), slots=4).register()
    second = await Hand(ledger, "second", ("slow",), max_batch=9).register()
    await accept(ledger, graph(side_by_side(3)))
    await first.take(2)
    told = [(agent.name, agent.live_workers, agent.queued_batches, agent.max_batch) for agent in await ledger.agents()]
    assert told == [("echo", 1, 0, 1), ("slow", 2, 0, 9)]
    assert await ledger.workers() == [
        WorkerRecord(first.id, "127.0.0.1:1", 4, ("echo", "slow"), 2),
        WorkerRecord(second.id, "127.0.0.1:1", 16, ("slow",), 0),
    ]


async def test_given_an_input_over_256_kib_when_granted_then_it_is_fetched(ledger: Ledger, hand: Hand) -> None:
    big = msgspec.json.encode({"text": "x" * 300_000})
    await accept(ledger, graph(chain(2), inputs={"s0": big, "s1": b'{"x": "${s0}"}'}))
    (first,) = await hand.take()
    assert first.input == big
    (second,) = (await hand.exchange(succeeded(first, big))).grants
    assert (second.input, dict(second.inputs)) == (b'{"x": "${s0}"}', {"s0": big})
