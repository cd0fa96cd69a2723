"""What the suite consists of, and that its embedded store is started to lose nothing."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import redis.asyncio

from waybill.cli.datadir import DataDirectory
from waybill.cli.suite import SuiteOptions, lay_out
from waybill.cli.supervisor import Supervisor


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[DataDirectory]:
    monkeypatch.delenv("WAYBILL_REDIS_URL", raising=False)
    with DataDirectory(tmp_path) as directory:
        yield directory


@pytest.fixture
async def store(data: DataDirectory) -> AsyncIterator[tuple[Supervisor, str]]:
    specs = [spec for spec in lay_out(SuiteOptions(), data).specs if spec.name == "store"]
    port = specs[0].command[specs[0].command.index("--port") + 1]
    async with Supervisor(specs, data.logs, print) as supervisor:
        await supervisor.ready(30)
        yield supervisor, f"redis://127.0.0.1:{port}/0"


async def test_the_store_has_the_durable_settings(store: tuple[Supervisor, str], data: DataDirectory) -> None:
    async with redis.asyncio.Redis.from_url(store[1], decode_responses=True) as client:
        settings = await client.config_get("*")
    expected = {
        "appendonly": "yes",
        "appendfsync": "always",
        "maxmemory-policy": "noeviction",
        "bind": "127.0.0.1",
        "protected-mode": "yes",
        "dir": str(data.store),
        "save": "",
    }
    assert {key: settings[key] for key in expected} == expected


async def test_given_a_killed_store_then_it_is_back_on_the_same_port_with_what_it_acknowledged(
    store: tuple[Supervisor, str],
) -> None:
    supervisor, url = store
    pid = supervisor.children[0].pid
    assert pid is not None
    async with redis.asyncio.Redis.from_url(url) as client:
        await client.set("kept", "value")
    os.kill(pid, signal.SIGKILL)
    while supervisor.children[0].pid in (None, pid):
        await asyncio.sleep(0.02)
    await supervisor.ready(30)
    async with redis.asyncio.Redis.from_url(url) as client:
        assert await client.get("kept") == b"value"


def test_the_services_are_wired_to_each_other(data: DataDirectory) -> None:
    suite = lay_out(SuiteOptions(grpc_port=7400, workers=2, source_roots=("/a", "/b")), data)
    specs = {spec.name: spec for spec in suite.specs}
    assert list(specs) == ["store", "gateway", "worker-1", "worker-2", "dispatcher", "planner"]
    dispatcher, worker, gateway = specs["dispatcher"], specs["worker-2"], specs["gateway"]
    assert suite.grpc_address == "127.0.0.1:7400"
    assert gateway.environment["WAYBILL_GATEWAY_GRPC_PORT"] == "7400"
    assert suite.http_address.endswith(":" + gateway.environment["WAYBILL_GATEWAY_HTTP_PORT"])
    assert gateway.environment["WAYBILL_GATEWAY_DISPATCHER_ADDRESS"].endswith(
        ":" + dispatcher.environment["WAYBILL_DISPATCHER_GRPC_PORT"]
    )
    assert dispatcher.environment["WAYBILL_DISPATCHER_PLANNER_ADDRESS"].endswith(
        ":" + specs["planner"].environment["WAYBILL_PLANNER_GRPC_PORT"]
    )
    assert worker.environment["WAYBILL_WORKER_SOURCE_ROOTS"] == "/a,/b"
    assert worker.environment["WAYBILL_WORKER_NAME"] == "worker-2"
    assert worker.environment["WAYBILL_REDIS_URL"] == dispatcher.environment["WAYBILL_REDIS_URL"]
    stages = [specs[name].stop_stage for name in ("gateway", "worker-1", "dispatcher", "planner", "store")]
    assert stages == sorted(set(stages))


def test_indexes_are_kept_in_the_data_directory_unless_the_operator_says_where(
    data: DataDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("WAYBILL_WORKER_INDEX_DIR", raising=False)
    specs = {spec.name: spec for spec in lay_out(SuiteOptions(), data).specs}
    assert specs["worker-1"].environment["WAYBILL_WORKER_INDEX_DIR"] == str(data.path / "index")
    monkeypatch.setenv("WAYBILL_WORKER_INDEX_DIR", "/elsewhere")
    specs = {spec.name: spec for spec in lay_out(SuiteOptions(), data).specs}
    assert "WAYBILL_WORKER_INDEX_DIR" not in specs["worker-1"].environment


def test_given_an_archive_then_the_dispatcher_keeps_tasks_in_the_data_directory(data: DataDirectory) -> None:
    for wanted in (True, False):
        specs = {spec.name: spec for spec in lay_out(SuiteOptions(archive=wanted), data).specs}
        url = specs["dispatcher"].environment.get("WAYBILL_DISPATCHER_ARCHIVE_URL")
        assert url == (f"sqlite:///{data.path.absolute()}/archive.db" if wanted else None)


def test_given_a_redis_of_the_operators_then_no_store_is_started_and_worker_names_are_told_apart(
    data: DataDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WAYBILL_REDIS_URL", "redis://redis.example:6379/0")
    specs = {spec.name: spec for spec in lay_out(SuiteOptions(), data).specs}
    assert "store" not in specs
    assert specs["worker-1"].environment["WAYBILL_REDIS_URL"] == "redis://redis.example:6379/0"
    assert specs["worker-1"].environment["WAYBILL_WORKER_NAME"] != "worker-1"
    assert "WAYBILL_WORKER_SOURCE_ROOTS" not in specs["worker-1"].environment


def test_only_services_that_ask_models_are_given_their_keys(data: DataDirectory) -> None:
    own = {"WAYBILL_LLM_API_KEY": "secret", "WAYBILL_LLM_MODEL": "m", "HOME": "/home"}
    given = {spec.name: spec.given(own) for spec in lay_out(SuiteOptions(), data).specs}
    assert {name for name, environment in given.items() if "secret" in environment.values()} == {"planner", "worker-1"}
    assert all(environment["HOME"] == "/home" for environment in given.values())
    assert given["dispatcher"]["WAYBILL_DISPATCHER_PLANNER_ADDRESS"]
