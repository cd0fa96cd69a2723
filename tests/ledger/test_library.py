"""The function library: loaded when it is missing, beside those of other releases, on servers that can run it."""

import asyncio
from typing import Any

import pytest
import redis.asyncio
from ledger_hand import Hand
from ledger_plans import accept, chain, graph, new_task

from waybill.core.task import TaskState
from waybill.errors import FailedPrecondition
from waybill.ledger import calls
from waybill.ledger.ledger import Ledger
from waybill.ledger.library import FUNCTIONS, Library, library
from waybill.ledger.records import Accepted
from waybill.ledger.replies import check_version


async def test_given_no_functions_when_called_then_they_are_loaded_and_the_call_is_made(
    ledger: Ledger, store: redis.asyncio.Redis
) -> None:
    await store.execute_command("FUNCTION", "FLUSH")
    assert (await ledger.tick()).ran


async def test_given_no_functions_when_submitting_many_then_each_is_accepted_once(
    ledger: Ledger, store: redis.asyncio.Redis
) -> None:
    tasks = [new_task(goal="g") for _ in range(5)]
    await store.execute_command("FUNCTION", "FLUSH")
    results = await ledger.submit(tasks)
    assert results == [Accepted(task.id, ledger.clock_ms, 1) for task in tasks]


async def test_given_no_functions_when_many_call_at_once_then_all_are_served(
    ledger: Ledger, store: redis.asyncio.Redis
) -> None:
    await store.execute_command("FUNCTION", "FLUSH")
    assert await asyncio.gather(*(ledger.expire(1) for _ in range(20))) == [0] * 20


async def test_given_functions_that_vanish_between_calls_then_a_task_runs_to_its_end(
    ledger: Ledger, hand: Hand, store: redis.asyncio.Redis
) -> None:
    task_id = await accept(ledger, graph(chain(1)))
    await store.execute_command("FUNCTION", "FLUSH")
    await hand.run_all()
    assert (await ledger.task(task_id)).state is TaskState.SUCCEEDED


async def test_given_two_releases_on_one_store_then_they_share_its_tasks(
    ledger: Ledger, hand: Hand, store_url: str, store: redis.asyncio.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    tag = library().tag
    newer = Library("0" * len(tag), library().source.replace(tag, "0" * len(tag)))
    monkeypatch.setattr(calls, "library", lambda: newer)
    other = Ledger(store_url, clock_ms=ledger.clock_ms)
    try:
        await other.connect()
        task_id = await accept(other, graph(chain(2)))
        await hand.run_all()
        assert (await other.task(task_id)).state is TaskState.SUCCEEDED
        assert len(await store.execute_command("FUNCTION", "LIST")) == 2
    finally:
        await other.close()


async def test_given_a_loaded_library_when_connected_again_then_it_stays(ledger: Ledger) -> None:
    await ledger.connect()
    await ledger.ping()


def test_every_function_bears_the_tag_of_its_content() -> None:
    loaded = library()
    assert f"waybill_{loaded.tag}" in loaded.source
    assert {loaded.function(name) for name in FUNCTIONS} == {f"{name}_{loaded.tag}" for name in FUNCTIONS}


@pytest.mark.parametrize(
    "info",
    [
        {"redis_version": "6.2.14"},
        {"redis_version": "5.0.7"},
        {"redis_version": "unknown"},
        {},
        {"server_name": "valkey", "valkey_version": "7.2.5", "redis_version": "7.2.4"},
    ],
)
def test_given_a_server_that_is_too_old_then_it_is_refused(info: dict[str, Any]) -> None:
    with pytest.raises(FailedPrecondition, match=r"Redis 7\.0 or Valkey 8") as refused:
        check_version(info)
    assert refused.value.reason == "STORE_TOO_OLD"


@pytest.mark.parametrize(
    "info",
    [
        {"redis_version": "7.0.0"},
        {"redis_version": "10.1"},
        {"server_name": "valkey", "valkey_version": "8.0.1", "redis_version": "7.2.4"},
        {"server_name": "redis", "redis_version": "8.2.0"},
    ],
)
def test_given_a_server_that_is_new_enough_then_it_is_taken(info: dict[str, Any]) -> None:
    check_version(info)
