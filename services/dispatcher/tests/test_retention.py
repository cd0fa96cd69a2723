"""Retention: ended tasks go when they are old, or when there are too many of them, and leave nothing behind."""

from __future__ import annotations

import asyncio

import pytest
from pydantic import ValidationError
from waybill_dispatcher.settings import DispatcherSettings

from waybill.api.v1 import task_pb2

ONE = task_pb2.Plan(steps=[task_pb2.PlanStep(name="only", agent="echo")])


async def left(suite, tenant: str = "default") -> list[str]:
    return [task.name for task in (await suite.call("ReadTasks", tenant=tenant)).tasks]


async def until_left(suite, names: list[str], tenant: str = "default") -> None:
    async with asyncio.timeout(30):
        while await left(suite, tenant) != names:
            await asyncio.sleep(0.05)


async def keys_of(suite, name: str) -> list[bytes]:
    return [key async for key in suite.store.scan_iter(f"*{name.removeprefix('tasks/')}*")]


async def test_given_a_short_retention_then_ended_tasks_go_and_those_at_work_stay(start_suite) -> None:
    suite = await start_suite(retention_seconds=1)
    await suite.announce("echo")
    ended = (await suite.submit(plan=ONE)).task.name
    await suite.run_steps(["echo"])
    working = (await suite.submit(plan=ONE, request_id="r2")).task.name
    await until_left(suite, [working])
    assert await keys_of(suite, ended) == []
    await suite.announce("echo")  # nobody heard of the worker meanwhile
    await suite.run_steps(["echo"])
    await until_left(suite, [])
    assert await keys_of(suite, working) == []


async def test_given_a_count_then_each_tenant_keeps_its_newest_ended_tasks(start_suite) -> None:
    suite = await start_suite(retention_count=2)
    await suite.announce("echo")
    names: dict[str, list[str]] = {"one": [], "two": []}
    for tenant in names:
        for at in range(4):
            names[tenant].append((await suite.submit(plan=ONE, tenant=tenant, request_id=f"r{at}")).task.name)
            await suite.run_steps(["echo"])
            await asyncio.sleep(0.002)  # so that each ends in a millisecond of its own
    for tenant, submitted in names.items():
        await until_left(suite, submitted[:1:-1], tenant)
        for name in submitted[:2]:
            assert await keys_of(suite, name) == []


async def test_given_a_count_and_an_archive_then_what_goes_early_is_archived_too(start_suite, archive_url) -> None:
    suite = await start_suite(retention_count=1, archive_url=archive_url)
    await suite.announce("echo")
    names = []
    for at in range(3):
        names.append((await suite.submit(plan=ONE, request_id=f"r{at}")).task.name)
        await suite.run_steps(["echo"])
        await asyncio.sleep(0.002)
    for name in names[:2]:
        await suite.until(name, lambda task: task.archived)
    tasks = (await suite.call("ReadTasks")).tasks
    assert [(task.name, task.archived) for task in tasks] == [(names[2], False), (names[1], True), (names[0], True)]


def test_the_policy_tells_the_ledger_what_was_set() -> None:
    settings = DispatcherSettings(
        retention_seconds=5,
        retention_count=6,
        max_process_deaths=7,
        max_worker_losses=8,
        archive_url="sqlite:////tmp/a.db",
        archive_wait_seconds=9,
    )
    told = {name: settings.policy()[name] for name in ("retention_ms", "retention_count", "max_deaths", "max_losses")}
    assert told == {"retention_ms": 5_000, "retention_count": 6, "max_deaths": 7, "max_losses": 8}
    assert (settings.policy()["archive"], settings.policy()["archive_wait_ms"]) == (1, 9_000)
    assert DispatcherSettings().policy()["archive"] == 0


@pytest.mark.parametrize(
    "url", ["nonsense", "mysql://u:secret@h/d", "sqlite://", "sqlite:///:memory:", "postgresql://u:secret@h/d"]
)
def test_a_database_that_the_archive_cannot_use_is_refused_without_telling_its_password(url: str) -> None:
    with pytest.raises(ValidationError) as caught:
        DispatcherSettings(archive_url=url)
    assert "archive_url" in str(caught.value)
    assert "secret" not in str(caught.value)
