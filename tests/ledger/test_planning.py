"""`lease_planning`, `postpone_planning`, `attach_plan`, `fail_planning`: a goal gets one plan, whatever crashes."""

from ledger_fold import check_history
from ledger_hand import Hand
from ledger_plans import DIAMOND, accept, graph

from waybill.core.task import Failure, TaskState
from waybill.ledger.ledger import Ledger

UNPLANNABLE = Failure("GOAL_UNPLANNABLE", "nobody can plan this")


async def test_given_a_leased_goal_when_asked_again_then_it_is_offered_only_after_the_lease(ledger: Ledger) -> None:
    task_id = await accept(ledger, goal="g", paths=("a", "b"), traceparent="t")
    (lease,) = await ledger.lease_planning(5_000, 10)
    assert (lease.task, lease.tenant, lease.goal, lease.paths, lease.traceparent) == (
        task_id,
        "acme",
        "g",
        ("a", "b"),
        "t",
    )
    ledger.clock_ms += 4_999
    assert await ledger.lease_planning(5_000, 10) == []
    ledger.clock_ms += 1
    assert [again.task for again in await ledger.lease_planning(5_000, 10)] == [task_id]


async def test_given_more_goals_than_asked_for_when_leased_then_the_oldest_come_first(ledger: Ledger) -> None:
    accepted = []
    for _ in range(5):
        accepted.append(await accept(ledger, goal="g"))
        ledger.clock_ms += 1
    first, second = await ledger.lease_planning(5_000, 3), await ledger.lease_planning(5_000, 3)
    assert [lease.task for lease in first + second] == accepted


async def test_given_a_goal_when_a_plan_is_attached_then_it_runs(ledger: Ledger, hand: Hand) -> None:
    task_id = await accept(ledger, goal="g")
    ledger.clock_ms += 70
    assert await ledger.attach_plan(task_id, 0, graph(DIAMOND))
    task, _ = await check_history(ledger, task_id)
    assert (task.state, task.revision, task.planned_ms - task.created_ms) == (TaskState.RUNNING, 1, 70)
    assert await ledger.lease_planning(1, 10) == []
    assert [grant.step for grant in await hand.run_all()] == ["a", "b", "c", "d"]
    assert (await check_history(ledger, task_id))[0].state is TaskState.SUCCEEDED


async def test_given_two_planners_when_both_attach_then_the_first_plan_stays(ledger: Ledger) -> None:
    task_id = await accept(ledger, goal="g")
    assert await ledger.attach_plan(task_id, 0, graph(DIAMOND))
    assert not await ledger.attach_plan(task_id, 0, graph({"other": []}))
    assert not await ledger.fail_planning(task_id, UNPLANNABLE)
    task, _ = await check_history(ledger, task_id)
    assert task.step_count == 4


async def test_given_another_revision_expected_when_attached_then_nothing_changes(ledger: Ledger) -> None:
    task_id = await accept(ledger, goal="g")
    assert not await ledger.attach_plan(task_id, 1, graph(DIAMOND))
    assert (await check_history(ledger, task_id))[0].state is TaskState.PLANNING


async def test_given_a_cancelled_or_unknown_task_when_planned_then_nothing_changes(ledger: Ledger) -> None:
    task_id = await accept(ledger, goal="g")
    await ledger.cancel(task_id)
    for name in (task_id, "0-unknown"):
        assert not await ledger.attach_plan(name, 0, graph(DIAMOND))
        assert not await ledger.fail_planning(name, UNPLANNABLE)
        assert not await ledger.postpone_planning(name, 10, "later")
    assert (await check_history(ledger, task_id))[0].state is TaskState.CANCELLED
    assert await ledger.tasks(["0-unknown"]) == [None]


async def test_given_a_goal_nobody_can_plan_when_failed_then_the_task_says_why(ledger: Ledger) -> None:
    task_id = await accept(ledger, goal="g")
    assert await ledger.fail_planning(task_id, UNPLANNABLE)
    task, _ = await check_history(ledger, task_id)
    assert (task.state, task.failure) == (TaskState.FAILED, UNPLANNABLE)
    assert not await ledger.fail_planning(task_id, UNPLANNABLE)


async def test_given_a_goal_when_postponed_then_its_note_stays_until_it_has_a_plan(ledger: Ledger) -> None:
    task_id = await accept(ledger, goal="g")
    assert await ledger.postpone_planning(task_id, 3_000, "no agent is announced")
    assert (await ledger.task(task_id)).planning_note == "no agent is announced"
    assert await ledger.lease_planning(1_000, 10) == []
    ledger.clock_ms += 3_000
    assert len(await ledger.lease_planning(1_000, 10)) == 1
    await ledger.attach_plan(task_id, 0, graph(DIAMOND))
    assert (await ledger.task(task_id)).planning_note == ""
    assert not await ledger.postpone_planning(task_id, 1, "late")
