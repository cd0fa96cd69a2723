"""Lists: one order over the store and the archive, whatever is where, and nothing twice."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Iterator

import pytest
from ledger_hand import Hand, failed, succeeded
from ledger_plans import accept, graph
from waybill_dispatcher.archive import Archive
from waybill_dispatcher.archiving import Archiving
from waybill_dispatcher.listing import Listing

from waybill.api.v1 import dispatcher_pb2, task_pb2
from waybill.core.task import TaskState
from waybill.ledger.ledger import Ledger
from waybill.ledger.reads import EVERY_TASK, ListPosition
from waybill.ledger.records import TaskFilter, TaskRecord

START_MS = 1_700_000_000_000
TENANT = "acme"
ENDED = frozenset({TaskState.SUCCEEDED, TaskState.FAILED})
FILTERS = [
    EVERY_TASK,
    TaskFilter(states=frozenset({TaskState.FAILED})),
    TaskFilter(states=frozenset({TaskState.RUNNING})),
    TaskFilter(states=ENDED | {TaskState.RUNNING}),
    TaskFilter(labels={"third": "yes"}),
    TaskFilter(agent="echo", until_ms=START_MS + 200),
    TaskFilter(template="weekly", from_ms=START_MS + 100),
]


@pytest.fixture
async def ledger(embedded_url: str) -> AsyncIterator[Ledger]:
    opened = Ledger(embedded_url, clock_ms=START_MS)
    await opened.set_policy({"archive": 1, "retention_ms": 1_000_000})
    yield opened
    await opened.close()


@pytest.fixture
def archive(archive_url: str) -> Iterator[Archive]:
    opened = Archive(archive_url)
    yield opened
    opened.close()


async def history_of(ledger: Ledger, archive: Archive, seed: int) -> list[TaskRecord]:
    """Tasks of every kind, newest first: at work, ended, retried, archived, dropped."""
    chance = random.Random(seed)
    hand = await Hand(ledger).register()
    tasks = []
    for at in range(24):
        ledger.clock_ms += chance.choice([0, 0, 7, 20])
        labels = {"third": "yes"} if at % 3 == 0 else {}
        task = await accept(ledger, graph({"a": []}), labels=labels, template=chance.choice(["", "weekly"]))
        tasks.append(task)
        for grant in await hand.take():
            ends = chance.choice([succeeded(grant), failed(grant, final=True), None])
            if ends is not None:
                await hand.exchange(ends, free=0)
    archiving = Archiving(ledger, archive)
    while await archiving.archive_some():
        pass
    records = {task: await ledger.task(task) for task in tasks}
    for task, record in records.items():
        if record.state is TaskState.FAILED and chance.random() < 0.4:
            await ledger.retry(task)
            records[task] = await ledger.task(task)
        elif record.state.ended and chance.random() < 0.6:
            # Its retention is over: the others' is not.
            await ledger._store.command("ZADD", ledger._key("expiry"), 1, task)
    await ledger.expire(1_000)
    return sorted(records.values(), key=lambda record: (record.created_ms, record.id), reverse=True)


def meant(record: TaskRecord, wanted: TaskFilter) -> bool:
    in_time = wanted.from_ms <= record.created_ms < (wanted.until_ms or record.created_ms + 1)
    return in_time and wanted.admits(record)


async def walk(listing: Listing, limit: int, wanted: TaskFilter) -> list[task_pb2.Task]:
    found: list[task_pb2.Task] = []
    after: ListPosition | None = None
    for _ in range(200):
        page, after = await listing.page(TENANT, limit, after, wanted)
        assert len(page) <= limit
        found += page
        if after is None:
            return found
    raise AssertionError("the list has no end")


@pytest.mark.parametrize("seed", [1, 2])
async def test_given_tasks_here_and_there_then_every_list_holds_each_that_is_meant_once_in_order(
    ledger, archive, seed: int
) -> None:
    records = await history_of(ledger, archive, seed)
    dropped = {record.id for record in records if (await ledger.tasks([record.id]))[0] is None}
    assert 0 < len(dropped) < len(records)
    listing = Listing(ledger, archive)
    for wanted in FILTERS:
        expected = [record.id for record in records if meant(record, wanted)]
        for limit in (2, 100):
            found = await walk(listing, limit, wanted)
            assert [task.name.removeprefix("tasks/") for task in found] == expected
            assert all(task.archived == (task.name.removeprefix("tasks/") in dropped) for task in found)


async def test_given_tasks_that_come_in_and_are_dropped_between_pages_then_none_is_skipped_or_repeated(
    ledger, archive
) -> None:
    records = await history_of(ledger, archive, 4)
    listing = Listing(ledger, archive)
    found: list[str] = []
    after: ListPosition | None = None
    for turn in range(200):
        page, after = await listing.page(TENANT, 3, after, EVERY_TASK)
        found += [task.name.removeprefix("tasks/") for task in page]
        if after is None:
            break
        ledger.clock_ms += 1
        await accept(ledger, graph({"a": []}))
        if turn == 2:
            ledger.clock_ms += 2_000_000
            assert await ledger.expire(1_000) > 0
    assert found == [record.id for record in records]


async def test_given_no_archive_then_a_filter_narrows_the_list(suite) -> None:
    await suite.announce("echo")
    plan = task_pb2.Plan(steps=[task_pb2.PlanStep(name="only", agent="echo")])
    names = {
        key: (await suite.submit(plan=plan, request_id=key, labels={"key": key})).task.name for key in ("a", "b", "c")
    }
    await suite.call("SteerTask", name=names["b"], action=dispatcher_pb2.TASK_ACTION_CANCEL, request_id="stop")
    created = (await suite.task(names["c"])).create_time
    for wanted, expected in [
        ({"labels": {"key": "a"}}, "a"),
        ({"states": [task_pb2.TASK_STATE_CANCELLED]}, "b"),
        ({"agent": "echo"}, "abc"),
        ({"agent": "other"}, ""),
        ({"labels": {"key": "c"}, "create_time_from": created}, "c"),
        ({"labels": {"key": "c"}, "create_time_until": created}, ""),
    ]:
        tasks = (await suite.call("ReadTasks", filter=task_pb2.TaskFilter(**wanted))).tasks
        assert sorted(task.name for task in tasks) == sorted(names[key] for key in expected)
    await suite.run_steps(["echo"])
