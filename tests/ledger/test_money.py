"""Money under adversity: calls told late, again and of nothing, damaged records, and numbers beyond reason."""

from __future__ import annotations

import pytest
import redis.asyncio
from ledger_calls import GO, USED, WORST, begin, estimated
from ledger_fold import check_history
from ledger_hand import Hand, failed, pass_time, succeeded
from ledger_plans import accept, chain, graph, side_by_side

from waybill.core.budget import Budget
from waybill.core.task import CallState, EventType, Failure, TaskState, Usage
from waybill.ledger import keys
from waybill.ledger.call_records import CallOpening, CallVerdict, Observed
from waybill.ledger.ledger import Ledger
from waybill.ledger.records import Grant, StepRef

GARBAGE = [b"", b"\xc1", b"\x91", b"\x93\x01\x02\x03", b"hello"]


async def calling(ledger: Ledger, hand: Hand, **fields: object) -> Grant:
    """A step that runs, with its call 1 open."""
    await accept(ledger, graph(side_by_side(1)), **fields)
    (grant,) = await hand.take()
    assert await begin(ledger, hand.id, grant.ref) == GO
    return grant


async def told(ledger: Ledger, task: str) -> int:
    return sum(event.type is EventType.CALL_ENDED for event in await ledger.events(task, 1, 1_000))


async def test_given_a_late_end_that_says_nothing_was_billed_then_nothing_is_left_of_the_worst_case(
    ledger: Ledger, hand: Hand
) -> None:
    grant = await calling(ledger, hand)
    await hand.exchange(failed(grant, final=True))
    assert (await ledger.task(grant.ref.task)).usage == estimated(WORST)
    assert await ledger.end_call(grant.ref, 1, Usage())
    task, _ = await check_history(ledger, grant.ref.task)
    assert task.usage == Usage()
    assert (await ledger.tenant_budget("acme")).spent_total_microusd == 0


async def test_given_a_guess_without_a_price_then_it_is_an_estimate_and_the_truth_replaces_it(
    ledger: Ledger, hand: Hand
) -> None:
    grant = await calling(ledger, hand)
    guess = Usage(100, 50)
    for _ in range(3):
        assert await ledger.end_call(grant.ref, 1, guess, Observed(accounted=False))
    (call,) = await ledger.calls(grant.ref.task)
    assert (call.state, call.usage) == (CallState.ESTIMATED, guess)
    assert await told(ledger, grant.ref.task) == 1
    for usage in (USED, guess):
        assert await ledger.end_call(grant.ref, 1, usage)
    (call,) = await ledger.calls(grant.ref.task)
    assert (call.state, call.usage) == (CallState.SETTLED, USED)
    assert await told(ledger, grant.ref.task) == 2
    await hand.exchange(succeeded(grant))
    await check_history(ledger, grant.ref.task)


@pytest.mark.parametrize("garbage", GARBAGE)
@pytest.mark.parametrize("late", [False, True])
async def test_given_an_open_call_whose_record_is_damaged_then_its_worst_case_counts_and_nothing_stays_reserved(
    ledger: Ledger, hand: Hand, store: redis.asyncio.Redis, garbage: bytes, late: bool
) -> None:
    grant = await calling(ledger, hand, budget=Budget(1_500))
    await store.hset(keys.key("0", "calls", grant.ref.task), "1:1:1", garbage)
    assert (await begin(ledger, hand.id, grant.ref)).verdict is CallVerdict.STALE
    assert await ledger.calls(grant.ref.task) == []
    if not late:
        assert await ledger.end_call(grant.ref, 1, USED)
    await hand.exchange(failed(grant, final=True))
    task, _ = await check_history(ledger, grant.ref.task)
    expected = Usage(cost_microusd=1_000, estimated_microusd=1_000) if late else USED
    assert (task.usage, task.reserved_microusd) == (expected, 0)
    tenant = await ledger.tenant_budget("acme")
    assert (tenant.spent_total_microusd, tenant.reserved_microusd) == (expected.cost_microusd, 0)


@pytest.mark.parametrize("garbage", GARBAGE)
async def test_given_the_list_of_open_calls_is_damaged_then_the_end_of_the_task_gives_back_what_was_reserved(
    ledger: Ledger, hand: Hand, store: redis.asyncio.Redis, garbage: bytes
) -> None:
    grant = await calling(ledger, hand)
    await store.hset(keys.key("0", "calls", grant.ref.task), "1:1:open", garbage)
    await hand.exchange(failed(grant, final=True))
    assert (await ledger.task(grant.ref.task)).reserved_microusd == 0
    assert (await ledger.tenant_budget("acme")).reserved_microusd == 0


async def test_given_a_settled_call_whose_record_is_damaged_then_it_counts_as_it_did(
    ledger: Ledger, hand: Hand, store: redis.asyncio.Redis
) -> None:
    grant = await calling(ledger, hand)
    await ledger.end_call(grant.ref, 1, USED)
    await store.hset(keys.key("0", "calls", grant.ref.task), "1:1:1", b"\xc1")
    assert await ledger.end_call(grant.ref, 1, Usage(1, 1, 1))
    assert not await ledger.drop_call(grant.ref, 1)
    assert (await begin(ledger, hand.id, grant.ref)).verdict is CallVerdict.STALE
    await hand.exchange(succeeded(grant))
    (row,) = await ledger.usage_of_task(grant.ref.task)
    assert row.usage == USED


