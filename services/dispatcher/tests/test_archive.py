"""The archive: what is written comes back the same, in every database, however often and in whatever order."""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy
from archive_tasks import ATTEMPT, CALLS, STEP, TASK, ended_task
from waybill_dispatcher.archive import Archive
from waybill_dispatcher.archive_schema import METADATA, SCHEMA_VERSION, TASKS

from waybill.core.task import TaskState, Usage
from waybill.errors import NotFound, Unavailable, WaybillError
from waybill.ledger.reads import EVERY_TASK, ListPosition
from waybill.ledger.records import TaskFilter, TaskRecord


@pytest.fixture
def archive(archive_url: str) -> Iterator[Archive]:
    opened = Archive(archive_url)
    yield opened
    opened.close()


@pytest.fixture
def rows(archive_url: str) -> Iterator[sqlalchemy.Engine]:
    """The database itself."""
    engine = sqlalchemy.create_engine(archive_url)
    yield engine
    engine.dispose()


def counted(rows: sqlalchemy.Engine) -> dict[str, int]:
    with rows.connect() as connection:
        return {
            table.name: connection.execute(sqlalchemy.select(sqlalchemy.func.count()).select_from(table)).scalar_one()
            for table in METADATA.sorted_tables
        }


def shown(task: TaskRecord) -> TaskRecord:
    """A record as the archive gives it back: the character NUL becomes its picture."""
    assert task.failure is not None
    pictured = replace(task, goal=task.goal.replace("\x00", "␀"))
    return replace(pictured, failure=type(task.failure)(task.failure.reason, task.failure.message.replace("\x00", "␀")))


async def all_pages(archive: Archive, limit: int, wanted: TaskFilter = EVERY_TASK) -> list[str]:
    found: list[str] = []
    after: ListPosition | None = None
    while True:
        page, after = await archive.list_tasks("acme", limit, after, wanted)
        assert len(page) <= limit
        found += [record.id for record in page]
        if after is None:
            return found


async def test_what_is_written_comes_back_the_same(archive: Archive) -> None:
    task = ended_task()
    await archive.write([task])
    assert await archive.task("0-1") == shown(TASK)
    asked, failed = await archive.steps("0-1", 1, 2)
    assert asked == STEP
    assert (failed.failure, failed.usage, failed.worker) == (shown(TASK).failure, TASK.usage, "hand.1")
    assert [step.input for step in await archive.steps("0-1", 1, 2, payloads=False)] == [b"", b""]
    assert await archive.outputs("0-1", [2, 1, 9]) == [b"", b"true", b""]
    assert await archive.attempts("0-1", 1) == [ATTEMPT]
    assert await archive.attempts("0-1", 2) == list(task.attempts[2])
    assert await archive.calls("0-1", 2) == [CALLS[1]]
    assert await archive.calls("0-1") == [replace(call, prompt=b"", response=b"") for call in CALLS]


LATER = {
    *("cached_input_tokens", "reasoning_tokens", "estimated_microusd", "budget", "policy"),
    *("plan_revision", "conditions", "allow_skipped", "dropped", "start_ms"),
}
"""Columns that the first version of the tables did not have."""


def make_first_version(rows: sqlalchemy.Engine) -> None:
    """Take what was written back to what the first version of the tables can hold."""
    with rows.begin() as connection:
        connection.execute(sqlalchemy.text("DROP TABLE waybill_calls"))
        for table in ("waybill_tasks", "waybill_steps", "waybill_attempts"):
            known = {column["name"] for column in sqlalchemy.inspect(connection).get_columns(table)}
            for column in known.intersection(LATER):
                connection.execute(sqlalchemy.text(f"ALTER TABLE {table} DROP COLUMN {column}"))
        connection.execute(sqlalchemy.text("UPDATE waybill_archive SET version = 1"))


