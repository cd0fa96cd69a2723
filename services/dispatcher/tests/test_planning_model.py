"""Planning with a model: its calls are paid for, told and limited, and no failure of it keeps a goal from its plan."""

from __future__ import annotations

import asyncio

from planner_talks import MODEL, PLAN, PlannerGone, call, progress, tells

from waybill.api.v1 import task_pb2
from waybill.core.task import CallState, Usage
from waybill.ledger.call_records import CallOpening, CallVerdict, Rates
from waybill.ledger.records import StepRef

RUNNING = task_pb2.TASK_STATE_RUNNING


def task_id(task) -> str:
    return str(task.name.removeprefix("tasks/"))


def planned(seen) -> bool:
    return bool(seen.state == RUNNING)


async def calls_of(suite, task) -> list[tuple[int, CallState, int]]:
    found = await suite.ledger.calls(task_id(task))
    return [(item.number, item.state, item.usage.cost_microusd) for item in found]


async def told(suite, task) -> list[tuple[str, str]]:
    """Messages and failures of the planning of a task, which is run to its end first."""
    await suite.announce("echo")
    await suite.run_steps(["echo"])
    kind = task_pb2.EVENT_TYPE_PLANNING_PROGRESS
    return [(e.message, e.failure.reason) for e in await suite.events(task.name) if e.type == kind]


async def start(suite, talk, goal: str = "why?", **spec):
    await suite.announce("echo")
    suite.planner.model, suite.planner.talk = MODEL, talk
    return (await suite.submit(goal=goal, **spec)).task


async def test_given_calls_then_each_is_in_the_ledger_and_what_was_not_used_is_given_back(suite) -> None:
    talk = tells([progress("asking"), call(2_000), progress("again"), call(1_000, "gpt-y"), PLAN])
    document = task_pb2.Document(name="notes.md", data=b"x")
    task = await start(suite, talk, documents=[document], budget=task_pb2.Budget(max_cost_microusd=8_000))
    await suite.until(task.name, planned)
    assert await calls_of(suite, task) == [(1, CallState.SETTLED, 2_000), (2, CallState.SETTLED, 1_000)]
    record = await suite.ledger.task(task_id(task))
    assert (record.usage, record.reserved_microusd) == (Usage(14, 6, 3_000), 0)
    (asked,) = suite.planner.asked
    assert (asked.max_cost_microusd, asked.budgeted, asked.first_call) == (8_000, True, 1)
    assert (asked.call_name, list(asked.document_names)) == (f"{task_id(task)}/0/0", ["notes.md"])
    assert await told(suite, task) == [("asking", ""), ("again", "")]


async def test_given_no_budget_then_the_planner_is_told_so_and_keeps_to_its_own(suite) -> None:
    task = await start(suite, tells([PLAN]))
    await suite.until(task.name, planned)
    assert (suite.planner.asked[0].max_cost_microusd, suite.planner.asked[0].budgeted) == (10_000, False)
    assert await calls_of(suite, task) == []
    assert (await suite.ledger.task(task_id(task))).reserved_microusd == 0


async def test_given_a_planner_that_dies_then_the_rest_counts_as_spent_and_the_goal_is_planned_again(suite) -> None:
    talk = tells([progress("asking"), call(2_000), PlannerGone()], [call(1_000), PLAN])
    task = await start(suite, talk)
    await suite.until(task.name, planned)
    assert await calls_of(suite, task) == [
        (1, CallState.SETTLED, 2_000),
        (2, CallState.ESTIMATED, 8_000),
        (3, CallState.SETTLED, 1_000),
    ]
    assert [request.first_call for request in suite.planner.asked] == [1, 3]
    record = await suite.ledger.task(task_id(task))
    assert (record.usage.cost_microusd, record.usage.estimated_microusd) == (11_000, 8_000)


