"""Effects: what agents did is shown, and a person decides what nobody knows."""

from __future__ import annotations

import grpc
import pytest
from waybill_dispatcher import effects as listing

from waybill.api.v1 import task_pb2
from waybill.core.task import EffectState
from waybill.ledger.records import Outcome, Settlement

DONE, FAILED = task_pb2.EFFECT_STATE_DONE, task_pb2.EFFECT_STATE_FAILED
UNKNOWN, INTENDED = task_pb2.EFFECT_STATE_UNKNOWN, task_pb2.EFFECT_STATE_INTENDED
PLAN = task_pb2.Plan(
    steps=[task_pb2.PlanStep(name="first", agent="echo"), task_pb2.PlanStep(name="pay", agent="echo", after=["first"])]
)


async def uncertain(suite) -> str:
    """Name of a step that failed in the middle of its effect `charge`, having done `mail`."""
    await suite.announce("echo")
    task = (await suite.submit(plan=PLAN)).task
    shown = []

    async def begin(ref) -> None:
        for key in ("mail", "charge"):
            await suite.ledger.begin_effect("hand.1", ref, key, f"nonce-{key}")
        await suite.ledger.end_effect("hand.1", ref, "mail", "nonce-mail", EffectState.DONE, b'"sent"')

    settlements: list[Settlement] = []
    for seq in (1, 2):
        exchange = await suite.ledger.exchange("hand.1", seq, seq - 1, settlements, [], ["echo"], 8)
        (grant,) = exchange.grants
        settlements = [Settlement(grant.ref, Outcome.SUCCEEDED, b"1")]
    await begin(grant.ref)
    shown += await effects(suite, task.name)
    assert (f"{task.name}/steps/pay", "charge", INTENDED, b"") in shown
    ended = [Settlement(grant.ref, Outcome.FAILED_FINALLY)]
    await suite.ledger.exchange("hand.1", 3, 2, ended, [], ["echo"], 8)
    return f"{task.name}/steps/pay"


async def effects(suite, task: str) -> list[tuple]:
    found = (await suite.call("ReadEffects", parent=task)).effects
    return [(effect.step, effect.key, effect.state, effect.result.data) for effect in found]


async def test_given_an_attempt_that_ended_in_the_middle_then_its_effect_is_unknown(suite) -> None:
    step = await uncertain(suite)
    assert await effects(suite, step.partition("/steps/")[0]) == [
        (step, "charge", UNKNOWN, b""),
        (step, "mail", DONE, b'"sent"'),
    ]


async def test_given_more_results_than_a_list_can_carry_then_those_past_it_are_left_out(suite, monkeypatch) -> None:
    monkeypatch.setattr(listing, "MAX_LISTED_EFFECTS_BYTES", 5)
    step = await uncertain(suite)
    assert await effects(suite, step.partition("/steps/")[0]) == [
        (step, "charge", UNKNOWN, b""),
        (step, "mail", DONE, b""),
    ]


@pytest.mark.parametrize(
    ("state", "result", "kept"), [(DONE, b'{"id": 7}', b'{"id": 7}'), (DONE, b"", b"null"), (FAILED, b"", b"")]
)
async def test_given_a_decision_then_it_stands_and_may_be_repeated(suite, state, result, kept) -> None:
    step = await uncertain(suite)
    fields = {"step": step, "key": "charge", "state": state, "result": task_pb2.Payload(data=result)}
    for _ in range(2):
        effect = (await suite.call("DecideEffect", **fields, request_id="r")).effect
        assert (effect.step, effect.key, effect.state, effect.result.data) == (step, "charge", state, kept)
    code, _ = await suite.refused("DecideEffect", **fields, request_id="another")
    assert code == grpc.StatusCode.FAILED_PRECONDITION


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"state": UNKNOWN}, grpc.StatusCode.INVALID_ARGUMENT),
        ({"state": FAILED, "result": task_pb2.Payload(data=b"1")}, grpc.StatusCode.INVALID_ARGUMENT),
        ({"result": task_pb2.Payload(data=b"{")}, grpc.StatusCode.INVALID_ARGUMENT),
        ({"key": ""}, grpc.StatusCode.INVALID_ARGUMENT),
        ({"key": "other"}, grpc.StatusCode.NOT_FOUND),
        ({"key": "mail"}, grpc.StatusCode.FAILED_PRECONDITION),
        ({"tenant": "other"}, grpc.StatusCode.NOT_FOUND),
    ],
)
async def test_given_a_decision_that_cannot_stand_then_it_is_refused(suite, fields, code) -> None:
    step = await uncertain(suite)
    given = {"step": step, "key": "charge", "state": DONE, "request_id": "r", **fields}
    assert (await suite.refused("DecideEffect", **given))[0] == code
    assert (step, "charge", UNKNOWN, b"") in await effects(suite, step.partition("/steps/")[0])


async def test_given_another_tenant_then_there_are_no_effects(suite) -> None:
    task = (await uncertain(suite)).partition("/steps/")[0]
    assert (await suite.refused("ReadEffects", parent=task, tenant="other"))[0] == grpc.StatusCode.NOT_FOUND
