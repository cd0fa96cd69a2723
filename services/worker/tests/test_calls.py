"""The model calls of single attempts: allowed, made and accounted for, whatever is lost and whoever gives up."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest
from model_server import Behaviour, ModelServer
from waybill_worker.attempt import Stop
from worker_fake_ledger import FakeLedger, Fate, grant_of
from worker_models import usage_of

from waybill.core.budget import BudgetAction, TaskPolicy
from waybill.core.task import Event, EventType, Usage
from waybill.ledger.call_records import CallDecision, CallVerdict
from waybill.ledger.records import Outcome, Settlement

every_asker = pytest.mark.parametrize("agent", ["asker", "asker-in-process", "asker-in-thread"])
WAIT = CallDecision(CallVerdict.WAIT, wait_ms=5)


def text_of(events: list[Event]) -> str:
    """The text that watchers hold after these events."""
    text = ""
    for event in events:
        if event.type is EventType.STEP_TEXT:
            assert event.text_offset in (0, len(text))
            text = text[: event.text_offset] + event.text
    return text


async def stopped(runner: Any, server: ModelServer, agent: str, why: Stop, **options: Any) -> Settlement | None:
    """What an attempt comes to that is stopped in the middle of its call."""
    attempt, ended = runner.start(grant_of(agent, options))
    async with asyncio.timeout(30):
        while not server.concurrent:
            await asyncio.sleep(0.01)
    attempt.stop(why)
    settlement: Settlement | None = await asyncio.wait_for(ended, 30)
    await server.idle()
    return settlement


async def accounted(fake: FakeLedger, count: int = 1) -> dict[int, Usage]:
    """The accounts of the calls, once there are so many."""
    async with asyncio.timeout(30):
        while len(fake.accounts) < count:
            await asyncio.sleep(0.01)
    return fake.accounts


@every_asker
@pytest.mark.parametrize("suspect", [False, True])
async def test_given_a_model_when_asked_then_the_call_is_announced_named_and_accounted(
    modelled: Any, fake: FakeLedger, server: ModelServer, agent: str, suspect: bool
) -> None:
    settlement = await modelled.run(agent, {"text": "hello"}, suspect=suspect)

    (billed,) = server.bill
    (opening,) = fake.openings
    assert (settlement.outcome, settlement.output) == (Outcome.SUCCEEDED, b'"You said: hello"')
    assert settlement.usage == Usage(), "what calls cost is not reported a second time"
    assert billed.call == "0-task/1/1/1"
    assert fake.accounts == {1: usage_of(billed)}
    assert (opening.number, opening.model, opening.endpoint, opening.prompt) == (1, "test-model", "default", b"")
    assert opening.worst.cost_microusd >= usage_of(billed).cost_microusd
    assert (modelled.slot.given, modelled.slot.out) == (0, 0)


@every_asker
async def test_given_a_stream_when_asked_then_watchers_get_the_text(
    modelled: Any, fake: FakeLedger, agent: str
) -> None:
    await modelled.run(agent, {"text": "a long story", "stream": True})

    assert text_of(fake.events()) == "You said: a long story"


async def test_given_a_stream_that_breaks_when_asked_then_watchers_end_up_with_the_text_that_counts(
    modelled: Any, fake: FakeLedger, server: ModelServer
) -> None:
    broken = {"text": "this will not last", "fault": "disconnect", "after_chunks": 3}
    server.script += [Behaviour(**broken), Behaviour(**broken, chunk_seconds=0.1), Behaviour(text="it lasts")]

    settlement = await modelled.run("between")

    assert settlement.output == b'"it lasts"'
    assert text_of(fake.events()) == "before. it lasts after."
    assert sorted(fake.accounts) == [1, 2, 3]


@pytest.mark.parametrize("agent", ["judge", "judge-in-process"])
async def test_given_answers_that_do_not_fit_when_asked_then_each_repair_is_a_call_of_its_own(
    modelled: Any, fake: FakeLedger, server: ModelServer, agent: str
) -> None:
    server.script += [Behaviour(text="no JSON"), Behaviour(text='{"good": "very"}')]

    settlement = await modelled.run(agent)

    assert msgspec.json.decode(settlement.output) == {"good": True, "why": "text"}
    assert sorted(fake.accounts) == [1, 2, 3]


@every_asker
@pytest.mark.parametrize("fate", [Fate.CALL_LOST, Fate.REPLY_LOST])
async def test_given_a_store_that_is_away_when_asked_then_calls_are_told_until_it_has_them(
    modelled: Any, fake: FakeLedger, server: ModelServer, agent: str, fate: Fate
) -> None:
    lost = {"begin_call": 3, "end_call": 3}

    def fates(name: str) -> Fate:
        if lost.get(name, 0):
            lost[name] -= 1
            return fate
        return Fate.ARRIVES

    fake.fate = fates

    settlement = await modelled.run(agent)

    assert settlement.outcome is Outcome.SUCCEEDED
    assert len(server.requests) == 1
    assert len({opening.nonce for opening in fake.openings}) == 1
    assert fake.accounts == {1: usage_of(server.bill[0])}


@every_asker
async def test_given_no_permit_when_asked_then_it_waits_without_a_slot_and_asks_for_the_same_call(
    modelled: Any, fake: FakeLedger, server: ModelServer, agent: str
) -> None:
    fake.decisions += [WAIT, WAIT, WAIT]

    settlement = await modelled.run(agent)

    assert settlement.outcome is Outcome.SUCCEEDED
    assert (modelled.slot.given, modelled.slot.out) == (1, 0)
    assert {(opening.number, opening.nonce) for opening in fake.openings} == {(1, fake.openings[0].nonce)}
    assert len(fake.openings) == 4


@every_asker
@pytest.mark.parametrize("on_limit", list(BudgetAction))
async def test_given_a_budget_that_is_used_up_when_asked_then_the_step_waits_for_more_or_fails_as_its_task_says(
    modelled: Any, fake: FakeLedger, server: ModelServer, agent: str, on_limit: BudgetAction
) -> None:
    fake.decisions.append(CallDecision(CallVerdict.OVER, scope="tenant", left_microusd=7, on_limit=on_limit))

    settlement = await modelled.run(agent)

    assert (settlement.outcome, settlement.failure.reason) == (Outcome.OVER_BUDGET, "BUDGET_EXHAUSTED")
    assert "7 micro-dollars" in settlement.failure.message
    assert not server.requests


@every_asker
@pytest.mark.parametrize(
    ("verdict", "reason"), [(CallVerdict.STALE, "ATTEMPT_OVER"), (CallVerdict.TOO_MANY, "TOO_MANY_CALLS")]
)
async def test_given_a_ledger_that_refuses_when_asked_then_no_call_is_made(
    modelled: Any, fake: FakeLedger, server: ModelServer, agent: str, verdict: CallVerdict, reason: str
) -> None:
    fake.decisions.append(CallDecision(verdict))

    settlement = await modelled.run(agent)

    assert settlement.outcome in (Outcome.CANCELLED, Outcome.FAILED_FINALLY)
    if settlement.failure is not None:
        assert settlement.failure.reason == reason
    assert not server.requests


@every_asker
@pytest.mark.parametrize("why", [Stop.CANCEL, Stop.DRAIN, Stop.TIMEOUT])
async def test_given_a_call_under_way_when_its_attempt_is_stopped_then_it_counts_at_its_worst(
    modelled: Any, fake: FakeLedger, server: ModelServer, agent: str, why: Stop
) -> None:
    server.script.append(Behaviour(text="never ends", fault="stall"))

    await stopped(modelled, server, agent, why)

    worst = fake.openings[0].worst
    used = (await accounted(fake))[1]
    assert (used.cost_microusd, used.estimated_microusd) == (worst.cost_microusd, worst.cost_microusd)
    assert used.cost_microusd >= usage_of(server.bill[0]).cost_microusd


@every_asker
async def test_given_a_lost_attempt_when_its_call_is_under_way_then_the_call_ends_and_is_accounted(
    modelled: Any, fake: FakeLedger, server: ModelServer, agent: str
) -> None:
    server.script.append(Behaviour(text="never ends", fault="stall"))

    assert await stopped(modelled, server, agent, Stop.LOST) is None

    assert (await accounted(fake))[1].estimated_microusd > 0


async def test_given_a_call_that_is_allowed_too_late_when_its_attempt_is_stopped_then_it_is_given_back(
    modelled: Any, fake: FakeLedger, server: ModelServer
) -> None:
    fake.decisions += [WAIT] * 3
    attempt, ended = modelled.start(grant_of("asker"))
    asked = fake.begin_call

    async def slow(*arguments: Any) -> CallDecision:
        decision = await asked(*arguments)
        if decision.verdict is CallVerdict.GO:
            attempt.stop(Stop.CANCEL)
            await ended
        return decision

    fake.begin_call = slow  # type: ignore[method-assign]
    await asyncio.wait_for(ended, 30)

    assert await accounted(fake) == {1: Usage()}
    assert not server.requests
    assert modelled.slot.out == 0


async def test_given_an_agent_that_gives_a_call_up_when_it_goes_on_then_the_call_ends(
    modelled: Any, fake: FakeLedger, server: ModelServer
) -> None:
    server.script.append(Behaviour(text="never ends", fault="stall"))

    settlement = await modelled.run("impatient", {"seconds": 0.2}, suspect=True)

    assert settlement.output == b'"gave up"'
    await server.idle()
    assert (await accounted(fake))[1].estimated_microusd > 0


async def test_given_a_store_that_stays_away_when_an_attempt_is_stopped_then_its_call_is_told_once_it_is_back(
    modelled: Any, fake: FakeLedger, server: ModelServer
) -> None:
    server.script.append(Behaviour(text="never ends", fault="stall"))
    attempt, ended = modelled.start(grant_of("asker"))
    while not server.concurrent:
        await asyncio.sleep(0.01)
    fake.away = True

    attempt.stop(Stop.CANCEL)
    await asyncio.wait_for(ended, 30)
    assert not fake.accounts

    fake.away = False
    assert (await accounted(fake))[1].estimated_microusd > 0


@pytest.mark.parametrize("agent", ["knows", "knows-in-process"])
async def test_given_a_policy_and_a_model_or_none_when_looked_at_then_the_agent_knows(
    modelled: Any, runner: Any, fake: FakeLedger, agent: str
) -> None:
    fake.policy = TaskPolicy(allowed_tools=("crm/*",))

    assert (await modelled.run(agent)).output == b'[true,["crm/*"]]'
    fake.held.clear()
    assert (await runner.run(agent)).output == b'[false,["crm/*"]]'


@every_asker
async def test_given_no_model_when_asked_then_no_attempt_can_succeed(runner: Any, agent: str) -> None:
    settlement = await runner.run(agent)

    assert (settlement.outcome, settlement.failure.reason) == (Outcome.FAILED_FINALLY, "MODEL_MISSING")


async def test_given_an_unknown_model_when_asked_for_then_no_attempt_can_succeed(modelled: Any) -> None:
    settlement = await modelled.run("named", {"model": "gpt-99"})

    assert (settlement.outcome, settlement.failure.reason) == (Outcome.FAILED_FINALLY, "MODEL_MISSING")
