"""Why nothing moves: a caller is told what is in the way, and what to do."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from ledger_adapting import decide_all, plan, step
from ledger_hand import Hand, failed, succeeded
from ledger_plans import accept
from waybill_dispatcher.directory import AgentDirectory
from waybill_dispatcher.waiting import standstill, waiting_reason

from waybill.api.v1 import dispatcher_pb2, task_pb2
from waybill.core.budget import Budget, BudgetAction
from waybill.core.plan import FailurePolicy
from waybill.core.task import Failure
from waybill.ledger.call_records import Rates
from waybill.ledger.ledger import Ledger
from waybill.ledger.records import Outcome, Settlement

PAUSE, RESUME = dispatcher_pb2.TASK_ACTION_PAUSE, dispatcher_pb2.TASK_ACTION_RESUME
TWO = task_pb2.Plan(
    steps=[task_pb2.PlanStep(name="a", agent="echo"), task_pb2.PlanStep(name="b", agent="echo", after=["a"])]
)


async def reasons(suite, name: str) -> tuple[str, list[str]]:
    """Why the task does not move, and why each of its steps does not."""
    steps = (await suite.call("ReadSteps", parent=name)).steps
    return (await suite.task(name)).waiting_reason, [step.waiting_reason for step in steps]


async def test_a_task_whose_agent_nobody_serves_says_so(suite) -> None:
    await suite.announce("echo")
    task = (await suite.submit(plan=TWO)).task
    await suite.ledger.unregister("hand.1")
    await suite.until(task.name, lambda seen: seen.waiting_reason)
    said = "no live worker serves agent echo"
    assert await reasons(suite, task.name) == (said, [said, ""])
    (agent,) = (await suite.call("ReadAgents")).agents
    assert (agent.live_workers, agent.waiting_steps + agent.queued_batches) == (0, 1)


async def test_a_paused_task_says_so_until_it_is_resumed(suite) -> None:
    await suite.announce("echo")
    task = (await suite.submit(plan=TWO)).task
    paused = (await suite.call("SteerTask", name=task.name, action=PAUSE, request_id="1")).task
    assert paused.state == task_pb2.TASK_STATE_PAUSED
    assert paused.waiting_reason == "the task is paused; resume it to go on"
    assert await reasons(suite, task.name) == (paused.waiting_reason, [paused.waiting_reason, ""])
    await suite.call("SteerTask", name=task.name, action=RESUME, request_id="2")
    assert await reasons(suite, task.name) == ("", ["", ""])
    assert await suite.run_steps(["echo"]) == 2


async def test_steps_of_a_paused_agent_say_so(suite) -> None:
    await suite.announce("echo")
    task = (await suite.submit(plan=TWO)).task
    assert (await suite.call("SetPause", name="agents/echo", paused=True, request_id="1")).agent.paused
    said = "agent echo is paused; resume it to go on"
    assert await reasons(suite, task.name) == (said, [said, ""])
    assert await suite.run_steps(["echo"]) == 0
    assert not (await suite.call("SetPause", name="agents/echo", request_id="2")).agent.paused
    assert await suite.run_steps(["echo"]) == 2


async def test_steps_of_a_paused_tenant_say_so_and_those_of_others_go_on(suite) -> None:
    await suite.announce("echo")
    mine = (await suite.submit(plan=TWO, tenant="one")).task
    other = (await suite.submit(plan=TWO, tenant="two")).task
    paused = (await suite.call("SetPause", tenant="one", paused=True, request_id="1")).tenant
    assert (paused.name, paused.paused) == ("one", True)
    assert (await suite.task(mine.name, tenant="one")).waiting_reason == "the tenant is paused; resume it to go on"
    assert await suite.run_steps(["echo"]) == 2
    assert (await suite.task(other.name, tenant="two")).state == task_pb2.TASK_STATE_SUCCEEDED
    assert not (await suite.call("SetPause", tenant="one", request_id="2")).tenant.paused
    assert await suite.run_steps(["echo"]) == 2


async def test_a_task_says_whom_it_waits_for(suite) -> None:
    steps = [
        task_pb2.PlanStep(name=f"ask{at}", question=task_pb2.Question(prompt=f"Is {at} right?")) for at in range(8)
    ]
    task = (await suite.submit(plan=task_pb2.Plan(steps=steps))).task
    reason, by_step = await reasons(suite, task.name)
    assert by_step == [f"step ask{at} waits for an answer: Is {at} right?" for at in range(8)]
    assert reason == "; ".join([*by_step[:5], "and more"])


@pytest.fixture
async def ledger(embedded_url: str) -> AsyncIterator[Ledger]:
    """A ledger that no dispatcher looks after."""
    opened = Ledger(embedded_url)
    await opened.connect()
    yield opened
    await opened.close()


@pytest.fixture
async def hand(ledger: Ledger) -> Hand:
    """A live worker of the agent `echo`."""
    return await Hand(ledger).register()


async def told(ledger: Ledger, task: str) -> tuple[str, dict[str, str]]:
    """What a dispatcher says of a task, and of each of its steps."""
    directory, record = AgentDirectory(ledger), await ledger.task(task)
    steps = await ledger.steps(task, 1, record.step_count)
    states = {item.number: item.state for item in steps}
    held_up = await standstill(ledger, directory, record, states)
    return await waiting_reason(ledger, directory, record), {item.name: held_up.reason(item) for item in steps}


async def test_steps_in_the_line_of_a_limit_say_so_until_there_is_room(ledger: Ledger, hand: Hand) -> None:
    await ledger.set_limit("key:crm", Rates(max_concurrency=1))
    task = await accept(ledger, plan(*(step(name, limits=("crm",)) for name in ("a", "b", "c"))))
    assert await told(ledger, task) == ("", {"a": "", "b": "", "c": ""})
    await hand.take()
    said = "waits for a permit of limits/key:crm"
    assert await told(ledger, task) == (said, {"a": "", "b": said, "c": said})
    await hand.exchange(succeeded(next(iter(hand.held.values()))))
    assert await told(ledger, task) == (said, {"a": "", "b": "", "c": said})
    await hand.exchange(succeeded(next(iter(hand.held.values()))))
    assert await told(ledger, task) == ("", {"a": "", "b": "", "c": ""})


async def test_a_step_whose_conditions_nobody_has_looked_at_says_so(ledger: Ledger, hand: Hand) -> None:
    task = await accept(ledger, plan(step("first"), step("maybe", "first", when=("${first.go}",))))
    assert await told(ledger, task) == ("", {"first": "", "maybe": ""})
    await hand.take()
    await hand.exchange(succeeded(next(iter(hand.held.values())), output=b'{"go":true}'))
    said = "the conditions of step maybe are about to be looked at"
    assert await told(ledger, task) == (said, {"first": "", "maybe": said})
    await decide_all(ledger)
    assert await told(ledger, task) == ("", {"first": "", "maybe": ""})


async def test_a_task_whose_plan_is_revised_says_so_and_why_it_takes_long(ledger: Ledger, hand: Hand) -> None:
    task = await accept(ledger, plan(step("bad"), on_failure=FailurePolicy.REPLAN))
    await hand.take()
    await hand.exchange(failed(next(iter(hand.held.values())), final=True))
    assert (await told(ledger, task))[0] == "the plan is being revised"
    (lease,) = await ledger.lease_revisions(1_000, 1)
    assert await ledger.postpone_revision(task, lease.round, 1_000, "no planner can be reached")
    assert (await told(ledger, task))[0] == "the plan is being revised: no planner can be reached"
    await ledger.pause(task)
    assert (await told(ledger, task))[
        0
    ] == "the task is paused; resume it to go on; the plan is being revised: no planner can be reached"


async def test_a_step_that_may_not_spend_more_says_what_is_asked(ledger: Ledger, hand: Hand) -> None:
    task = await accept(ledger, plan(step("a")), budget=Budget(1_000, BudgetAction.ASK))
    await hand.take()
    (grant,) = hand.held.values()
    await hand.exchange(Settlement(grant.ref, Outcome.OVER_BUDGET, failure=Failure("BUDGET_EXHAUSTED", "no more")))
    reason, by_step = await told(ledger, task)
    assert reason == by_step["a"]
    assert "step a waits for an answer: a budget does not allow the next model call" in reason
