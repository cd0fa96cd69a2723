"""Archiving: what has ended is in the archive before it leaves the store, whatever dies, and is found there."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import grpc
import pytest
import sqlalchemy
from archive_tasks import ended_task
from ledger_hand import Hand, failed, succeeded
from ledger_plans import accept, graph
from waybill_dispatcher.archive import Archive
from waybill_dispatcher.archive_schema import ATTEMPTS, STEPS, TASKS
from waybill_dispatcher.archiving import LEASE_MS, Archiving
from waybill_dispatcher.attempts import folded
from waybill_dispatcher.directory import AgentDirectory
from waybill_dispatcher.history import History

from waybill.api.v1 import dispatcher_pb2, task_pb2
from waybill.core.task import TaskState
from waybill.errors import NotFound, Unavailable
from waybill.ledger.ledger import Ledger
from waybill.ledger.records import Outcome, Settlement

START_MS = 1_700_000_000_000
DAY_MS = 24 * 3_600_000
TWO = task_pb2.Plan(
    steps=[
        task_pb2.PlanStep(name="left", agent="echo", input=task_pb2.Payload(data=b'{"n": "${task.input}"}')),
        task_pb2.PlanStep(name="right", agent="echo", after=["left"]),
        task_pb2.PlanStep(name="other", agent="echo", after=["left"]),
    ]
)


@pytest.fixture
async def ledger(embedded_url: str) -> AsyncIterator[Ledger]:
    """A ledger with an archive, whose clock only the test moves."""
    opened = Ledger(embedded_url, clock_ms=START_MS)
    await opened.set_policy({"archive": 1, "retention_ms": 1_000, "archive_wait_ms": DAY_MS})
    yield opened
    await opened.close()


@pytest.fixture
async def hand(ledger: Ledger) -> Hand:
    return await Hand(ledger).register()


@pytest.fixture
def archive(archive_url: str) -> Iterator[Archive]:
    opened = Archive(archive_url)
    yield opened
    opened.close()


async def expire(ledger: Ledger) -> int:
    """Lets the retention pass."""
    ledger.clock_ms += 20_000
    return await ledger.expire(1_000)


async def run(hand: Hand, *, well: bool = True) -> None:
    """Runs the steps there are, to a good or a bad end."""
    while granted := await hand.take():
        await hand.exchange(*((succeeded(grant) if well else failed(grant, final=True)) for grant in granted), free=0)


async def test_given_a_task_that_ended_then_it_stays_until_it_is_archived(ledger, hand, archive) -> None:
    task = await accept(ledger, graph({"a": [], "b": ["a"]}), labels={"k": "v"}, input=b'{"x": 1}')
    await run(hand)
    record, steps = await ledger.task(task), await ledger.steps(task, 1, 2)
    attempts = await folded(ledger, record)
    assert await expire(ledger) == 0
    assert await Archiving(ledger, archive).archive_some()
    assert await expire(ledger) == 1
    assert await archive.task(task) == record
    assert await archive.steps(task, 1, 2) == steps
    for step in steps:
        assert await archive.attempts(task, step.number) == attempts.of(step.name) != []


async def test_given_a_task_that_is_retried_then_its_new_end_replaces_the_old_one(ledger, hand, archive) -> None:
    task = await accept(ledger, graph({"a": []}))
    await run(hand, well=False)
    archiving = Archiving(ledger, archive)
    assert await archiving.archive_some()
    ledger.clock_ms += 5
    await ledger.retry(task)
    assert not await archiving.archive_some()
    await run(hand)
    assert await archiving.archive_some()
    assert (await archive.task(task)).state is TaskState.SUCCEEDED
    assert len(await archive.attempts(task, 1)) == 2


async def test_given_a_task_that_is_retried_between_lease_and_mark_then_it_is_not_marked(ledger, hand, archive) -> None:
    task = await accept(ledger, graph({"a": []}))
    await run(hand, well=False)
    (lease,) = await ledger.lease_archive(LEASE_MS, 10)
    await ledger.retry(task)
    assert await ledger.mark_archived([lease]) == 0
    await run(hand)
    assert await expire(ledger) == 0
    archiving = Archiving(ledger, archive)
    while await archiving.archive_some():
        pass
    assert (await archive.task(task)).state is TaskState.SUCCEEDED
    assert await expire(ledger) == 1


@pytest.mark.parametrize("seed", range(3))
async def test_given_archivers_that_are_killed_anywhere_then_each_task_is_archived_once(
    ledger, hand, archive, archive_url: str, seed: int
) -> None:
    tasks = [await accept(ledger, graph({"a": [], "b": ["a"]})) for _ in range(12)]
    await run(hand)
    chance = random.Random(seed)
    for _ in range(30):
        running = asyncio.create_task(Archiving(ledger, archive).archive_some())
        await asyncio.sleep(chance.random() * 0.03)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        ledger.clock_ms += chance.choice([0, LEASE_MS + 1])
    ledger.clock_ms += LEASE_MS + 1
    while await Archiving(ledger, archive).archive_some():
        pass
    assert await expire(ledger) == len(tasks)
    engine = sqlalchemy.create_engine(archive_url)
    with engine.connect() as connection:
        counts = [
            connection.execute(sqlalchemy.select(sqlalchemy.func.count()).select_from(table)).scalar_one()
            for table in (TASKS, STEPS, ATTEMPTS)
        ]
    engine.dispose()
    assert counts == [len(tasks), 2 * len(tasks), 2 * len(tasks)]


async def test_given_a_task_that_the_database_refuses_then_the_others_are_archived(ledger, hand, archive) -> None:
    await archive.write([ended_task()])
    poison = await accept(ledger, graph({"a": []}), template="poison")
    others = [await accept(ledger, graph({"a": []})) for _ in range(3)]
    await run(hand)
    await archive._in_thread(lambda connection: connection.execute(sqlalchemy.text(REFUSAL[connection.dialect.name])))
    archiving = Archiving(ledger, archive)
    assert await archiving.archive_some()
    assert not await archiving.archive_some()
    assert {(await archive.task(task)).id for task in others} == set(others)
    with pytest.raises(NotFound):
        await archive.task(poison)
    assert await expire(ledger) == 3
    ledger.clock_ms += DAY_MS
    assert await ledger.expire(10) == 1, "the archive is waited for no longer than that"


REFUSAL = {
    "sqlite": "CREATE TRIGGER refuse BEFORE INSERT ON waybill_tasks WHEN NEW.template = 'poison' "
    "BEGIN SELECT RAISE(ABORT, 'refused'); END",
    "postgresql": "ALTER TABLE waybill_tasks ADD CHECK (template <> 'poison')",
}


async def test_given_a_database_that_is_away_then_tasks_wait_for_it(ledger, hand, database, tmp_path: Path) -> None:
    tasks = [await accept(ledger, graph({"a": []})) for _ in range(3)]
    await run(hand)
    with database.away(tmp_path) as url:
        archive = Archive(url)
        archiving = Archiving(ledger, archive)
        for _ in range(2):
            with pytest.raises(Unavailable):
                await archiving.archive_some()
        assert await expire(ledger) == 0
    assert await archiving.archive_some(), "what it had leased is tried first"
    assert {(await archive.task(task)).id for task in tasks} == set(tasks)
    assert await expire(ledger) == 3
    archive.close()


async def test_given_an_archived_task_then_it_is_found_there_as_it_was(start_suite, archive_url: str) -> None:
    suite = await start_suite(archive_url=archive_url, retention_seconds=2)
    await suite.announce("echo")
    name = (await suite.submit(plan=TWO, input=task_pb2.Payload(data=b"7"), template="weekly")).task.name
    await suite.run_steps(["echo"], b'{"n": 1}')
    reads = [
        ("ReadSteps", {"parent": name}),
        ("ReadTaskMetrics", {"name": name}),
        *(("ReadAttempts", {"parent": f"{name}/steps/{step}"}) for step in ("left", "right", "other")),
    ]
    task = await suite.task(name)
    before = [await suite.call(rpc, **fields) for rpc, fields in reads]
    assert (task.archived, task.output.data) == (False, b'{"right":{"n": 1},"other":{"n": 1}}')
    archived = await suite.until(name, lambda seen: seen.archived)
    task.archived = True
    assert archived == task
    assert [await suite.call(rpc, **fields) for rpc, fields in reads] == before
    (listed,) = (await suite.call("ReadTasks", filter=task_pb2.TaskFilter(template="weekly"))).tasks
    assert (listed.name, listed.archived) == (name, True)
    pages = [
        await suite.call("ReadSteps", parent=name, page_size=2, page_token=token)
        for token in ("", (await suite.call("ReadSteps", parent=name, page_size=2)).next_page_token)
    ]
    assert [step for page in pages for step in page.steps] == list(before[0].steps)


class Forgetful(Ledger):
    """A ledger that drops a task just before one of the reads of it."""

    drops_before = ""

    async def _drop_before(self, read: str) -> None:
        if read == self.drops_before:
            self.drops_before = ""
            assert await expire(self) == 1

    async def steps(self, *arguments, **options):
        await self._drop_before("steps")
        return await super().steps(*arguments, **options)

    async def outputs(self, *arguments):
        await self._drop_before("outputs")
        return await super().outputs(*arguments)

    async def events(self, *arguments):
        await self._drop_before("events")
        return await super().events(*arguments)


@pytest.mark.parametrize("drops_before", ["steps", "outputs", "events"])
async def test_given_a_task_that_is_dropped_while_it_is_read_then_the_archive_tells_all_of_it(
    embedded_url: str, archive: Archive, drops_before: str
) -> None:
    ledger = Forgetful(embedded_url, clock_ms=START_MS)
    await ledger.set_policy({"archive": 1, "retention_ms": 1_000})
    history = History(ledger, AgentDirectory(ledger), archive)
    reads = [
        ("outputs", lambda task: history.task("acme", task)),
        ("steps", lambda task: history.steps("acme", task, 0, 10)),
        ("steps", lambda task: history.metrics("acme", task)),
        ("steps", lambda task: history.attempts("acme", task, "a")),
        ("events", lambda task: history.attempts("acme", task, "a")),
    ]
    hand = await Hand(ledger).register()
    for ask in (ask for read, ask in reads if read == drops_before):
        task = await accept(ledger, graph({"a": []}))
        await run(hand)
        before = await ask(task)
        while await Archiving(ledger, archive).archive_some():
            pass
        ledger.drops_before = drops_before
        after = await ask(task)
        assert ledger.drops_before == ""
        if isinstance(after, task_pb2.Task):
            after.archived = False
        assert after == before
    await ledger.close()


async def test_given_an_archived_task_then_nothing_can_be_done_with_it_any_more(start_suite, archive_url: str) -> None:
    suite = await start_suite(archive_url=archive_url, retention_seconds=2)
    await suite.announce("echo")
    name = (await suite.submit(plan=TWO)).task.name
    await suite.run_steps(["echo"], settle=lambda grant: Settlement(grant.ref, Outcome.FAILED_FINALLY))
    await suite.until(name, lambda seen: seen.archived)
    step = f"{name}/steps/left"
    answer = task_pb2.Payload(data=b"1")
    changes = [
        ("SteerTask", {"name": name, "action": dispatcher_pb2.TASK_ACTION_RETRY}),
        ("SubmitAnswer", {"name": step, "answer": answer}),
        ("DecideEffect", {"step": step, "key": "k", "state": task_pb2.EFFECT_STATE_FAILED}),
        (
            "SettleDeadLetter",
            {"name": name.replace("tasks", "deadLetters") + ".1", "action": dispatcher_pb2.DEAD_LETTER_ACTION_RETRY},
        ),
    ]
    for rpc, fields in changes:
        code, details = await suite.refused(rpc, **fields, request_id="r")
        assert (code, "in the archive" in details) == (grpc.StatusCode.FAILED_PRECONDITION, True), rpc
    for rpc, fields in (("ReadEvents", {"name": name}), ("ReadEffects", {"parent": name})):
        assert (await suite.refused(rpc, **fields))[0] == grpc.StatusCode.NOT_FOUND
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await suite.events(name)
    assert caught.value.code() == grpc.StatusCode.NOT_FOUND
    for rpc, fields in [*changes, ("ReadTask", {"name": name}), ("ReadTaskMetrics", {"name": name})]:
        given = fields if rpc.startswith("Read") else {**fields, "request_id": "r"}
        assert (await suite.refused(rpc, **given, tenant="other"))[0] == grpc.StatusCode.NOT_FOUND
    retried = await suite.call(
        "RetryMany", filter=task_pb2.TaskFilter(states=[task_pb2.TASK_STATE_FAILED]), request_id="r"
    )
    assert list(retried.names) == []


async def test_given_an_archive_that_is_away_then_only_what_needs_it_waits(
    start_suite, database, tmp_path: Path
) -> None:
    with database.away(tmp_path) as url:
        suite = await start_suite(archive_url=url, retention_seconds=1)
        await suite.announce("echo")
        name = (await suite.submit(plan=TWO)).task.name
        await suite.run_steps(["echo"])
        await suite.submit(plan=TWO, request_id="r2")
        await asyncio.sleep(1.5)  # its retention is over
        assert (await suite.task(name)).state == task_pb2.TASK_STATE_SUCCEEDED
        running = task_pb2.TaskFilter(states=[task_pb2.TASK_STATE_RUNNING])
        assert len((await suite.call("ReadTasks", filter=running)).tasks) == 1
        assert (await suite.refused("ReadTasks"))[0] == grpc.StatusCode.UNAVAILABLE
        assert (await suite.refused("ReadTask", name="tasks/0-none"))[0] == grpc.StatusCode.UNAVAILABLE
    assert (await suite.until(name, lambda seen: seen.archived)).name == name
    assert (await suite.refused("ReadTask", name="tasks/0-none"))[0] == grpc.StatusCode.NOT_FOUND


async def test_given_an_archive_that_stays_away_then_tasks_wait_for_it_no_longer_than_told(
    start_suite, database, tmp_path: Path
) -> None:
    with database.away(tmp_path) as url:
        suite = await start_suite(archive_url=url, retention_seconds=1, archive_wait_seconds=1)
        await suite.announce("echo")
        name = (await suite.submit(plan=TWO)).task.name
        await suite.run_steps(["echo"])
        async with asyncio.timeout(30):
            while await suite.ledger.tasks([name.removeprefix("tasks/")]) != [None]:
                await asyncio.sleep(0.05)