async def test_given_a_planner_that_always_dies_then_the_goal_is_planned_without_its_model(suite) -> None:
    task = await start(suite, tells([progress("asking"), PlannerGone()]))
    await suite.until(task.name, planned)
    assert [state for _, state, _ in await calls_of(suite, task)] == [CallState.ESTIMATED] * 3
    assert [request.max_cost_microusd > 0 for request in suite.planner.asked] == [True, True, True, False]
    assert (await told(suite, task))[-1] == ("planned without the model", "MODEL_UNAVAILABLE")


async def test_given_a_dispatcher_that_died_then_its_call_counts_as_spent_and_numbers_go_on(suite) -> None:
    asked, go = asyncio.Event(), asyncio.Event()

    async def slow(request):
        asked.set()
        await go.wait()
        yield PLAN

    task = await start(suite, slow)
    await asked.wait()
    ref = StepRef(task_id(task), 0, 0)
    # What another dispatcher does that leases the task after this one was silent for too long.
    (open_call,) = await suite.ledger.calls(ref.task)
    await suite.ledger.end_call(ref, open_call.number, open_call.usage)
    other = CallOpening(2, "other", "gpt-x", "default", Usage(cost_microusd=500))
    assert (await suite.ledger.begin_call("", ref, other)).verdict is CallVerdict.GO
    go.set()
    await suite.until(task.name, planned)
    assert await calls_of(suite, task) == [(1, CallState.ESTIMATED, 10_000), (2, CallState.ESTIMATED, 500)]


async def test_given_an_endpoint_at_its_limit_then_goals_wait_in_line_and_hold_up_no_others(start_suite) -> None:
    suite = await start_suite(planning_concurrency=2)
    await suite.ledger.set_limit("model:default", Rates(max_concurrency=1))
    asked, go = asyncio.Event(), asyncio.Event()

    async def slow(request):
        asked.set()
        await go.wait()
        yield call(1)
        yield PLAN

    first = await start(suite, slow)
    await asked.wait()
    others = [(await suite.submit(goal="how?", request_id=f"other-{at}")).task for at in range(4)]
    for other in others:
        seen = await suite.until(other.name, lambda task: bool(task.waiting_reason))
        assert "at its limits" in seen.waiting_reason
    go.set()
    for task in (first, *others):
        await suite.until(task.name, planned)
        assert await calls_of(suite, task) == [(1, CallState.SETTLED, 1)]


async def test_given_a_tenant_without_money_then_it_is_planned_without_the_model_and_says_so(suite) -> None:
    await suite.ledger.set_tenant_budget("default", 5, 0)
    task = await start(suite, tells([call(5), PLAN]))
    await suite.until(task.name, planned)
    assert suite.planner.asked[0].max_cost_microusd == 5
    second = (await suite.submit(goal="how?", request_id="r2")).task
    await suite.until(second.name, planned)
    assert suite.planner.asked[1].max_cost_microusd == 0
    assert await calls_of(suite, second) == []
    assert await told(suite, second) == [("planned without the model", "BUDGET_EXHAUSTED")]


async def test_given_a_task_that_is_cancelled_while_a_model_plans_it_then_the_planner_is_told_to_stop(suite) -> None:
    asked, stopped = asyncio.Event(), asyncio.Event()

    async def endless(request):
        try:
            asked.set()
            await asyncio.sleep(60)
        finally:
            stopped.set()
        yield PLAN

    task = await start(suite, endless)
    await asked.wait()
    await suite.ledger.cancel(task_id(task))
    async with asyncio.timeout(30):
        await stopped.wait()
    assert await calls_of(suite, task) == [(1, CallState.ESTIMATED, 10_000)]
    assert (await suite.task(task.name)).state == task_pb2.TASK_STATE_CANCELLED


async def test_given_a_planner_that_never_ends_then_the_goal_is_planned_without_its_model(start_suite) -> None:
    suite = await start_suite(planning_model_timeout_seconds=0.5)

    async def endless(request):
        await asyncio.sleep(60)
        yield PLAN

    task = await start(suite, endless)
    await suite.until(task.name, planned)
    assert await calls_of(suite, task) == [(1, CallState.ESTIMATED, 10_000)]
    assert await told(suite, task) == [("planned without the model", "MODEL_UNAVAILABLE")]
