"""Agents that break what they can harm their own attempt at most: it is settled, and the next step runs as ever."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import msgspec
import psutil
import pytest
from waybill_worker import frames
from waybill_worker.outbox import MAX_APPENDED_CHARS
from waybill_worker.pool import ProcessPool
from worker_fake_ledger import FakeLedger
from worker_hostile_agents import FAILURES, RETURNS
from worker_runner import Runner

from waybill.agent import load_agents
from waybill.core.limits import (
    MAX_EVENT_MESSAGE_CHARS,
    MAX_EVENT_TEXT_BYTES,
    MAX_FAILURE_MESSAGE_CHARS,
    MAX_REASON_CHARS,
)
from waybill.core.task import Event, Usage
from waybill.ledger.records import Outcome, StepRef
from waybill.reporting import MAX_TEXT_CHARS

HOSTILE = "worker_hostile_agents"
every_place = pytest.mark.parametrize("place", ["", "-in-process", "-in-thread"])


@pytest.fixture
async def hostile(fake: FakeLedger) -> AsyncIterator[Runner]:
    """Runs single attempts of hostile agents."""
    pool = ProcessPool(frames.Setup((HOSTILE,), tuple(sys.path), "WARNING"))
    yield Runner(fake, load_agents([HOSTILE], entry_points=False), pool)
    await pool.close()


async def gone(pid: int) -> None:
    async with asyncio.timeout(30):
        with contextlib.suppress(psutil.NoSuchProcess):
            while psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
                await asyncio.sleep(0.01)


@every_place
@pytest.mark.parametrize("what", RETURNS)
async def test_given_what_is_no_output_when_an_agent_returns_it_then_no_attempt_can_succeed(
    hostile: Runner, place: str, what: str
) -> None:
    settlement = await hostile.run(f"returning{place}", {"what": what})

    assert settlement.outcome is Outcome.FAILED_FINALLY
    assert settlement.failure is not None
    assert settlement.failure.reason == ("OUTPUT_TOO_LARGE" if what == "large" else "OUTPUT_INVALID")


@every_place
@pytest.mark.parametrize("how", FAILURES)
async def test_given_whatever_an_agent_raises_when_run_then_its_failure_can_be_stored(
    hostile: Runner, place: str, how: str
) -> None:
    settlement = await hostile.run(f"raising{place}", {"how": how})

    assert settlement.outcome is Outcome.FAILED
    assert settlement.failure is not None
    assert 1 <= len(settlement.failure.reason) <= MAX_REASON_CHARS
    assert 1 <= len(settlement.failure.message) <= MAX_FAILURE_MESSAGE_CHARS
    assert msgspec.json.encode(settlement.failure)
    assert settlement.retry_after_ms == 0


@every_place
async def test_given_threads_that_go_on_when_their_agent_has_returned_then_nobody_hears_them(
    hostile: Runner, fake: FakeLedger, place: str
) -> None:
    settlement = await hostile.run(f"leaking{place}")
    heard = len(fake.events())
    await asyncio.sleep(0.3)
    again = await hostile.run(f"leaking{place}", number=2)

    assert (settlement.outcome, again.outcome) == (Outcome.SUCCEEDED, Outcome.SUCCEEDED)
    assert len([event for event in fake.events() if event.step == "step-1"]) == heard
    assert again.usage.output_tokens == Usage().output_tokens


async def test_given_an_agent_that_forks_when_both_return_then_one_result_counts_and_the_process_is_used_again(
    hostile: Runner, tmp_path: Path
) -> None:
    note = tmp_path / "note"
    first = await hostile.run("forking", {"note": str(note), "how": "return"})
    await gone(int(note.read_text()))
    second = await hostile.run("forking", {"note": str(note), "how": "return"}, number=2)

    parents = [msgspec.json.decode(settlement.output) for settlement in (first, second)]
    assert parents[0] == parents[1]
    assert parents[0][0] == parents[0][1], "what the fork returned does not count"


async def test_given_an_agent_that_forks_when_the_fork_reports_then_nobody_hears_it(
    hostile: Runner, fake: FakeLedger, tmp_path: Path
) -> None:
    settlement = await hostile.run("forking", {"note": str(tmp_path / "note"), "how": "stay"})
    await asyncio.sleep(0.2)

    assert (settlement.outcome, fake.events()) == (Outcome.SUCCEEDED, [])


async def test_given_an_agent_that_dies_when_it_had_forked_then_nothing_of_it_is_left(
    hostile: Runner, tmp_path: Path
) -> None:
    settlement = await hostile.run("forking", {"note": str(tmp_path / "note"), "how": "abandon"})

    assert settlement.outcome is Outcome.DIED
    await gone(int((tmp_path / "note").read_text()))


@pytest.mark.parametrize("suspect", [False, True])
@pytest.mark.parametrize("how", ["sys.exit", "os._exit", "group", "forker", "close", "signal"])
async def test_given_an_agent_that_ends_its_process_when_run_then_it_died_and_the_next_runs(
    hostile: Runner, how: str, suspect: bool
) -> None:
    settlement = await hostile.run("exiting", {"how": how}, suspect=suspect)
    after = await hostile.run("leaking-in-process", number=2)

    assert (settlement.outcome, after.outcome) == (Outcome.DIED, Outcome.SUCCEEDED)
    assert settlement.failure is not None
    assert settlement.failure.reason == "PROCESS_DIED"


async def test_given_enormous_reports_when_told_then_they_are_cut_and_can_be_stored(
    hostile: Runner, fake: FakeLedger
) -> None:
    calls: list[int] = []
    append = fake._append

    def measure(ref: StepRef, position: int, events: Sequence[Event]) -> bool:
        calls.append(sum(len(event.text) for event in events))
        return append(ref, position, events)

    fake._append = measure  # type: ignore[method-assign]

    settlement = await hostile.run("verbose")

    assert settlement.outcome is Outcome.SUCCEEDED
    assert max(calls) < MAX_APPENDED_CHARS + MAX_EVENT_TEXT_BYTES
    assert sum(calls) == 12_100_000
    assert max(len(event.message) for event in fake.events()) == MAX_EVENT_MESSAGE_CHARS
    assert all(msgspec.json.encode(event) for event in fake.events())


@pytest.mark.parametrize("amount", [-1, 0.5, 1e300])
async def test_given_absurd_expenses_when_told_then_they_are_refused_and_the_sum_stays_exact(
    hostile: Runner, amount: float
) -> None:
    settlement = await hostile.run("spendthrift", {"amount": amount})

    assert settlement.outcome is Outcome.FAILED
    assert settlement.failure is not None
    assert "cost_microusd" in settlement.failure.message
    assert settlement.usage == Usage(input_tokens=10**15)


@every_place
async def test_given_text_without_end_when_streamed_then_the_attempt_ends_and_no_other_can_succeed(
    hostile: Runner, fake: FakeLedger, place: str
) -> None:
    settlement = await hostile.run(f"flooding{place}")

    assert settlement.outcome is Outcome.FAILED_FINALLY
    assert settlement.failure is not None
    assert settlement.failure.reason == "TEXT_TOO_LARGE"
    assert sum(len(event.text) for event in fake.events()) <= MAX_TEXT_CHARS
