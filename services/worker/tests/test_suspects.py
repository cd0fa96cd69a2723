"""Suspects run alone in a new process, whatever their agent says, and a process that dies is told from a failure."""

from __future__ import annotations

import asyncio
import os
import signal
from typing import Any

import msgspec
import pytest
from waybill_worker.attempt import Stop
from worker_fake_ledger import FakeLedger, grant_of

from waybill.core.limits import MAX_RETRY_AFTER_MS
from waybill.core.task import Document, EffectState, EventType, Usage
from waybill.ledger.records import Effect, Outcome

everywhere = pytest.mark.parametrize("agent", ["whereabouts", "whereabouts-async", "whereabouts-in-thread"])


@everywhere
async def test_given_a_suspect_when_run_then_its_process_runs_nothing_else(runner: Any, agent: str) -> None:
    ordinary = await runner.run("whereabouts")
    suspects = [await runner.run(agent, suspect=True, number=number) for number in (2, 3)]
    after = await runner.run("whereabouts", number=4)

    pids = [msgspec.json.decode(settlement.output)[0] for settlement in (ordinary, *suspects, after)]
    assert len({os.getpid(), *pids}) == 4
    assert pids[0] == pids[3], "the pool's own process is used again"


async def test_given_an_async_suspect_when_run_then_all_of_its_context_works(runner: Any, fake: FakeLedger) -> None:
    fake.sent_documents = [Document("a.md", "text/markdown", b"x" * 100_000)]

    settlement = await runner.run("whereabouts-async", suspect=True)

    assert (settlement.outcome, settlement.usage) == (Outcome.SUCCEEDED, Usage(input_tokens=1))
    assert "".join(event.text for event in fake.events()) == "I am here"
    assert fake.events()[0].message == "here"
    assert fake.effects["say"][0] == Effect(EffectState.DONE, 1, b'["a.md"]')


async def test_given_an_async_suspect_that_kills_its_process_when_run_then_it_died_and_the_worker_lives(
    runner: Any,
) -> None:
    settlement = await runner.run("killer", suspect=True)

    assert (settlement.outcome, settlement.failure.reason) == (Outcome.DIED, "PROCESS_DIED")
    assert settlement.failure.message.endswith("killed by SIGKILL")


@pytest.mark.parametrize("agent", ["sleeper", "hanging", "polite", "deaf"])
@pytest.mark.parametrize(
    ("stop", "outcome"),
    [(Stop.CANCEL, Outcome.CANCELLED), (Stop.DRAIN, Outcome.HANDED_BACK), (Stop.TIMEOUT, Outcome.FAILED)],
)
async def test_given_a_suspect_that_we_stop_when_its_process_is_killed_then_it_did_not_die(
    runner: Any, fake: FakeLedger, agent: str, stop: Stop, outcome: Outcome
) -> None:
    input = {"times": 100} if agent == "deaf" else {}
    attempt, ended = runner.start(grant_of(agent, input, suspect=True))
    await fake.reported()

    attempt.stop(stop)

    settlement = await asyncio.wait_for(ended, 30)
    polite = agent == "polite" and stop is not Stop.TIMEOUT
    assert settlement.outcome is (Outcome.SUCCEEDED if polite else outcome)


async def test_given_a_suspect_that_runs_too_long_when_its_time_is_up_then_it_failed_with_a_timeout(
    runner: Any,
) -> None:
    settlement = await runner.run("sleeper", suspect=True, run_timeout_ms=300)

    assert (settlement.outcome, settlement.failure.reason) == (Outcome.FAILED, "TIMEOUT")


async def test_given_a_suspect_that_fails_when_run_then_the_failure_says_how(runner: Any) -> None:
    settlement = await runner.run("failing", {"kind": "exit_in_task"}, suspect=True)

    assert settlement.outcome is Outcome.FAILED
    assert settlement.failure.message == "RuntimeError: SystemExit in a task of an agent"


async def test_given_the_process_of_a_suspect_when_it_is_killed_from_outside_then_the_step_died(
    runner: Any, fake: FakeLedger
) -> None:
    _, ended = runner.start(grant_of("hanging", suspect=True))
    (event,) = await fake.reported()

    os.kill(int(event.message), signal.SIGSEGV)

    assert (await asyncio.wait_for(ended, 30)).outcome is Outcome.DIED


@pytest.mark.parametrize("suspect", [False, True])
@pytest.mark.parametrize("agent", ["echo", "whereabouts", "whereabouts-in-thread"])
@pytest.mark.parametrize(
    "data", [b"{", b"", b"\xff", b'{"value": "${"}', b'{"value": "${}"}', b'{"value": \x00"${a}"}']
)
async def test_given_an_input_that_no_code_can_read_when_run_then_it_is_told_as_such(
    runner: Any, agent: str, data: bytes, suspect: bool
) -> None:
    settlement = await runner.run(agent, msgspec.Raw(data), suspect=suspect)

    assert (settlement.outcome, settlement.failure.reason) == (Outcome.UNDECODABLE, "UNDECODABLE")


async def test_given_an_output_that_no_code_can_read_when_it_is_put_in_then_it_is_told_as_such(runner: Any) -> None:
    settlement = await runner.run("echo", {"value": "${a}"}, inputs={"a": b"{"})

    assert settlement.outcome is Outcome.UNDECODABLE


@pytest.mark.parametrize("agent", ["later", "later-in-process"])
@pytest.mark.parametrize(
    ("seconds", "milliseconds"),
    [(0, 0), (0.0001, 1), (2.5, 2_500), (-1, 0), (10**9, MAX_RETRY_AFTER_MS)],
)
async def test_given_an_agent_that_asks_for_time_when_it_fails_then_the_settlement_says_so(
    runner: Any, agent: str, seconds: float, milliseconds: int
) -> None:
    settlement = await runner.run(agent, {"seconds": seconds})

    assert (settlement.outcome, settlement.retry_after_ms) == (Outcome.FAILED, milliseconds)


async def test_given_text_in_many_pieces_when_streamed_then_each_event_knows_its_place(
    runner: Any, fake: FakeLedger
) -> None:
    words = [f"word {number} é " for number in range(300)]
    await runner.run("pid-of-process", {"words": words}, suspect=True)

    spoken = 0
    for event in fake.events():
        if event.type is EventType.STEP_TEXT:
            assert event.text_offset == spoken
            spoken += len(event.text)
    assert spoken == len("".join(words))
