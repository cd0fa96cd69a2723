"""Substitutes: what waits for a step waits for the one in its place, and knows its output by the old name."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import msgspec
import pytest
import redis.asyncio
from ledger_adapting import decide_all, patch, plan, step, steps_of
from ledger_fold import check_history
from ledger_hand import Hand, failed, succeeded
from ledger_patches import with_patch
from ledger_plans import accept

from waybill.core.plan import FailurePolicy, PlanStep, Question, RetryPolicy
from waybill.core.task import Failure, StepState, TaskState
from waybill.errors import FailedPrecondition
from waybill.ledger import keys
from waybill.ledger.ledger import Ledger

REPLAN = FailurePolicy.REPLAN
ASKS = Failure("REPLAN", "there must be another way")


async def revise(ledger: Ledger, task: str, *steps: PlanStep, **fields: Any) -> bool:
    """The next revision of a task, made at once."""
    (lease,) = await ledger.lease_revisions(0, 1)
    added = await patch(ledger, task, *steps, **fields)
    return await ledger.patch_plan(task, lease.revision, lease.round, lease.failed, added)


async def test_given_one_step_in_the_place_of_two_then_it_is_known_by_both_names(ledger: Ledger, hand: Hand) -> None:
    last = step("last", input=b'{"a": "${a}", "b": "${b.x}"}')
    task = await accept(ledger, plan(step("a"), step("b"), last, on_failure=REPLAN))
    a, b = await hand.take()
    await hand.exchange(failed(a, final=True), failed(b, final=True))
    assert await revise(ledger, task, step("both"), substitutes={"a": "both", "b": "both"})
    (both,) = await hand.take()
    (granted,) = (await hand.exchange(succeeded(both, b'{"x": 1}'))).grants
    assert granted.inputs == {"a": b'{"x": 1}', "b": b'{"x": 1}'}
    await hand.exchange(succeeded(granted))
    record, steps = await check_history(ledger, task)
    assert (record.state, steps["last"].dependencies) == (TaskState.SUCCEEDED, (4,))


async def test_given_a_large_output_then_it_is_known_by_both_names_too(ledger: Ledger, hand: Hand) -> None:
    large = b'"' + b"x" * 300_000 + b'"'
    last = step("last", input=b'{"a": "${a}", "b": "${b}", "c": "${c}", "t": "${task.goal}"}')
    task = await accept(ledger, plan(step("a"), step("b"), step("c"), last, on_failure=REPLAN))
    a, b, c = await hand.take()
    await hand.exchange(failed(a, final=True), failed(b, final=True), succeeded(c))
    assert await revise(ledger, task, step("both"), substitutes={"a": "both", "b": "both"})
    (both,) = await hand.take()
    (granted,) = (await hand.exchange(succeeded(both, large))).grants
    assert granted.inputs == {"a": large, "b": large, "c": b"1", "task": b'{"goal":"","input":null}'}


async def test_given_a_substitute_that_fails_too_then_its_own_keeps_the_first_name(ledger: Ledger, hand: Hand) -> None:
    task = await accept(ledger, plan(step("a"), step("last", input=b'{"a": "${a}"}'), on_failure=REPLAN))
    (granted,) = await hand.take()
    for number in range(2):
        await hand.exchange(failed(granted, final=True))
        old, new = ("a", "again-0") if number == 0 else ("again-0", "again-1")
        assert await revise(ledger, task, step(new), substitutes={old: new})
        (granted,) = await hand.take()
    (last,) = (await hand.exchange(succeeded(granted, b'"third"'))).grants
    assert last.inputs == {"a": b'"third"'}
    await hand.exchange(succeeded(last))
    assert (await check_history(ledger, task))[0].state is TaskState.SUCCEEDED


async def test_given_a_condition_on_what_is_replaced_then_the_substitute_decides(ledger: Ledger, hand: Hand) -> None:
    wanted = step("wanted", when=("${a.ok}",))
    task = await accept(ledger, plan(step("a"), wanted, on_failure=REPLAN))
    (a,) = await hand.take()
    await hand.exchange(failed(a, final=True))
    assert await revise(ledger, task, step("b"), substitutes={"a": "b"})
    (b,) = await hand.take()
    await hand.exchange(succeeded(b, b'{"ok": true}'))
    assert await decide_all(ledger) == 1
    assert [granted.step for granted in await hand.run_all()] == ["wanted"]
    _, steps = await check_history(ledger, task)
    assert steps["wanted"].when == ("${a.ok}",)


async def test_given_a_dropped_step_with_a_substitute_then_the_task_returns_what_that_returns(
    ledger: Ledger, hand: Hand
) -> None:
    task = await accept(ledger, plan(step("a"), step("b", "a"), step("c"), on_failure=REPLAN))
    a, c = await hand.take()
    await hand.exchange(failed(a, final=True))
    assert await revise(ledger, task, step("x"), step("y", "x"), step("z"), drop=("b",), substitutes={"b": "y"})
    await hand.exchange(succeeded(c))
    await hand.run_all()
    record, _ = await check_history(ledger, task)
    assert (record.state, record.sinks) == (TaskState.SUCCEEDED, (5, 3, 6))


async def test_given_a_retry_then_what_was_replaced_never_runs_again(ledger: Ledger, hand: Hand) -> None:
    task = await accept(ledger, plan(step("a"), step("b", "a"), on_failure=REPLAN))
    (a,) = await hand.take()
    await hand.exchange(failed(a, final=True))
    assert await revise(ledger, task, step("x"), substitutes={"a": "x"})
    (x,) = await hand.take()
    await ledger.cancel(task)
    await hand.exchange(succeeded(x))
    await ledger.retry(task)
    assert [granted.step for granted in await hand.run_all()] == ["b"]
    record, steps = await check_history(ledger, task)
    assert (record.state, steps["a"].state, steps["a"].dropped) == (TaskState.SUCCEEDED, StepState.SKIPPED, True)


async def test_given_two_failures_one_of_which_was_skipped_after_then_a_retry_ends(ledger: Ledger, hand: Hand) -> None:
    graph = plan(step("a"), step("b"), step("c"), step("both", "a", "c"), on_failure=FailurePolicy.CONTINUE)
    task = await accept(ledger, graph)
    a, b = await hand.take(2)
    await hand.exchange(failed(a, final=True), failed(b, final=True, failure=ASKS), free=0)
    assert (await steps_of(ledger, task))["both"].state is StepState.SKIPPED
    assert await revise(ledger, task, step("x"), drop=("c",), substitutes={"b": "x"})
    assert (await steps_of(ledger, task))["both"].dropped
    await hand.run_all()
    await ledger.retry(task)
    assert [granted.step for granted in await hand.run_all()] == ["a"]
    assert (await check_history(ledger, task))[0].state is TaskState.SUCCEEDED


FULL = step(
    "full",
    input=b'{"x": "${a}"}',
    retry=RetryPolicy(7, 123, 4_567, 1.5, 0.25, ("QUOTA", "GONE")),
    run_timeout_ms=12_345,
    queue_timeout_ms=67_890,
    when=("${a.ok}", "${task.goal}"),
    allow_skipped=True,
    limits=("crm", "erp"),
)
ASKING = step("asking", "a", question=Question("really?", '{"type": "string"}', 9_000, b'"no"'))


@pytest.mark.parametrize("waiting", [FULL, ASKING, step("plain", "a")], ids=lambda found: found.name)
async def test_given_any_step_when_what_it_waits_for_is_replaced_then_all_else_of_it_stays(
    ledger: Ledger, hand: Hand, store: redis.asyncio.Redis, waiting: PlanStep
) -> None:
    async def spec() -> list[object]:
        stored = await store.hget(keys.key("0", "task", task), "spec:2")
        return msgspec.msgpack.decode(stored, type=list[object])

    task = await accept(ledger, plan(step("a"), waiting, step("end", waiting.name)))
    before, record = await spec(), (await steps_of(ledger, task))[waiting.name]
    (a,) = await hand.take()
    added = await patch(ledger, task, step("b", "a"), substitutes={"a": "b"}, own_step="a")
    await hand.exchange(with_patch(a, added))
    after, now = await spec(), (await steps_of(ledger, task))[waiting.name]
    assert after[17] == [[4, "a"]]
    unlike = {8, 9, 14, 17}
    padded = [*before, *[0, 0.5, [], False, [], 0, []][len(before) - 10 :]] if len(before) < 17 else before
    assert [part for at, part in enumerate(after) if at not in unlike] == [
        part for at, part in enumerate(padded) if at not in unlike
    ]
    assert (now.question, now.when, now.allow_skipped) == (record.question, record.when, record.allow_skipped)
    assert (now.input, now.dependencies) == (record.input, (4,))


async def test_given_a_substitute_that_needs_what_waits_for_another_one_then_it_comes_after_both(
    ledger: Ledger, hand: Hand
) -> None:
    broken, slow = step("broken"), step("slow")
    task = await accept(
        ledger, plan(broken, slow, step("after", "slow"), step("last", "broken"), on_failure=FailurePolicy.REPLAN)
    )
    grants = {grant.step: grant for grant in await hand.take()}
    again = failed(grants["slow"], retry_after_ms=60_000)
    await hand.exchange(failed(grants["broken"], final=True), again)
    places = {"slow": "quick", "broken": "mended"}
    assert await revise(ledger, task, step("quick"), step("mended", "after"), drop=("slow",), substitutes=places)
    assert [grant.step for grant in await hand.run_all()] == ["quick", "after", "mended", "last"]
    assert (await check_history(ledger, task))[0].state is TaskState.SUCCEEDED


@pytest.mark.parametrize("links", [(("x", "after-b"), ("y", "after-a")), (("x", "after-a"), ("y", "after-b"))])
async def test_given_substitutes_that_would_wait_for_each_other_then_the_ledger_refuses_them(
    ledger: Ledger, hand: Hand, links: tuple[tuple[str, str], ...]
) -> None:
    whole = plan(step("a"), step("b"), step("after-a", "a"), step("after-b", "b"), on_failure=FailurePolicy.REPLAN)
    task = await accept(ledger, whole)
    await hand.exchange(*(failed(grant, final=True) for grant in await hand.take()))
    (lease,) = await ledger.lease_revisions(0, 1)
    added = await patch(ledger, task, *(step(name) for name, _ in links), substitutes={"a": "x", "b": "y"})
    numbers = {found.name: found.number for found in (await steps_of(ledger, task)).values()}
    crossed = tuple(
        replace(new, dependencies=(numbers[needed],)) for new, (_, needed) in zip(added.steps, links, strict=True)
    )
    with pytest.raises(FailedPrecondition, match="would wait for it"):
        await ledger.patch_plan(task, lease.revision, lease.round, lease.failed, replace(added, steps=crossed))
