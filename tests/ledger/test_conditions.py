"""Conditions: a step whose conditions do not hold is skipped, and so is what depends on it, unless it allows that."""

from __future__ import annotations

import pytest
import redis.asyncio
from ledger_adapting import decide_all, plan, step, steps_of
from ledger_fold import check_history
from ledger_hand import Hand, failed, pass_time, succeeded
from ledger_plans import accept

from waybill.core.plan import FailurePolicy, Question
from waybill.core.references import resolve
from waybill.core.task import EventType, StepState, TaskState
from waybill.ledger import keys
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
    chain = [step("s0", when=("${task.input}",)), *(step(f"s{at}", f"s{at - 1}") for at in range(1, 10_000))]
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


async def test_given_a_decision_that_was_asked_for_before_a_pause_then_it_is_asked_for_again_after_it(
    ledger: Ledger,
) -> None:
    task = await accept(ledger, plan(step("a", when=("${task.goal}",)), step("b", when=("${task.goal}",))))
    leases = await ledger.lease_decisions(1_000, 10)
    await ledger.pause(task)
    assert not await ledger.decide_step(task, 1, leases[0].turn, True)
    await ledger.resume(task)
    assert not await ledger.decide_step(task, 1, leases[0].turn, True)
    (again,) = await ledger.lease_decisions(1_000, 10)
    assert (again.number, again.turn) == (1, leases[0].turn + 1)
    assert await ledger.decide_step(task, 2, leases[1].turn, False)
    assert await ledger.decide_step(task, 1, again.turn, False)
    assert (await check_history(ledger, task))[0].state is TaskState.SUCCEEDED


async def test_given_a_deadline_then_what_is_undecided_ends_with_the_rest(
    ledger: Ledger, store: redis.asyncio.Redis
) -> None:
    task = await accept(ledger, plan(step("a", when=("${task.goal}",)), step("b", "a")), deadline_ms=500)
    (lease,) = await ledger.lease_decisions(1_000, 10)
    await pass_time(ledger, 1_000)
    assert not await ledger.decide_step(task, 1, lease.turn, True)
    record, steps = await check_history(ledger, task)
    assert (record.state, steps["a"].state) == (TaskState.FAILED, StepState.CANCELLED)
    assert not await store.exists(keys.key("0", "decisions"))


@pytest.mark.parametrize("field", ["spec:1", "run:1"])
@pytest.mark.parametrize("leased", [False, True])
async def test_given_damage_while_a_decision_is_due_then_the_step_fails_and_others_are_decided(
    ledger: Ledger, store: redis.asyncio.Redis, field: str, leased: bool
) -> None:
    wanted = step("a", when=("${task.goal}",))
    damaged, healthy = [await accept(ledger, plan(wanted)) for _ in range(2)]
    leases = await ledger.lease_decisions(1_000, 10) if leased else []
    await store.hset(keys.key("0", "task", damaged), field, b"\xc1")
    for lease in leases:
        await ledger.decide_step(lease.task, lease.number, lease.turn, True)
    ledger.clock_ms += 1_001
    await decide_all(ledger)
    record = await ledger.task(damaged)
    assert (record.state, record.failure and record.failure.reason) == (TaskState.FAILED, "UNDECODABLE")
    assert (await ledger.task(healthy)).state is (TaskState.RUNNING if leased else TaskState.SUCCEEDED)
    assert not await store.exists(keys.key("0", "decisions"))


async def test_given_a_skipped_step_then_all_that_is_known_of_it_can_be_read(ledger: Ledger) -> None:
    task = await accept(ledger, plan(step("a", when=("${task.input.x}",), input=b'{"n": 1}')))
    (lease,) = await ledger.lease_decisions(1_000, 10)
    assert await ledger.decide_step(task, 1, lease.turn, False, "task.input.x leads to nothing")
    (found,) = await ledger.steps(task, 1, 1)
    assert (found.state, found.output, found.input) == (StepState.SKIPPED, b"", b'{"n": 1}')
    assert await ledger.outputs(task, [1]) == [b""]
    (ended,) = [event for event in await ledger.events(task, 1, 10) if event.type is EventType.STEP_FINISHED]
    assert ended.message == "task.input.x leads to nothing"


async def test_given_conditions_that_nobody_looked_at_then_it_is_known_whose(ledger: Ledger, hand: Hand) -> None:
    task = await accept(ledger, plan(step("a", when=("${task.input}",)), step("b"), step("c", when=("${b}",))))
    assert await ledger.undecided(task, (1, 2, 3)) == {1}
    assert await ledger.undecided(task, ()) == set()
    await decide_all(ledger)
    assert await ledger.undecided(task, (1, 2, 3)) == set()
    await hand.run_all()
    assert await ledger.undecided(task, (1, 2, 3)) == {3}
    await decide_all(ledger)
    assert await ledger.undecided(task, (1, 2, 3)) == set()
    await hand.run_all()
