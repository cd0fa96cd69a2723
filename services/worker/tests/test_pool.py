"""The processes of plain agents: what kills one harms its own attempt alone, and none is left behind."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from pathlib import Path
from typing import Any

import psutil
import pytest
from waybill_worker import frames
from waybill_worker.attempt import Stop
from waybill_worker.nursery import Nursery
from worker_fake_ledger import FakeLedger, grant_of

from waybill.core.task import Usage
from waybill.ledger.records import Outcome


async def gone(pid: int) -> None:
    async with asyncio.timeout(30):
        with contextlib.suppress(psutil.NoSuchProcess):
            while psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
                await asyncio.sleep(0.01)


def forker_of(pid: int) -> psutil.Process:
    return psutil.Process(pid).parent()


@pytest.mark.parametrize(
    ("how", "cause"),
    [
        ("exit", "exit code 3"),
        ("exit_0", "exit code 0"),
        ("abort", "killed by SIGABRT"),
        ("kill", "killed by SIGKILL"),
    ],
)
async def test_given_an_agent_that_ends_its_process_when_run_then_its_attempt_alone_has_died(
    runner: Any, fake: FakeLedger, how: str, cause: str
) -> None:
    bystander, ended = runner.start(grant_of("hanging", number=2))
    await fake.reported()

    settlement = await runner.run("dying", {"how": how})

    assert (settlement.outcome, settlement.failure.reason) == (Outcome.DIED, "PROCESS_DIED")
    assert settlement.failure.message.endswith(cause)
    assert (await runner.run("pid-of-process", number=3)).outcome is Outcome.SUCCEEDED
    assert not ended.done()
    bystander.stop(Stop.CANCEL)
    await ended


async def test_given_a_running_agent_when_its_process_is_killed_then_the_attempt_died_and_the_next_succeeds(
    runner: Any, fake: FakeLedger
) -> None:
    _, ended = runner.start(grant_of("hanging"))
    (event,) = await fake.reported()

    os.kill(int(event.message), signal.SIGKILL)

    settlement = await asyncio.wait_for(ended, 30)
    assert (settlement.outcome, settlement.failure.reason) == (Outcome.DIED, "PROCESS_DIED")
    assert (await runner.run("pid-of-process", number=2)).outcome is Outcome.SUCCEEDED


async def test_given_a_running_agent_when_the_forker_is_killed_then_the_pool_recovers(
    runner: Any, fake: FakeLedger
) -> None:
    _, ended = runner.start(grant_of("hanging"))
    (event,) = await fake.reported()

    forker_of(int(event.message)).kill()

    assert (await asyncio.wait_for(ended, 30)).failure.reason == "PROCESS_DIED"
    assert (await runner.run("pid-of-process", number=2)).outcome is Outcome.SUCCEEDED
    await gone(int(event.message))


@pytest.mark.parametrize("agent", ["hanging", "spinning"])
async def test_given_an_agent_deaf_to_everything_when_cancelled_then_its_process_and_what_it_started_is_killed(
    runner: Any, fake: FakeLedger, tmp_path: Path, agent: str
) -> None:
    note = tmp_path / "pids"
    attempt, ended = runner.start(grant_of(agent, {"note": str(note)}))
    await fake.reported()

    attempt.stop(Stop.CANCEL)

    assert (await asyncio.wait_for(ended, 30)).outcome is Outcome.CANCELLED
    for pid in note.read_text().split():
        await gone(int(pid))


async def test_given_a_process_that_is_done_when_the_next_step_comes_then_it_runs_there(runner: Any) -> None:
    first = await runner.run("pid-of-process")
    second = await runner.run("pid-of-process", number=2)

    assert first.output == second.output
    assert int(first.output) != os.getpid()
    assert first.usage == Usage(input_tokens=2, cost_microusd=5)


async def test_given_an_agent_that_stops_when_asked_when_cancelled_then_its_process_is_used_again(
    runner: Any, fake: FakeLedger
) -> None:
    attempt, ended = runner.start(grant_of("polite"))
    (event,) = await fake.reported()

    attempt.stop(Stop.CANCEL)
    await ended

    assert (await runner.run("pid-of-process", number=2)).output == event.message.encode()


async def test_given_many_steps_at_once_when_run_then_each_has_a_process_of_its_own(runner: Any) -> None:
    attempts = [runner.start(grant_of("hanging", number=number)) for number in range(1, 9)]
    events = await runner.ledger.reported(8)

    assert len({event.message for event in events}) == 8
    for attempt, ended in attempts:
        attempt.stop(Stop.LOST)
        await ended


async def test_given_agents_that_compute_when_each_waits_for_the_other_then_both_run_at_once(
    runner: Any, tmp_path: Path
) -> None:
    both = await asyncio.gather(
        *(
            runner.run("meeting", {"folder": str(tmp_path), "name": name, "other": other}, number=number)
            for number, (name, other) in enumerate((("left", "right"), ("right", "left")), 1)
        )
    )

    assert [settlement.outcome for settlement in both] == [Outcome.SUCCEEDED] * 2


async def test_given_an_idle_process_when_it_is_not_wanted_then_it_ends(runner: Any, pool: Any) -> None:
    pool._idle_seconds = 0.0

    settlement = await runner.run("pid-of-process")

    await gone(int(settlement.output))


async def test_given_an_idle_process_that_died_when_the_next_step_comes_then_another_runs_it(runner: Any) -> None:
    first = int((await runner.run("pid-of-process")).output)

    os.kill(first, signal.SIGKILL)
    await gone(first)
    await asyncio.sleep(0.05)

    assert (await runner.run("pid-of-process", number=2)).outcome is Outcome.SUCCEEDED


async def test_given_an_agent_that_prints_when_run_then_nothing_but_stderr_gets_it(
    runner: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    settlement = await runner.run("printing", {"text": "hello there"})

    assert settlement.output == b'"hello there"'
    out, err = capfd.readouterr()
    assert "hello there" not in out
    assert err.count("hello there") == 4


async def test_given_no_plain_agent_has_run_when_the_pool_exists_then_there_is_no_process(pool: Any) -> None:
    assert psutil.Process().children() == [
        child for child in psutil.Process().children() if "forker" not in " ".join(_command(child))
    ]


def _command(process: psutil.Process) -> list[str]:
    with contextlib.suppress(psutil.Error):
        return process.cmdline()
    return []


async def test_given_a_forker_that_cannot_import_when_a_process_is_wanted_then_the_attempt_fails_saying_so() -> None:
    nursery = Nursery(frames.Setup(("no_such_module",), (), "WARNING"))

    with pytest.raises(Exception, match="no process could be started"):
        await nursery.new_process()

    await nursery.close()