async def test_given_an_archive_of_the_first_version_then_its_tasks_are_read_and_new_ones_are_kept(
    archive: Archive, archive_url: str, rows
) -> None:
    await archive.write([ended_task()])
    make_first_version(rows)

    later = [Archive(archive_url) for _ in range(3)]
    await asyncio.gather(*(eventually_read(opened) for opened in later))
    old = await later[0].task("0-1")
    usage = Usage(*(getattr(TASK.usage, name) for name in ("input_tokens", "output_tokens", "cost_microusd")))
    assert old == replace(shown(TASK), budget=None, policy=None, usage=usage, start_ms=0)
    step, _ = await later[1].steps("0-1", 1, 2)
    assert step == replace(STEP, plan_revision=1, when=(), allow_skipped=False, dropped=False)
    assert (await later[1].calls("0-1"), len(await later[1].attempts("0-1", 2))) == ([], 2)

    await later[2].write([ended_task(id="0-2"), ended_task()])
    assert await later[0].task("0-1") == shown(TASK)
    assert await later[1].calls("0-2", 2) == [CALLS[1]]
    for opened in later:
        opened.close()


async def eventually_read(archive: Archive) -> None:
    """Read once, and again while another brings the tables up to date."""
    async with asyncio.timeout(30):
        while True:
            try:
                await archive.task("0-1")
            except Unavailable:
                await asyncio.sleep(0.05)
            else:
                return


async def test_what_was_never_written_is_not_found(archive: Archive) -> None:
    with pytest.raises(NotFound):
        await archive.task("0-1")
    assert await archive.list_tasks("acme", 10, None, TaskFilter()) == ([], None)


async def test_given_a_task_that_is_written_again_then_nothing_doubles(archive: Archive, rows) -> None:
    await archive.write([ended_task(), ended_task(id="0-2")])
    once = counted(rows)
    await archive.write([ended_task(), ended_task(id="0-2")])
    assert counted(rows) == once
    assert once["waybill_tasks"] == 2


async def test_given_a_later_end_then_it_replaces_the_earlier_and_never_the_other_way_round(archive: Archive) -> None:
    early = ended_task()
    late = ended_task(ended_ms=TASK.ended_ms + 1, state=TaskState.SUCCEEDED, failure=None, labels={"kind": "b"})
    for order in itertools.permutations([early, late]):
        for task in order:
            await archive.write([task])
        kept = await archive.task("0-1")
        assert (kept.state, kept.ended_ms) == (TaskState.SUCCEEDED, TASK.ended_ms + 1)
        assert await all_pages(archive, 9, TaskFilter(labels={"kind": "q"})) == []
        assert await all_pages(archive, 9, TaskFilter(labels={"kind": "b"})) == ["0-1"]


async def test_given_many_writers_of_the_same_tasks_at_once_then_each_is_there_once(archive_url: str, rows) -> None:
    archives = [Archive(archive_url) for _ in range(3)]
    tasks = [ended_task(id=f"0-{at}") for at in range(8)]
    await asyncio.gather(*(archive.write(tasks[::turn]) for archive in archives for turn in (1, -1)))
    assert counted(rows)["waybill_tasks"] == 8
    for archive in archives:
        archive.close()