@pytest.mark.parametrize("ended_by", ["renewal", "cancel", "settlement"])
async def test_given_a_damaged_step_with_an_open_call_then_nothing_stays_reserved(
    ledger: Ledger, hand: Hand, store: redis.asyncio.Redis, ended_by: str
) -> None:
    grant = await calling(ledger, hand)
    await store.hset(keys.key("0", "task", grant.ref.task), "run:1", b"\xc1")
    match ended_by:
        case "renewal":
            await pass_time(ledger, 10_000)
        case "cancel":
            await ledger.cancel(grant.ref.task)
        case "settlement":
            await hand.exchange(succeeded(grant))
    task = await ledger.task(grant.ref.task)
    assert (task.state.ended, task.reserved_microusd, task.usage) == (True, 0, estimated(WORST))
    assert (await ledger.tenant_budget("acme")).reserved_microusd == 0


@pytest.mark.parametrize("how", ["cancel", "deadline", "fail", "attach"])
async def test_given_a_planner_call_that_is_open_when_planning_ends_then_its_worst_case_counts_and_is_told_late(
    ledger: Ledger, how: str
) -> None:
    task = await accept(ledger, goal="why?", deadline_ms=1_000 if how == "deadline" else 0)
    ref = StepRef(task, 0, 0)
    assert await begin(ledger, "", ref) == GO
    match how:
        case "cancel":
            await ledger.cancel(task)
        case "deadline":
            await pass_time(ledger, 2_000)
        case "fail":
            await ledger.fail_planning(task, Failure("PLANNING_FAILED", "no"), 0)
        case "attach":
            await ledger.attach_plan(task, 0, graph(chain(1)), 0)
    record = await ledger.task(task)
    assert (record.usage, record.reserved_microusd) == (estimated(WORST), 0)
    if how != "attach":
        assert await ledger.retry(task) is TaskState.PLANNING
        assert (await begin(ledger, "", ref, 2)).verdict is CallVerdict.STALE
        again = StepRef(task, 0, 1)
        assert await begin(ledger, "", again) == GO
        assert await ledger.end_call(ref, 1, USED)
        assert (await ledger.task(task)).reserved_microusd == 1_000
        assert await ledger.end_call(again, 1, USED)
        assert (await ledger.task(task)).usage == USED + USED
        await ledger.cancel(task)
    await check_history(ledger, task)
    assert (await ledger.tenant_budget("acme")).reserved_microusd == 0


async def test_given_a_task_that_has_expired_then_a_late_end_is_unknown_and_nothing_is_reserved(
    ledger: Ledger, hand: Hand
) -> None:
    grant = await calling(ledger, hand)
    await hand.exchange(failed(grant, final=True))
    ledger.clock_ms += 700_000_000
    assert await ledger.expire(10) == 1
    assert not await ledger.end_call(grant.ref, 1, USED)
    assert (await ledger.tenant_budget("acme")).reserved_microusd == 0


async def test_given_an_attempt_that_runs_again_then_the_late_end_of_the_first_goes_to_its_own_call(
    ledger: Ledger, hand: Hand
) -> None:
    grant = await calling(ledger, hand)
    await hand.exchange(failed(grant))
    await pass_time(ledger, 10_000, hand)
    (again,) = await hand.take()
    assert again.ref.attempt == 2
    assert await begin(ledger, hand.id, again.ref) == GO
    assert await ledger.end_call(grant.ref, 1, USED)
    assert (await ledger.task(grant.ref.task)).reserved_microusd == 1_000
    assert await ledger.end_call(again.ref, 1, USED)
    await hand.exchange(succeeded(again))
    task, steps = await check_history(ledger, grant.ref.task)
    assert task.usage == USED + USED == steps["p0"].usage


@pytest.mark.parametrize("amount", [2**53 - 1, 2**53 + 1, 2**63, 10**30])
async def test_given_numbers_beyond_reason_then_they_are_cut_and_nothing_breaks(
    ledger: Ledger, hand: Hand, amount: int
) -> None:
    grant = await calling(ledger, hand)
    assert await ledger.end_call(grant.ref, 1, Usage(amount, amount, amount, amount, amount))
    await begin(ledger, hand.id, grant.ref, 2, Usage(1, 1, amount))
    await hand.exchange(succeeded(grant, usage=Usage(1, 1, amount)))
    task, _ = await check_history(ledger, grant.ref.task)
    assert task.usage.cost_microusd == 3 * 10**15
    tenant = await ledger.tenant_budget("acme")
    assert (tenant.spent_total_microusd, tenant.reserved_microusd) == (3 * 10**15, 0)


async def test_given_an_archive_then_a_call_told_late_has_the_task_archived_again(ledger: Ledger, hand: Hand) -> None:
    await ledger.set_policy({"archive": 1})
    grant = await calling(ledger, hand)
    await hand.exchange(failed(grant, final=True))
    for late in (True, False):
        (lease,) = await ledger.lease_archive(1_000, 10)
        assert await ledger.mark_archived([lease]) == 1
        if late:
            await ledger.end_call(grant.ref, 1, USED)


@pytest.mark.parametrize("model", ["org/model name:free", "ünïcode 模型", 'quo"te\\', "a" * 500])
async def test_given_odd_names_of_models_then_usage_tells_them_apart(ledger: Ledger, hand: Hand, model: str) -> None:
    await accept(ledger, graph(side_by_side(1)))
    (grant,) = await hand.take()
    for number, name in enumerate((model, "plain"), 1):
        await ledger.begin_call(hand.id, grant.ref, CallOpening(number, f"n{number}", name, "default", WORST))
        await ledger.end_call(grant.ref, number, USED)
    await hand.exchange(succeeded(grant))
    day = "2023-11-14"
    assert {(row.model, row.calls) for row in await ledger.usage_of_days("acme", day, day)} == {
        (model, 1),
        ("plain", 1),
    }
    told_models = [event.model for event in await ledger.events(grant.ref.task, 1, 100) if event.call]
    assert told_models == [model, "plain"]
