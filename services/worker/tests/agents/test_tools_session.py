"""Sessions with MCP servers over stdio and HTTP: what becomes of calls, and that nothing is left running."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from mcp_test_servers import effects_of, http_server, stdio_entry, write_config
from opentelemetry import context as otel_context
from waybill_worker.agents import tools_connection
from waybill_worker.agents.tools_config import ToolServers
from waybill_worker.agents.tools_connection import Answered, Doubtful, NotCalled, ServerUnavailable, fingerprint
from waybill_worker.agents.tools_session import Sessions

from waybill.telemetry import tracing

both = pytest.mark.parametrize("way", ["stdio", "http", "http --json", "http --legacy"])


@pytest.fixture
def effects(tmp_path: Path) -> Path:
    return tmp_path / "effects"


@pytest.fixture
def url(effects: Path, way: str) -> Iterator[str]:
    """Of a server, if it is to be over HTTP."""
    if way == "stdio":
        yield ""
        return
    with http_server(effects, *way.split()[1:]) as served:
        yield served


def servers_of(tmp_path: Path, **entries: dict[str, Any]) -> ToolServers:
    return ToolServers.load(write_config(tmp_path / "mcp.json", **entries), os.environ)


@pytest.fixture
async def sessions(tmp_path: Path, effects: Path, url: str) -> AsyncIterator[Sessions]:
    """Sessions with one server, named `s`."""
    entry = {"url": url, "timeout_seconds": 20} if url else stdio_entry(effects, timeout_seconds=20)
    async with Sessions(servers_of(tmp_path, s=entry)) as opened:
        yield opened


async def call(sessions: Sessions, tool: str, **arguments: Any) -> str:
    """Call a tool as it is now; the text of its result."""
    known = fingerprint((await sessions.tools("s"))[tool])
    result = await sessions.call("s", tool, arguments, known)
    return ("error: " if result.is_error else "") + "".join(getattr(block, "text", "") for block in result.content)


@both
async def test_given_a_server_when_its_tools_are_called_then_what_they_say_comes_back(sessions: Sessions) -> None:
    assert await call(sessions, "search", query="tea") == "found: tea"
    assert await call(sessions, "fail") == "error: the account is locked"
    assert len(await call(sessions, "huge", chars=1_000_000)) == 1_000_000
    with pytest.raises(Answered, match="in a bad mood"):
        await call(sessions, "reject")
    with pytest.raises(Answered, match="does not fit its own output schema"):
        await call(sessions, "shaped")
    with pytest.raises(Answered, match="too large"):
        await call(sessions, "huge", chars=9_000_000)
    assert await call(sessions, "search", query="still there") == "found: still there"


@both
async def test_given_a_trace_when_a_tool_is_called_then_its_server_is_told_of_it(sessions: Sessions) -> None:
    given = tracing.context_from("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
    token = otel_context.attach(given)
    try:
        said = await call(sessions, "trace")
    finally:
        otel_context.detach(token)

    assert said.startswith("00-0af7651916cd43dd8448eb211c80319c-")


@both
async def test_given_a_server_that_dies_in_a_call_when_called_then_the_call_is_in_doubt_and_no_other(
    sessions: Sessions, effects: Path, url: str
) -> None:
    await call(sessions, "search", query="tea")

    with pytest.raises(Doubtful):
        await call(sessions, "crash", when="after")

    assert [name for name, _ in effects_of(effects)] == ["crash"]
    if not url:
        assert await call(sessions, "search", query="again") == "found: again"
        return
    known = "anything"
    with pytest.raises(NotCalled, match="cannot be started or reached"):
        await sessions.call("s", "search", {}, known)
    port = int(url.split(":")[2].split("/")[0])
    with http_server(effects, port=port):
        assert await call(sessions, "search", query="again") == "found: again"


@pytest.mark.parametrize("options", [(), ("--legacy",)])
async def test_given_an_http_server_started_anew_when_called_then_it_is_connected_again(
    tmp_path: Path, effects: Path, options: tuple[str, ...]
) -> None:
    with http_server(effects, *options) as url:
        port = int(url.split(":")[2].split("/")[0])
        sessions = Sessions(servers_of(tmp_path, s={"url": url, "timeout_seconds": 20}))
        known = fingerprint((await sessions.tools("s"))["pay"])
    with http_server(effects, *options, port=port):
        async with sessions:
            await sessions.call("s", "pay", {"amount": 1}, known)

    assert effects_of(effects) == [("pay", {"amount": 1})]


def test_given_a_worker_when_it_starts_then_no_mcp_library_is_loaded() -> None:
    code = "import sys, waybill_worker.__main__, waybill_worker.agents.tools; print({'mcp', 'httpx2'} & {*sys.modules})"

    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "set()"


@pytest.mark.parametrize("way", ["stdio"])
async def test_given_noise_among_the_messages_when_called_then_it_is_passed_over(sessions: Sessions) -> None:
    assert await call(sessions, "garble") == "said after the noise"


@pytest.mark.parametrize("way", ["stdio", "http"])
async def test_given_a_slow_tool_when_its_time_is_over_then_the_call_is_in_doubt_and_the_session_goes_on(
    tmp_path: Path, effects: Path, url: str
) -> None:
    entry = {"url": url, "timeout_seconds": 1} if url else stdio_entry(effects, timeout_seconds=1)
    async with Sessions(servers_of(tmp_path, s=entry)) as sessions:
        await sessions.tools("s")
        with pytest.raises(Doubtful, match="in time"):
            await call(sessions, "slow", seconds=60)
        assert await call(sessions, "search", query="tea") == "found: tea"


async def test_given_many_pages_of_tools_when_listed_then_all_are_found(tmp_path: Path, effects: Path) -> None:
    entry = stdio_entry(effects, "--page-size", "3")
    async with Sessions(servers_of(tmp_path, s=entry)) as sessions:
        assert {"search", "pay", "shaped"} <= (await sessions.tools("s")).keys()


@pytest.mark.parametrize(
    ("entry", "why"),
    [
        ({"command": "/no/such/command"}, "cannot be started"),
        ({"command": "true", "cwd": "/no/such/folder"}, "cannot be started"),
        ({"command": "false"}, "cannot be started"),
        ({"command": "echo", "args": ["hello"]}, "cannot be started"),
        ({"url": "http://127.0.0.1:1/mcp"}, "cannot be started or reached"),
    ],
)
async def test_given_a_server_that_does_not_work_when_opened_then_the_error_names_it_and_no_more(
    tmp_path: Path, entry: dict[str, Any], why: str
) -> None:
    async with Sessions(servers_of(tmp_path, broken=entry)) as sessions:
        with pytest.raises(ServerUnavailable, match=why) as caught:
            await sessions.tools("broken")

    assert "broken" in caught.value.message
    assert "no/such" not in caught.value.message


async def test_given_pages_without_end_when_listed_then_it_is_given_up(tmp_path: Path, effects: Path) -> None:
    async with Sessions(servers_of(tmp_path, s=stdio_entry(effects, "--endless"))) as sessions:
        with pytest.raises(ServerUnavailable, match="pages"):
            await sessions.tools("s")


async def test_given_a_token_when_it_is_wrong_then_it_is_told_without_the_token(tmp_path: Path, effects: Path) -> None:
    with http_server(effects, "--token", "Bearer right") as url:
        right = {"url": url, "headers": {"Authorization": "Bearer right"}}
        wrong = {"url": url, "headers": {"Authorization": "Bearer wrong"}}
        async with Sessions(servers_of(tmp_path, right=right, wrong=wrong)) as sessions:
            assert "search" in await sessions.tools("right")
            with pytest.raises(ServerUnavailable, match="401") as caught:
                await sessions.tools("wrong")
    assert "Bearer" not in caught.value.message


async def test_given_a_tool_that_changes_or_goes_when_called_then_it_is_not(tmp_path: Path, effects: Path) -> None:
    names = tmp_path / "names"
    names.write_text("search")
    async with Sessions(servers_of(tmp_path, s=stdio_entry(effects, "--names", str(names)))) as sessions:
        known = fingerprint((await sessions.tools("s"))["search"])
        for tool, mark in (("search", "another"), ("pay", known)):
            with pytest.raises(NotCalled, match="changed or dropped"):
                await sessions.call("s", tool, {"amount": 1}, mark)
        names.write_text("search pay")
        with pytest.raises(NotCalled):
            await sessions.call("s", "pay", {"amount": 1}, known)
    assert effects_of(effects) == []


def processes_of(pids: Path) -> list[psutil.Process]:
    return [psutil.Process(int(pid)) for pid in pids.read_text().split() if psutil.pid_exists(int(pid))]


async def started(pids: Path) -> list[psutil.Process]:
    """The server and the child that it has started, once they run."""
    async with asyncio.timeout(60):
        while not pids.exists() or len(pids.read_text().split()) < 2:
            await asyncio.sleep(0.02)
    return processes_of(pids)


async def all_gone(processes: list[psutil.Process]) -> None:
    _, alive = await asyncio.to_thread(psutil.wait_procs, processes, 20)
    assert not alive


@pytest.mark.parametrize("options", [(), ("--stubborn",)])
async def test_given_sessions_when_they_end_then_servers_and_what_those_started_are_gone(
    tmp_path: Path, effects: Path, options: tuple[str, ...]
) -> None:
    pids = tmp_path / "pids"
    async with Sessions(servers_of(tmp_path, s=stdio_entry(effects, "--pids", str(pids), *options))) as sessions:
        await sessions.tools("s")
        family = await started(pids)
        assert len(family) == 2

    await all_gone(family)


@pytest.mark.parametrize("options", [("--mute",), ("--mute", "--stubborn")])
async def test_given_a_server_that_says_nothing_when_its_time_is_over_or_the_step_cancelled_then_it_is_gone(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, effects: Path, options: tuple[str, ...]
) -> None:
    pids = tmp_path / "pids"
    entry = stdio_entry(effects, "--pids", str(pids), *options)

    async def use() -> None:
        async with Sessions(servers_of(tmp_path, s=entry)) as sessions:
            await sessions.tools("s")

    using = asyncio.create_task(use())
    family = await started(pids)
    using.cancel()
    with pytest.raises(asyncio.CancelledError):
        await using
    await all_gone(family)

    monkeypatch.setattr(tools_connection, "START_SECONDS", 0.5)
    entry["timeout_seconds"] = 1
    with pytest.raises(ServerUnavailable, match="not ready within 1 s"):
        await use()
    await all_gone(processes_of(pids))


async def test_given_a_server_that_hangs_when_its_parent_is_killed_then_nothing_of_it_outlives_that(
    tmp_path: Path, effects: Path
) -> None:
    pids = tmp_path / "pids"
    write_config(tmp_path / "mcp.json", s=stdio_entry(effects, "--pids", str(pids), "--stubborn", "--mute"))
    code = (
        "import asyncio, os, pathlib, sys\n"
        "from waybill_worker.agents.tools_config import ToolServers\n"
        "from waybill_worker.agents.tools_session import Sessions\n"
        "servers = ToolServers.load(pathlib.Path(sys.argv[1]), os.environ)\n"
        "asyncio.run(Sessions(servers).tools('s'))\n"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "mcp.json")]) as parent:
        try:
            family = await started(pids)
        finally:
            parent.kill()

    await all_gone(family)


async def test_given_a_call_under_way_when_the_step_is_cancelled_then_the_server_is_gone(
    tmp_path: Path, effects: Path
) -> None:
    pids = tmp_path / "pids"

    async def use() -> None:
        async with Sessions(servers_of(tmp_path, s=stdio_entry(effects, "--pids", str(pids)))) as sessions:
            await call(sessions, "pay", amount=1, wait=str(tmp_path / "never"))

    using = asyncio.create_task(use())
    async with asyncio.timeout(60):
        while not effects_of(effects):
            await asyncio.sleep(0.02)
    family = processes_of(pids)
    using.cancel()

    with pytest.raises(asyncio.CancelledError):
        await using
    await all_gone(family)
