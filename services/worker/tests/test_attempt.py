"""One attempt, from its grant to its settlement, with real processes and threads."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest
from waybill_worker import attempt as attempt_module
from waybill_worker.attempt import Stop
from worker_fake_ledger import FakeLedger, grant_of

from waybill.core.limits import MAX_FAILURE_MESSAGE_CHARS, MAX_OUTPUT_BYTES
from waybill.core.task import Document, EventType, Usage
from waybill.ledger.records import Outcome, Settlement


def reason(settlement: Settlement) -> str:
    assert settlement.failure is not None
    return settlement.failure.reason


async def test_given_an_input_with_references_when_run_then_the_agent_gets_their_values(runner: Any) -> None:
    settlement = await runner.run("echo", {"value": "${a.n}"}, inputs={"a": b'{"n": 12345678901234567890}'})

    assert (settlement.outcome, settlement.output) == (Outcome.SUCCEEDED, b"12345678901234567890")


async def test_given_a_reference_to_nothing_when_run_then_no_other_attempt_can_succeed(runner: Any) -> None:
    settlement = await runner.run("echo", {"value": "${a.n}"}, inputs={"a": b"{}"})

    assert (settlement.outcome, reason(settlement)) == (Outcome.FAILED_FINALLY, "REFERENCE_UNRESOLVED")


async def test_given_an_input_that_does_not_fit_when_run_then_the_failure_names_the_field(runner: Any) -> None:
    settlement = await runner.run("chatty", {"words": 5})

    assert (settlement.outcome, reason(settlement)) == (Outcome.FAILED_FINALLY, "INPUT_INVALID")
    assert "words" in settlement.failure.message


@pytest.mark.parametrize(
    ("kind", "outcome", "expected", "message"),
    [
        ("agent_error", Outcome.FAILED, "AGENT_ERROR", "not today"),
        ("permanent", Outcome.FAILED_FINALLY, "NEVER", "never"),
        ("exception", Outcome.FAILED, "AGENT_ERROR", "LookupError: no such thing"),
        ("surrogate", Outcome.FAILED, "AGENT_ERROR", "ValueError: file ?"),
        ("unprintable", Outcome.FAILED, "AGENT_ERROR", "_Unprintable"),
        ("exit", Outcome.FAILED, "AGENT_ERROR", "SystemExit: 3"),
        ("interrupt", Outcome.FAILED, "AGENT_ERROR", "KeyboardInterrupt"),
        ("cancelled", Outcome.FAILED, "AGENT_ERROR", "CancelledError"),
        ("exit_in_task", Outcome.FAILED, "AGENT_ERROR", "RuntimeError: SystemExit in a task of an agent"),
    ],
)
async def test_given_an_agent_that_fails_when_run_then_the_failure_says_how(
    runner: Any, kind: str, outcome: Outcome, expected: str, message: str
) -> None:
    settlement = await runner.run("failing", {"kind": kind})

    assert (settlement.outcome, reason(settlement), settlement.failure.message) == (outcome, expected, message)


async def test_given_a_very_long_message_when_an_agent_fails_then_it_is_trimmed(runner: Any) -> None:
    settlement = await runner.run("failing", {"kind": "long"})

    assert len(settlement.failure.message) == MAX_FAILURE_MESSAGE_CHARS


async def test_given_an_output_over_the_limit_when_run_then_the_failure_names_the_limit(runner: Any) -> None:
    settlement = await runner.run("big", {"size": MAX_OUTPUT_BYTES})

    assert (settlement.outcome, reason(settlement)) == (Outcome.FAILED_FINALLY, "OUTPUT_TOO_LARGE")
    assert str(MAX_OUTPUT_BYTES) in settlement.failure.message


async def test_given_an_output_at_the_limit_when_run_in_a_process_then_it_arrives(runner: Any) -> None:
    settlement = await runner.run("big", {"size": MAX_OUTPUT_BYTES - 2})

    assert len(settlement.output) == MAX_OUTPUT_BYTES


@pytest.mark.parametrize("agent", ["chatty", "pid_of_process", "in_thread"])
async def test_given_an_agent_that_reports_when_run_then_all_of_it_arrives_before_the_settlement(
    runner: Any, fake: FakeLedger, agent: str
) -> None:
    words = [f"word {number} " for number in range(300)]

    async def settle(settlement: Settlement) -> None:
        fake.journal.append((settlement.ref, settlement))

    await settle(await runner.run(agent.replace("_", "-"), {"words": words}))

    assert isinstance(fake.journal[-1][1], Settlement)
    assert "".join(event.text for event in fake.events()) == "".join(words)
    assert {(event.step, event.attempt) for event in fake.events()} == {("step-1", 1)}


@pytest.mark.parametrize("agent", ["sleeper", "hanging"])
async def test_given_an_agent_that_runs_too_long_when_its_time_is_up_then_it_failed_with_a_timeout(
    runner: Any, agent: str
) -> None:
    settlement = await runner.run(agent, run_timeout_ms=300)

    assert (settlement.outcome, reason(settlement)) == (Outcome.FAILED, "TIMEOUT")
    assert "300 ms" in settlement.failure.message


@pytest.mark.parametrize("agent", ["sleeper", "hanging", "polite"])
@pytest.mark.parametrize(
    ("stop", "outcome"), [(Stop.CANCEL, Outcome.CANCELLED), (Stop.DRAIN, Outcome.HANDED_BACK), (Stop.LOST, None)]
)
async def test_given_a_running_agent_when_stopped_then_the_settlement_says_why(
    runner: Any, fake: FakeLedger, agent: str, stop: Stop, outcome: Outcome | None
) -> None:
    attempt, ended = runner.start(grant_of(agent))
    await fake.reported()

    attempt.stop(stop)

    settlement = await asyncio.wait_for(ended, 30)
    if agent == "polite" and outcome is not None:
        assert settlement.outcome is Outcome.SUCCEEDED, "who ends by himself in time has ended well"
    else:
        assert (settlement and settlement.outcome) == outcome


async def test_given_an_attempt_that_has_not_begun_when_stopped_then_its_agent_never_runs(
    runner: Any, fake: FakeLedger
) -> None:
    attempt, ended = runner.start(grant_of("chatty", {"words": ["hello"]}))

    attempt.stop(Stop.CANCEL)

    assert (await ended).outcome is Outcome.CANCELLED
    assert fake.events() == []


async def test_given_an_agent_that_ignores_its_end_when_stopped_then_it_is_settled_without_it(
    runner: Any, fake: FakeLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attempt_module, "STOP_GRACE_SECONDS", 0.05)
    attempt, ended = runner.start(grant_of("deaf", {"times": 1}))
    await fake.reported()

    attempt.stop(Stop.CANCEL)

    assert (await asyncio.wait_for(ended, 30)).outcome is Outcome.CANCELLED


async def test_given_a_stale_attempt_when_it_reports_then_it_is_stopped_and_nothing_is_settled(
    runner: Any, fake: FakeLedger
) -> None:
    grant = grant_of("sleeper")
    _, ended = runner.start(grant)

    fake.held.pop(grant.ref)

    assert await asyncio.wait_for(ended, 30) is None


@pytest.mark.parametrize("agent", ["documented", "documented_in_process", "documented_in_thread"])
async def test_given_documents_of_the_task_when_an_agent_asks_then_it_gets_them_wherever_it_runs(
    runner: Any, fake: FakeLedger, agent: str
) -> None:
    fake.sent_documents = [Document("a.md", "text/markdown", b"x" * 100_000), Document("b.md", "text/plain", b"")]

    settlement = await runner.run(agent.replace("_", "-"))

    assert msgspec.json.decode(settlement.output) == ["a.md", "b.md"]


async def test_given_the_store_is_away_when_an_agent_reports_and_asks_then_both_wait_for_it(
    runner: Any, fake: FakeLedger
) -> None:
    fake.away = True
    _, ended = runner.start(grant_of("documented-in-process"))
    _, chatted = runner.start(grant_of("chatty", {"words": ["a", "b"]}, number=2))
    await asyncio.sleep(0.1)
    assert not ended.done()
    assert not chatted.done()

    fake.away = False

    assert (await asyncio.wait_for(ended, 30)).outcome is Outcome.SUCCEEDED
    assert (await asyncio.wait_for(chatted, 30)).usage == Usage(output_tokens=2)
    assert "".join(event.text for event in fake.events() if event.type is EventType.STEP_TEXT) == "ab"


async def test_given_an_agent_that_fails_when_it_has_spent_then_the_spend_is_settled(runner: Any) -> None:
    settlement = await runner.run("in-thread", {"words": ["a", "b", "c"], "fail": True})

    assert (settlement.outcome, settlement.usage) == (Outcome.FAILED, Usage(input_tokens=3))
    assert settlement.failure.message == "SystemExit: leaving"


@pytest.mark.parametrize("turns", [0, 1, 3])
async def test_given_an_agent_that_waits_some_turns_or_never_when_run_then_it_succeeds(runner: Any, turns: int) -> None:
    settlement = await runner.run("remembering", {"value": "x", "turns": turns})

    assert (settlement.outcome, settlement.output) == (Outcome.SUCCEEDED, b'["nothing","x"]')


async def test_given_an_agent_that_ends_in_its_own_timeout_when_run_then_it_failed_by_itself(runner: Any) -> None:
    settlement = await runner.run("hasty")

    assert (settlement.outcome, reason(settlement)) == (Outcome.FAILED, "AGENT_ERROR")
    assert settlement.failure.message == "TimeoutError"


async def test_given_attempts_that_wait_to_be_started_when_one_is_stopped_then_it_alone_never_runs(
    runner: Any, fake: FakeLedger
) -> None:
    started = [runner.start(grant_of("chatty", {"words": ["hello"]}, number=number)) for number in range(1, 6)]

    started[3][0].stop(Stop.DRAIN)

    outcomes = [(await asyncio.wait_for(ended, 30)).outcome for _, ended in started]
    assert outcomes == [Outcome.SUCCEEDED] * 3 + [Outcome.HANDED_BACK, Outcome.SUCCEEDED]
    assert {event.step for event in fake.events()} == {"step-1", "step-2", "step-3", "step-5"}


async def test_given_an_attempt_that_waits_to_be_started_when_it_is_lost_then_nothing_is_settled(runner: Any) -> None:
    _, first = runner.start(grant_of("echo", number=1))
    lost, ended = runner.start(grant_of("echo", number=2))

    lost.stop(Stop.LOST)

    assert await asyncio.wait_for(ended, 30) is None
    assert (await first).outcome is Outcome.SUCCEEDED


async def test_given_an_agent_that_holds_the_loop_past_its_time_when_it_returns_then_it_has_succeeded(
    runner: Any,
) -> None:
    settlement = await runner.run("holding", {"milliseconds": 60}, run_timeout_ms=20)

    assert settlement.outcome is Outcome.SUCCEEDED, "nobody could stop it, and it has a result"


async def test_given_a_traceparent_when_an_agent_asks_then_it_is_told_of_that_context(runner: Any) -> None:
    settlement = await runner.run("traced")

    assert msgspec.json.decode(settlement.output) == "00-0123456789abcdef0123456789abcdef-0123456789abcdef-01"


async def test_given_an_agent_that_takes_nothing_when_it_is_given_something_then_that_does_not_fit(runner: Any) -> None:
    settlement = await runner.run("traced", {"value": 1})

    assert (settlement.outcome, reason(settlement)) == (Outcome.FAILED_FINALLY, "INPUT_INVALID")
    assert "value" in settlement.failure.message