@pytest.mark.parametrize("limit", [1, 2, 100])
async def test_pages_are_newest_first_without_gaps_or_repeats_also_at_one_time(archive: Archive, limit: int) -> None:
    # Ids whose order depends on how a language sorts: by their bytes they come as listed.
    ids = ["0-b", "0-a", "0-B", "0-1b", "0-10"]
    tasks = [ended_task(id=f"{task}{at}", created_ms=at) for at in (3, 2) for task in ids]
    await archive.write(tasks[::-1])
    await archive.write([ended_task(id="0-other", tenant="other", created_ms=2)])
    assert await all_pages(archive, limit) == [task.record.id for task in tasks]


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        (TaskFilter(), "cba"),
        (TaskFilter(states=frozenset({TaskState.FAILED})), "ba"),
        (TaskFilter(states=frozenset({TaskState.FAILED, TaskState.SUCCEEDED})), "cba"),
        (TaskFilter(states=frozenset({TaskState.RUNNING})), ""),
        (TaskFilter(labels={"kind": "x"}), "ca"),
        (TaskFilter(labels={"kind": "x", "n": "1"}), "a"),
        (TaskFilter(labels={"kind": "1"}), ""),
        (TaskFilter(agent="writer"), "b"),
        (TaskFilter(template="weekly"), "cb"),
        (TaskFilter(from_ms=20), "cb"),
        (TaskFilter(until_ms=20), "a"),
        (TaskFilter(from_ms=20, until_ms=30), "b"),
        (TaskFilter(states=frozenset({TaskState.FAILED}), labels={"kind": "x"}, until_ms=99), "a"),
    ],
)
async def test_every_filter_works_and_admits_what_the_store_admits(archive: Archive, wanted, found: str) -> None:
    tasks = [
        ended_task(id="a", created_ms=10, labels={"kind": "x", "n": "1"}, agents=("echo",), template=""),
        ended_task(id="b", created_ms=20, labels={"kind": "y"}, agents=("echo", "writer")),
        ended_task(id="c", created_ms=30, labels={"kind": "x"}, agents=(), state=TaskState.SUCCEEDED, failure=None),
    ]
    await archive.write(tasks)
    assert "".join(await all_pages(archive, 2, wanted)) == found
    in_time = [task.record for task in tasks if wanted.from_ms <= task.record.created_ms < (wanted.until_ms or 99)]
    assert sorted(found) == [record.id for record in in_time if wanted.admits(record)]


async def test_a_task_that_is_deleted_takes_all_of_it_along(archive: Archive, rows) -> None:
    await archive.write([ended_task()])
    with rows.begin() as connection:
        if rows.dialect.name == "sqlite":
            connection.execute(sqlalchemy.text("PRAGMA foreign_keys=ON"))
        connection.execute(sqlalchemy.delete(TASKS))
    assert {count for name, count in counted(rows).items() if name != "waybill_archive"} == {0}


async def test_given_a_database_that_is_away_then_that_is_said_until_it_is_back(database, tmp_path: Path) -> None:
    with database.away(tmp_path) as url:
        archive = Archive(url)
        with pytest.raises(Unavailable):
            await archive.write([ended_task()])
        with pytest.raises(Unavailable):
            await archive.task("0-1")
    await archive.write([ended_task()])
    assert (await archive.task("0-1")).id == "0-1"
    archive.close()


async def test_given_another_release_s_tables_then_they_are_left_alone(archive_url: str, rows) -> None:
    archive = Archive(archive_url)
    await archive.write([ended_task()])
    archive.close()
    with rows.begin() as connection:
        connection.execute(sqlalchemy.text(f"UPDATE waybill_archive SET version = {SCHEMA_VERSION + 1}"))
    before = counted(rows)
    newer = Archive(archive_url)
    with pytest.raises(Unavailable):
        await newer.write([ended_task(id="0-2")])
    assert counted(rows) == before
    newer.close()


async def test_given_a_task_that_the_database_refuses_then_that_is_not_taken_for_an_outage(archive: Archive) -> None:
    with pytest.raises(WaybillError) as caught:
        await archive.write([ended_task(created_ms=2**70)])
    assert not isinstance(caught.value, Unavailable)
    await archive.write([ended_task()])


WRITE_AND_DIE = """
import asyncio, os, signal, sys
from archive_tasks import ended_task
from waybill_dispatcher.archive import Archive
asyncio.run(Archive(sys.argv[1]).write([ended_task()]))
os.kill(os.getpid(), signal.SIGKILL)
"""


async def test_given_a_writer_that_is_killed_then_what_it_was_told_is_kept_is_there(archive, archive_url) -> None:
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
    killed = subprocess.run([sys.executable, "-c", WRITE_AND_DIE, archive_url], env=environment, timeout=60)
    assert killed.returncode == -signal.SIGKILL
    assert (await archive.task("0-1")).id == "0-1"
