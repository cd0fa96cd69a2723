"""What `Context.once` does on a worker: recorded in the ledger, wherever the agent runs and whatever is lost."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from waybill_worker.attempt import Stop
from worker_fake_ledger import FakeLedger, Fate, grant_of

from waybill.core.task import EffectState
from waybill.errors import ResourceExhausted
from waybill.ledger.records import Effect, Outcome

every_buyer = pytest.mark.parametrize("agent", ["buyer", "buyer-in-process", "buyer-in-thread"])


def charges(note: Path) -> int:
    """How often it was charged."""
    return note.read_text().count("charged") if note.exists() else 0


async def charged(note: Path) -> None:
    """Return once it was charged."""
    async with asyncio.timeout(30):
        while not charges(note):
            await asyncio.sleep(0.01)


@every_buyer
@pytest.mark.parametrize("suspect", [False, True])
async def test_given_an_effect_when_done_then_its_record_has_the_result(
    runner: Any, fake: FakeLedger, tmp_path: Path, agent: str, suspect: bool
) -> None:
    note = tmp_path / "note"

    settlement = await runner.run(agent, {"note": str(note)}, suspect=suspect)

    assert (settlement.outcome, settlement.output, charges(note)) == (Outcome.SUCCEEDED, b"1", 1)
    assert fake.effects["charge"][0] == Effect(EffectState.DONE, 1, b"1")


@every_buyer
async def test_given_an_effect_that_is_done_when_an_attempt_comes_to_it_then_it_gets_the_stored_result(
    runner: Any, fake: FakeLedger, tmp_path: Path, agent: str
) -> None:
    fake.effects["charge"] = Effect(EffectState.DONE, 1, b"7"), "n"

    settlement = await runner.run(agent, {"note": str(tmp_path / "note")})

    assert (settlement.output, charges(tmp_path / "note")) == (b"7", 0)


@every_buyer
async def test_given_an_unknown_effect_without_a_hook_when_an_attempt_comes_to_it_then_no_other_follows(
    runner: Any, fake: FakeLedger, tmp_path: Path, agent: str
) -> None:
    fake.effects["charge"] = Effect(EffectState.INTENDED, 1), "n"

    settlement = await runner.run(agent, {"note": str(tmp_path / "note")})

    assert (settlement.outcome, settlement.failure.reason) == (Outcome.FAILED_FINALLY, "EFFECT_UNKNOWN")
    assert (charges(tmp_path / "note"), fake.effects["charge"][0].state) == (0, EffectState.UNKNOWN)


@pytest.mark.parametrize("agent", ["prudent", "prudent-in-process"])
@pytest.mark.parametrize("done", [0, 1])
async def test_given_an_unknown_effect_when_the_agent_has_a_hook_then_the_hook_decides(
    runner: Any, fake: FakeLedger, tmp_path: Path, agent: str, done: int
) -> None:
    note = tmp_path / "note"
    if done:
        note.write_text("charged\n")
    fake.effects[str(note)] = Effect(EffectState.UNKNOWN, 1), "n"

    settlement = await runner.run(agent, {"note": str(note)})

    assert (settlement.output, charges(note)) == (b"1", 1)
    assert fake.effects[str(note)][0] == Effect(EffectState.DONE, 1, b"1")


async def test_given_an_agent_that_cannot_tell_when_it_says_so_then_a_person_has_to(
    runner: Any, fake: FakeLedger
) -> None:
    settlement = await runner.run("doubtful")

    assert (settlement.outcome, settlement.failure.reason) == (Outcome.FAILED_FINALLY, "EFFECT_UNKNOWN")
    assert fake.effects["call"][0].state is EffectState.UNKNOWN


@every_buyer
@pytest.mark.parametrize("lost", [Fate.CALL_LOST, Fate.REPLY_LOST])
async def test_given_calls_or_replies_that_are_lost_when_made_again_then_the_effect_is_done_once(
    runner: Any, fake: FakeLedger, tmp_path: Path, agent: str, lost: Fate
) -> None:
    fates = {name: iter([lost, lost]) for name in ("begin_effect", "end_effect")}
    fake.fate = lambda name: next(fates.get(name, iter(())), Fate.ARRIVES)

    settlement = await runner.run(agent, {"note": str(tmp_path / "note")})

    assert (settlement.output, charges(tmp_path / "note")) == (b"1", 1)
    assert fake.effects["charge"][0] == Effect(EffectState.DONE, 1, b"1")


@every_buyer
async def test_given_an_attempt_that_is_over_when_it_comes_to_an_effect_then_it_does_nothing(
    runner: Any, fake: FakeLedger, tmp_path: Path, agent: str
) -> None:
    grant = grant_of(agent, {"note": str(tmp_path / "note")})
    _, ended = runner.start(grant)

    fake.stopping.add(grant.ref)

    settlement = await asyncio.wait_for(ended, 30)
    assert (settlement.outcome, charges(tmp_path / "note"), fake.effects) == (Outcome.CANCELLED, 0, {})


@pytest.mark.parametrize("agent", ["buyer", "buyer-in-process"])
@pytest.mark.parametrize("stop", [Stop.CANCEL, Stop.DRAIN, Stop.TIMEOUT])
async def test_given_an_effect_under_way_when_its_attempt_is_stopped_then_it_is_never_taken_for_done(
    runner: Any, fake: FakeLedger, tmp_path: Path, agent: str, stop: Stop
) -> None:
    note, wait = tmp_path / "note", tmp_path / "wait"
    attempt, ended = runner.start(grant_of(agent, {"note": str(note), "wait": str(wait)}))
    await charged(note)

    attempt.stop(stop)

    await asyncio.wait_for(ended, 30)
    assert fake.effects["charge"][0].state in (EffectState.UNKNOWN, EffectState.INTENDED)
    settlement = await runner.run(agent, {"note": str(note)}, number=2)
    assert (settlement.failure.reason, charges(note)) == ("EFFECT_UNKNOWN", 1)


async def test_given_an_attempt_stopped_while_it_announces_an_effect_then_the_next_one_may_do_it(
    runner: Any, fake: FakeLedger, tmp_path: Path
) -> None:
    note, arrived = tmp_path / "note", asyncio.Event()
    begin = fake.begin_effect

    async def slow(*args: Any) -> Effect | None:
        arrived.set()
        reply = await begin(*args)
        await asyncio.sleep(0.1)
        return reply

    fake.begin_effect = slow  # type: ignore[method-assign]
    attempt, ended = runner.start(grant_of("buyer", {"note": str(note)}))
    await arrived.wait()

    attempt.stop(Stop.DRAIN)

    assert (await asyncio.wait_for(ended, 30)).outcome is Outcome.HANDED_BACK
    assert fake.effects["charge"][0].state is EffectState.FAILED
    assert (await runner.run("buyer", {"note": str(note)}, number=2)).output == b"1"


@every_buyer
async def test_given_a_store_that_is_away_when_an_attempt_that_waits_for_it_is_stopped_then_it_ends(
    runner: Any, fake: FakeLedger, tmp_path: Path, agent: str
) -> None:
    fake.away = True
    attempt, ended = runner.start(grant_of(agent, {"note": str(tmp_path / "note")}))
    await asyncio.sleep(0.3)

    attempt.stop(Stop.CANCEL)

    assert (await asyncio.wait_for(ended, 30)).outcome is Outcome.CANCELLED
    assert charges(tmp_path / "note") == 0


@every_buyer
async def test_given_too_many_effects_when_another_is_begun_then_no_other_attempt_can_succeed(
    runner: Any, fake: FakeLedger, tmp_path: Path, agent: str
) -> None:
    def refuse(*_: object) -> None:
        raise ResourceExhausted("the task has 1000 effects", reason="TOO_MANY_EFFECTS")

    fake._begin_effect = refuse  # type: ignore[assignment]

    settlement = await runner.run(agent, {"note": str(tmp_path / "note")})

    assert (settlement.outcome, settlement.failure.reason) == (Outcome.FAILED_FINALLY, "TOO_MANY_EFFECTS")
