"""Patches that agents bring with their success: they only add, and are applied with it or not at all."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from ledger_adapting import decide_all, patch, plan, step, steps_of
from ledger_fold import check_history
from ledger_hand import Hand, failed, handed_back, pass_time, succeeded
from ledger_patches import with_patch
from ledger_plans import accept
from redis.asyncio import Redis

from waybill.core.budget import TaskPolicy
from waybill.core.plan import FailurePolicy, PlanStep, Question
from waybill.core.task import EventType, Failure, StepState, TaskState
from waybill.ledger import keys
from waybill.ledger.ledger import Ledger


def mapped(count: int) -> list[PlanStep]:
    """One step for each of what was found, and one that collects what they return."""
    items = [step(f"item-{at}", "split") for at in range(count)]
    collect = b'{"all": [' + b",".join(b'"${item-%d}"' % at for at in range(count)) + b"]}"
    return [*items, step("collect", input=collect)]


async def test_given_a_list_found_at_run_time_then_each_item_is_a_step_and_the_next_one_gets_them_all(
    ledger: Ledger, hand: Hand
) -> None:
    task = await accept(ledger, plan(step("split"), step("report", input=b'{"found": "${split}"}')))
    (split,) = await hand.take()
    added = await patch(ledger, task, *mapped(3), substitutes={"split": "collect"}, own_step="split")
    grants = (await hand.exchange(with_patch(split, added))).grants
    assert sorted(grant.step for grant in grants) == ["item-0", "item-1", "item-2"]
    (collect,) = (await hand.exchange(*(succeeded(grant, b'"x"') for grant in grants))).grants
    assert collect.inputs == {f"item-{at}": b'"x"' for at in range(3)}
    (report,) = (await hand.exchange(succeeded(collect, b'["x", "x", "x"]'))).grants
    assert report.inputs == {"split": b'["x", "x", "x"]'}
    await hand.exchange(succeeded(report))
    record, steps = await check_history(ledger, task)
    assert (record.state, record.revision, record.step_count) == (TaskState.SUCCEEDED, 2, 6)
    assert record.sinks == (2,)
    assert [steps[name].plan_revision for name in ("split", "item-0")] == [1, 2]
    events = await ledger.events(task, 1, 100)
    (revised,) = [event for event in events if event.type is EventType.PLAN_REVISED]
    assert (revised.step, revised.attempt, revised.revision, revised.step_count) == ("split", 1, 2, 6)


async def test_given_a_loop_then_its_last_round_is_what_the_task_returns(ledger: Ledger, hand: Hand) -> None:
    task = await accept(ledger, plan(step("round-1")))
    (grant,) = await hand.take()
    for number in range(2, 6):
        own = f"round-{number - 1}"
        added = await patch(ledger, task, step(f"round-{number}"), substitutes={own: f"round-{number}"}, own_step=own)
        (grant,) = (await hand.exchange(with_patch(grant, added))).grants
    await hand.exchange(succeeded(grant, b'"good"'))
    record, steps = await check_history(ledger, task)
    assert (record.state, record.sinks) == (TaskState.SUCCEEDED, (5,))
    assert steps["round-5"].output == b'"good"'


async def test_given_steps_that_nobody_waits_for_then_they_run_and_the_output_stays(ledger: Ledger, hand: Hand) -> None:
    task = await accept(ledger, plan(step("a")))
    (a,) = await hand.take()
    (side,) = (await hand.exchange(with_patch(a, await patch(ledger, task, step("side"), own_step="a")))).grants
    assert (await ledger.task(task)).state is TaskState.RUNNING
    await hand.exchange(succeeded(side))
    record, _ = await check_history(ledger, task)
    assert (record.state, record.sinks) == (TaskState.SUCCEEDED, (1,))


async def test_given_two_agents_that_add_a_step_of_one_name_then_the_second_fails_with_its_patch(
    ledger: Ledger, hand: Hand
) -> None:
    task = await accept(ledger, plan(step("a"), step("b")))
    a, b = await hand.take()
    first = await patch(ledger, task, step("same"), own_step="a")
    second = await patch(ledger, task, step("same"), own_step="b")
    await hand.exchange(with_patch(a, first), with_patch(b, second))
    found = (await steps_of(ledger, task))["b"]
    assert found.state is StepState.FAILED
    assert found.failure is not None
    assert (found.failure.reason, found.failure.message) == ("PATCH_INVALID", "the plan has a step same already")
    await check_history(ledger, task)


async def test_given_a_policy_then_no_more_steps_are_added_than_it_allows(ledger: Ledger, hand: Hand) -> None:
    task = await accept(ledger, plan(step("a")), policy=TaskPolicy(max_added_steps=2))
    (a,) = await hand.take()
    too_many = await patch(ledger, task, *(step(f"x{at}") for at in range(3)), own_step="a")
    await hand.exchange(with_patch(a, too_many))
    failure = (await ledger.task(task)).failure
    assert failure is not None
    assert failure.message == "the task would have 3 added steps, and its policy allows 2"
    await check_history(ledger, task)


async def test_given_a_paused_task_then_a_patch_counts_and_starts_nothing_until_it_is_resumed(
    ledger: Ledger, hand: Hand
) -> None:
    task = await accept(ledger, plan(step("a"), step("z", "a")))
    (a,) = await hand.take()
    added = await patch(ledger, task, step("free"), step("bound", "a"), own_step="a")
    await ledger.pause(task)
    assert (await hand.exchange(with_patch(a, added))).grants == ()
    await check_history(ledger, task)
    await ledger.resume(task)
    assert sorted(grant.step for grant in await hand.run_all()) == ["bound", "free", "z"]
    assert (await check_history(ledger, task))[0].state is TaskState.SUCCEEDED


async def test_given_a_task_that_stops_then_a_patch_adds_nothing(ledger: Ledger, hand: Hand) -> None:
    task = await accept(ledger, plan(step("a")))
    (a,) = await hand.take()
    added = await patch(ledger, task, step("b"), own_step="a")
    await ledger.cancel(task)
    await hand.exchange(with_patch(a, added))
    record, _ = await check_history(ledger, task)
    assert (record.state, record.step_count) == (TaskState.CANCELLED, 1)


@pytest.mark.parametrize("count", [3_000])
async def test_given_a_large_patch_then_all_of_it_runs(ledger: Ledger, count: int) -> None:
    hand = await Hand(ledger, slots=5_000, max_batch=64).register()
    policy = TaskPolicy(max_added_steps=10_000)
    task = await accept(ledger, plan(step("split")), policy=policy)
    (split,) = await hand.take()
    added = await patch(ledger, task, *mapped(count), substitutes={"split": "collect"}, own_step="split", policy=policy)
    await hand.exchange(with_patch(split, added))
    assert len(await hand.run_all()) == count + 1
    assert (await ledger.task(task)).state is TaskState.SUCCEEDED


async def test_given_two_agents_that_add_steps_in_one_call_then_all_get_numbers_of_their_own(
    ledger: Ledger, hand: Hand
) -> None:
    task = await accept(ledger, plan(step("a"), step("b"), step("end", input=b'{"a": "${a}", "b": "${b}"}')))
    grants = await hand.take()
    patches = [
        await patch(
            ledger, task, step(f"{own}-1"), step(f"{own}-2", f"{own}-1"), substitutes={own: f"{own}-2"}, own_step=own
        )
        for own in ("a", "b")
    ]
    await hand.exchange(*map(with_patch, grants, patches))
    ran = [grant.step for grant in await hand.run_all()]
    assert sorted(ran[:4]) == ["a-1", "a-2", "b-1", "b-2"]
    assert ran[4:] == ["end"]
    record, steps = await check_history(ledger, task)
    assert (record.state, record.revision, record.step_count) == (TaskState.SUCCEEDED, 3, 7)
    assert [steps[name].number for name in ("a-1", "a-2", "b-1", "b-2")] == [4, 5, 6, 7]


async def test_given_a_lost_reply_then_a_patch_is_applied_once(ledger: Ledger, hand: Hand) -> None:
    task = await accept(ledger, plan(step("a")))
    (a,) = await hand.take()
    await hand.lose(with_patch(a, await patch(ledger, task, step("b"), own_step="a")))
    (b,) = (await hand.repeat()).grants
    assert b.step == "b"
    assert (await ledger.task(task)).step_count == 2


async def test_given_an_attempt_that_is_over_then_its_patch_is_refused(ledger: Ledger, hand: Hand) -> None:
    task = await accept(ledger, plan(step("a")))
    (a,) = await hand.take()
    added = await patch(ledger, task, step("b"), own_step="a")
    await hand.exchange(handed_back(a), free=0)
    assert (await hand.exchange(with_patch(a, added), free=0)).stale == (a.ref,)
    assert (await ledger.task(task)).step_count == 1


async def test_given_questions_and_conditions_then_a_paused_task_neither_asks_nor_decides(
    ledger: Ledger, hand: Hand
) -> None:
    task = await accept(ledger, plan(step("a")))
    (a,) = await hand.take()
    added = await patch(
        ledger,
        task,
        step("ask", question=Question("go?")),
        step("if", when=("${task.input}",)),
        step("then", "if"),
        own_step="a",
    )
    await ledger.pause(task)
    await hand.exchange(with_patch(a, added))
    states = {name: found.state for name, found in (await steps_of(ledger, task)).items()}
    assert states == {"a": StepState.SUCCEEDED, **dict.fromkeys(("ask", "if", "then"), StepState.PENDING)}
    assert await ledger.lease_decisions(1_000, 10) == []
    await ledger.resume(task)
    assert await decide_all(ledger) == 1
    await ledger.answer(task, 2, b"1")
    record, steps = await check_history(ledger, task)
    assert (record.state, steps["then"].state) == (TaskState.SUCCEEDED, StepState.SKIPPED)


async def test_given_a_step_that_was_skipped_then_what_is_added_after_it_is_too_unless_it_allows_that(
    ledger: Ledger, hand: Hand
) -> None:
    task = await accept(ledger, plan(step("a"), step("no", when=("${task.input}",))))
    await decide_all(ledger)
    (a,) = await hand.take()
    new = [step("x", "no"), step("y", "x"), step("z", input=b'{"no": "${no}"}', allow_skipped=True)]
    (z,) = (await hand.exchange(with_patch(a, await patch(ledger, task, *new, own_step="a")))).grants
    assert (z.step, z.inputs) == ("z", {"no": b""})
    await hand.exchange(succeeded(z))
    record, steps = await check_history(ledger, task)
    assert record.state is TaskState.SUCCEEDED
    assert {steps[name].state for name in ("no", "x", "y")} == {StepState.SKIPPED}


async def test_given_a_full_store_then_the_attempt_is_made_again_later(
    ledger: Ledger, hand: Hand, store: Redis
) -> None:
    task = await accept(ledger, plan(step("a")))
    (a,) = await hand.take()
    added = await patch(ledger, task, step("b"), own_step="a")
    await store.hset(keys.key("0", "pulse"), "full", "1")
    await hand.exchange(with_patch(a, added))
    found = (await steps_of(ledger, task))["a"]
    assert (found.state, found.failure and found.failure.reason) == (StepState.BACKOFF, "STORE_FULL")
    await pass_time(ledger, 2_000, hand)
    (again,) = await hand.take()
    await hand.exchange(with_patch(again, added))
    assert (await ledger.task(task)).step_count == 2


async def test_given_inputs_that_are_too_large_together_then_the_second_patch_is_refused(
    ledger: Ledger, hand: Hand
) -> None:
    task = await accept(ledger, plan(step("a"), step("b")))
    large = b'{"x": "' + b"x" * 1_000_000 + b'"}'
    settlements = []
    for grant in await hand.take():
        new = [step(f"{grant.step}-{at}", input=large) for at in range(3)]
        settlements.append(with_patch(grant, await patch(ledger, task, *new, own_step=grant.step)))
    await hand.exchange(*settlements)
    failure = (await ledger.task(task)).failure
    assert failure is not None
    assert (
        failure.message == "the inputs of added steps would have 6000054 bytes in all, and at most 4194304 are allowed"
    )


@pytest.mark.parametrize("field", ["spec:1", "run:2", "spec:2"])
async def test_given_damaged_steps_then_a_patch_passes_them_by_and_they_fail_when_they_are_reached(
    ledger: Ledger, hand: Hand, store: Redis, field: str
) -> None:
    graph = plan(step("first"), step("next", "first", "a"), step("a"), on_failure=FailurePolicy.CONTINUE)
    task = await accept(ledger, graph)
    first, a = await hand.take()
    added = await patch(ledger, task, step("x", "first"), step("y"), substitutes={"a": "y"}, own_step="a")
    await hand.exchange(succeeded(first), free=0)
    await store.hset(keys.key("0", "task", task), field, b"\xc1")
    ran = [grant.step for grant in (await hand.exchange(with_patch(a, added))).grants]
    assert sorted(ran) == ["x", "y"]
    ran = [grant.step for grant in await hand.run_all()][2:]
    assert ran == (["next"] if field == "spec:1" else [])
    state = TaskState.SUCCEEDED if field == "spec:1" else TaskState.FAILED
    assert (await ledger.task(task)).state is state


async def test_given_a_pause_then_a_new_step_waits_for_what_ended_in_it_and_for_the_rest(
    ledger: Ledger, hand: Hand
) -> None:
    task = await accept(ledger, plan(step("a"), step("b"), step("c")))
    a, b, c = await hand.take()
    added = await patch(ledger, task, step("x", "a", "c"), own_step="b")
    await ledger.pause(task)
    await hand.exchange(succeeded(a))
    await hand.exchange(with_patch(b, added))
    await ledger.resume(task)
    assert await hand.take() == []
    (x,) = (await hand.exchange(succeeded(c))).grants
    assert x.step == "x"
    await hand.exchange(succeeded(x))
    assert (await check_history(ledger, task))[0].state is TaskState.SUCCEEDED


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"substitutes": ((2, -1),)}, "step failed cannot be replaced: it is failed"),
        ({"substitutes": ((3, -1),)}, "step waits cannot be replaced: it is pending"),
        ({"substitutes": ((1, -1), (1, -1))}, "step asks has two substitutes"),
        ({"substitutes": ((1, -2),)}, "a substitute names a step that does not exist"),
        ({"drop": (1,)}, "step asks cannot be dropped: it is running"),
        ({"drop": (9,)}, "there is no step number 9"),
        ({"drop": (3, 3)}, "step waits is dropped twice"),
    ],
)
async def test_given_a_patch_that_nobody_checked_then_the_ledger_refuses_it_whole(
    ledger: Ledger, hand: Hand, changed: dict[str, Any], message: str
) -> None:
    graph = plan(step("asks"), step("failed"), step("waits", "asks"), on_failure=FailurePolicy.CONTINUE)
    task = await accept(ledger, graph)
    asks, other = await hand.take()
    await hand.exchange(failed(other, final=True))
    added = replace(await patch(ledger, task, step("new"), own_step="asks"), **changed)
    await hand.exchange(with_patch(asks, added))
    record, steps = await check_history(ledger, task)
    assert (record.step_count, record.revision) == (3, 1)
    assert steps["asks"].failure == Failure("PATCH_INVALID", message)


async def test_given_a_pause_then_a_task_of_which_only_skips_are_left_ends_when_it_is_resumed(
    ledger: Ledger, hand: Hand
) -> None:
    task = await accept(ledger, plan(step("a"), step("no", when=("${task.input}",))))
    await decide_all(ledger)
    (a,) = await hand.take()
    added = await patch(ledger, task, step("x", "no"), step("y", "x"), own_step="a")
    await ledger.pause(task)
    await hand.exchange(with_patch(a, added))
    assert (await ledger.task(task)).state is TaskState.PAUSED
    assert await ledger.resume(task) is TaskState.SUCCEEDED
    await check_history(ledger, task)
