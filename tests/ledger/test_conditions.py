"""Conditions: a step whose conditions do not hold is skipped, and so is what depends on it, unless it allows that."""

from __future__ import annotations

import pytest
from ledger_adapting import decide_all, plan, step, steps_of
from ledger_fold import check_history
from ledger_hand import Hand, failed, succeeded
from ledger_plans import accept

from waybill.core.plan import FailurePolicy, Question
from waybill.core.references import resolve
from waybill.core.task import StepState, TaskState
from waybill.ledger.ledger import Ledger

BRANCHES = (
    step("check"),
    step("yes", "check", when=("${check.ok}",)),
    step("no", "check", when=("${check.ok == `false`}",)),
    step("after-no", "no"),
    step("join", "yes", "after-no", allow_skipped=True, input=b'{"a": "${yes}", "b": "${after-no.x}"}'),
)


async def test_given_two_branches_then_one_runs_and_the_join_sees_null_for_the_other(
    ledger: Ledger, hand: Hand
) -> None:
    task = await accept(ledger, plan(*BRANCHES))
    (check,) = await hand.take()
    assert (await hand.exchange(succeeded(check, b'{"ok": true}'))).grants == ()
    assert await decide_all(ledger) == 2
    (yes,) = await hand.take()
    assert yes.step == "yes"
    (join,) = (await hand.exchange(succeeded(yes, b'"done"'))).grants
    assert join.inputs == {"yes": b'"done"', "after-no": b""}
    assert resolve(join.input, join.inputs) == b'{"a":"done","b":null}'
    await hand.exchange(succeeded(join))
    record, steps = await check_history(ledger, task)
    assert record.state is TaskState.SUCCEEDED
    assert {name for name, found in steps.items() if found.state is StepState.SKIPPED} == {"no", "after-no"}
    assert steps["yes"].when == ("${check.ok}",)


async def test_given_a_first_step_with_a_condition_then_the_task_alone_decides(ledger: Ledger, hand: Hand) -> None:
    wanted = step("a", when=("${task.input.go}",))
    task = await accept(ledger, plan(wanted), input=b'{"go": false}')
    assert await hand.take() == []
    assert await decide_all(ledger) == 1
    assert (await ledger.task(task)).state is TaskState.SUCCEEDED
    await check_history(ledger, task)
    await accept(ledger, plan(wanted), input=b'{"go": 1}')
    await decide_all(ledger)
    assert len(await hand.take()) == 1


async def test_given_a_question_then_it_is_asked_only_if_its_condition_holds(ledger: Ledger) -> None:
    asking = step("ask", question=Question("really?"), when=("${task.input}",))
    for given, state in ((b"true", StepState.WAITING), (b"[]", StepState.SKIPPED)):
        task = await accept(ledger, plan(asking), input=given)
        await decide_all(ledger)
        assert (await steps_of(ledger, task))["ask"].state is state


async def test_given_a_dispatcher_that_dies_then_the_decision_is_offered_again_and_made_once(ledger: Ledger) -> None:
    task = await accept(ledger, plan(step("a", when=("${task.goal}",))))
    (lease,) = await ledger.lease_decisions(1_000, 10)
    assert await ledger.lease_decisions(1_000, 10) == []
    ledger.clock_ms += 1_001
    (again,) = await ledger.lease_decisions(1_000, 10)
    assert again == lease
    assert await ledger.decide_step(task, 1, lease.turn, True)
    assert not await ledger.decide_step(task, 1, lease.turn, False)
    assert (await steps_of(ledger, task))["a"].state is StepState.READY


async def test_given_a_retry_then_a_decision_of_before_is_refused(ledger: Ledger) -> None:
    task = await accept(ledger, plan(step("a", when=("${task.goal}",))))
    (lease,) = await ledger.lease_decisions(1_000, 10)
    await ledger.cancel(task)
    assert not await ledger.decide_step(task, 1, lease.turn, True)
    await ledger.retry(task)
    assert not await ledger.decide_step(task, 1, lease.turn, True)
    assert await decide_all(ledger) == 1
    await check_history(ledger, task)


@pytest.mark.parametrize("leased", [False, True])
async def test_given_a_paused_task_then_nothing_is_decided_until_it_is_resumed(ledger: Ledger, leased: bool) -> None:
    task = await accept(ledger, plan(step("a", when=("${task.goal}",))))
    leases = await ledger.lease_decisions(1_000, 10) if leased else []
    await ledger.pause(task)
    for lease in leases:
        assert not await ledger.decide_step(task, 1, lease.turn, False)
    ledger.clock_ms += 2_000
    assert await ledger.lease_decisions(1_000, 10) == []
    await ledger.resume(task)
    assert await decide_all(ledger) == 1
    assert (await ledger.task(task)).state is TaskState.SUCCEEDED


async def test_given_a_long_chain_then_a_skip_passes_to_its_end(ledger: Ledger) -> None:
    chain = [step("s0", when=("${task.input}",)), *(step(f"s{at}", f"s{at - 1}") for at in range(1, 3_000))]
    task = await accept(ledger, plan(*chain), input=b"null")
    await decide_all(ledger)
    assert (await ledger.task(task)).state is TaskState.SUCCEEDED


async def test_given_a_failure_in_a_plan_that_goes_on_then_it_skips_what_allows_skips_too(
    ledger: Ledger, hand: Hand
) -> None:
    graph = plan(step("a"), step("b", "a", allow_skipped=True), on_failure=FailurePolicy.CONTINUE)
    task = await accept(ledger, graph)
    (a,) = await hand.take()
    await hand.exchange(failed(a, final=True))
    record, steps = await check_history(ledger, task)
    assert (record.state, steps["b"].state) == (TaskState.FAILED, StepState.SKIPPED)
