"""kill -9, of any process at any time: the task ends all the same, and nothing is left running."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from waybill.client import Client
from waybill.core.task import EventType, TaskState
from waybill.errors import Unavailable

CHAIN = {
    "steps": [
        {"name": "first", "agent": "slow", "input": {"seconds": 1}},
        {"name": "second", "agent": "slow", "input": {"seconds": 1}, "after": ["first"]},
        {"name": "last", "agent": "echo", "input": {"value": "done"}, "after": ["second"]},
    ]
}
SOURCES = Path(__file__).parents[2] / "docs"


@pytest.mark.parametrize("victim", ["store", "planner", "dispatcher", "worker", "gateway"])
async def test_given_a_running_task_when_a_process_is_killed_then_it_ends_as_if_not(suite, victim: str) -> None:
    async with Client(suite.address) as client:
        task = await client.submit(plan=CHAIN)
        seen = []
        async for event in client.watch(task):
            seen.append(event)
            if event.type is EventType.STEP_STARTED and event.step == "first" and event.attempt == 1:
                suite.kill(victim)
        ended = await client.get(task)
        assert ended.state is TaskState.SUCCEEDED, ended.failure
        assert ended.output["value"] == "done"
        assert [event.sequence for event in seen] == list(range(1, ended.last_sequence + 1))
        finished = [event.step for event in seen if event.type is EventType.STEP_FINISHED]
        assert finished == ["first", "second", "last"]


async def test_given_the_store_is_away_then_calls_are_refused_and_all_goes_on_when_it_is_back(suite) -> None:
    async with Client(suite.address, patience_seconds=0.5, call_timeout_seconds=3) as client:
        task = await client.submit(plan=CHAIN)
        (pid,) = suite.pids("store")
        os.kill(pid, signal.SIGSTOP)
        try:
            with pytest.raises(Unavailable):
                await client.get(task)
        finally:
            os.kill(pid, signal.SIGCONT)
    async with Client(suite.address) as client:
        events = [event async for event in client.watch(task)]
        assert events[-1].state is TaskState.SUCCEEDED


async def test_given_the_supervisor_is_killed_then_no_orphan_is_left_and_the_next_one_finishes(start) -> None:
    suite = start("kept")
    async with Client(suite.address) as client:
        task = await client.submit(plan=CHAIN)
        async for event in client.watch(task):
            if event.type is EventType.STEP_STARTED:
                break
    family = psutil.Process(suite.process.pid).children(recursive=True)
    assert len(family) >= 6
    os.kill(suite.process.pid, signal.SIGKILL)
    suite.process.wait()
    _, alive = psutil.wait_procs(family, timeout=10)
    assert alive == []
    again = start("kept")
    async with Client(again.address) as client:
        events = [event async for event in client.watch(task)]
    assert events[-1].state is TaskState.SUCCEEDED


def ask(folder: Path) -> subprocess.Popen[str]:
    """`waybill run` over the project's own documentation, as `make run JSON=1` does it."""
    command = [sys.executable, "-m", "waybill.cli.main", "run", "--json", "--data-dir", str(folder)]
    command += ["--sources", str(SOURCES), "--goal", "What does the ledger own, what is a batch and what is an event?"]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def answer_of(output: str) -> dict:
    return json.loads(output.splitlines()[-1])


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict:
    """The answer of a run that nothing disturbed."""
    process = ask(tmp_path_factory.mktemp("undisturbed") / "data")
    output, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    return answer_of(output)


def test_a_run_answers_from_the_sources_and_leaves_no_process(undisturbed: dict) -> None:
    assert undisturbed["state"] == "succeeded"
    assert undisturbed["sources"]
    for source in undisturbed["sources"]:
        lines = Path(source["path"]).read_text().splitlines()
        first, *rest = lines[source["line"] - 1 :]
        quote = " ".join(source["quote"].split())
        position = " ".join([first, *rest]).find(source["quote"].split()[0])
        assert quote in " ".join(" ".join([first[position:], *rest]).split())
        assert 0 <= position < len(first)


@pytest.mark.parametrize("victim", ["store", "planner", "dispatcher", "worker", "gateway"])
def test_given_a_run_when_a_process_is_killed_during_its_task_then_the_report_is_the_same(
    undisturbed: dict, tmp_path: Path, victim: str
) -> None:
    process = ask(tmp_path / "data")
    assert process.stderr is not None
    told = []
    for line in process.stderr:
        told.append(line)
        if "goal:" in line:
            break
    for child in psutil.Process(process.pid).children():
        command = " ".join(child.cmdline())
        if f"waybill_{victim}" in command or (victim == "store" and "appendfsync" in command):
            child.kill()
    output, errors = process.communicate(timeout=120)
    assert process.returncode == 0, "".join(told) + errors
    answer = answer_of(output)
    assert (answer["report"], answer["sources"]) == (undisturbed["report"], undisturbed["sources"])


async def test_given_no_worker_with_the_agent_then_the_task_waits_and_says_so(start) -> None:
    suite = start(workers=1)
    async with Client(suite.address) as client:
        (pid,) = suite.pids("worker")
        os.kill(pid, signal.SIGSTOP)
        try:
            task = await client.submit(plan=CHAIN)
            deadline = time.monotonic() + 30
            while "no live worker serves agent slow" not in (await client.get(task)).waiting_reason:
                assert time.monotonic() < deadline
                await asyncio.sleep(0.1)
            agents = {agent.name: agent for agent in await client.agents()}
            assert agents["agents/slow"].live_workers == 0
        finally:
            os.kill(pid, signal.SIGCONT)
        events = [event async for event in client.watch(task)]
        assert events[-1].state is TaskState.SUCCEEDED
