"""Why nothing moves: a caller is told what is in the way, and what to do."""

from __future__ import annotations

from waybill.api.v1 import dispatcher_pb2, task_pb2

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
