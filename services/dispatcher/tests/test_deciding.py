"""Conditions: each step's are looked at once all that it depends on has ended, by whichever dispatcher is there."""

from __future__ import annotations

import asyncio
import json

import pytest

from waybill.api.v1 import task_pb2
from waybill.core.limits import KIB
from waybill.rpc.payloads import json_payload

SUCCEEDED, SKIPPED = task_pb2.STEP_STATE_SUCCEEDED, task_pb2.STEP_STATE_SKIPPED


def step(name: str, *when: str, **fields) -> task_pb2.PlanStep:
    return task_pb2.PlanStep(name=name, agent="echo", when=when, **fields)


async def ended(suite, *steps: task_pb2.PlanStep, output: bytes, **spec):
    """The events of a task, each step of which returns `output`."""
    await suite.announce("echo")
    task = (await suite.submit(plan=task_pb2.Plan(steps=steps), **spec)).task

    async def work() -> None:
        while True:
            await suite.run_steps(["echo"], output)
            await asyncio.sleep(0.01)

    working = asyncio.create_task(work())
    try:
        async with asyncio.timeout(30):
            return await suite.events(task.name)
    finally:
        working.cancel()


def states(events) -> dict[str, int]:
    return {event.step: event.step_state for event in events if event.type == task_pb2.EVENT_TYPE_STEP_FINISHED}


def message_of(events, name: str) -> str:
    (found,) = [e.message for e in events if e.type == task_pb2.EVENT_TYPE_STEP_FINISHED and e.step == name]
    return str(found)


async def test_given_conditions_then_what_holds_runs_and_what_does_not_is_skipped_and_says_why(suite) -> None:
    events = await ended(
        suite,
        step("check"),
        step("yes", "${check.ok}", "${check.count > `1`}"),
        step("no", "${check.ok}", "${check.missing}"),
        step("odd", "${check | sum(@)}"),
        step("after-no", after=["no"]),
        step("join", after=["no", "yes"], allow_skipped=True),
        output=b'{"ok": true, "count": 2}',
    )
    assert states(events) == {
        "check": SUCCEEDED,
        "yes": SUCCEEDED,
        "no": SKIPPED,
        "odd": SKIPPED,
        "after-no": SKIPPED,
        "join": SUCCEEDED,
    }
    assert message_of(events, "no") == "when[1], @.missing of step 1, leads to nothing"
    assert message_of(events, "odd").startswith("when[0], @| sum(@) of step 1, cannot be applied: ")
    assert events[-1].state == task_pb2.TASK_STATE_SUCCEEDED


@pytest.mark.parametrize("size_bytes", [10, 200 * KIB])
async def test_given_conditions_of_first_steps_then_the_task_itself_is_looked_at(suite, size_bytes: int) -> None:
    given = {"deep": True, "text": "x" * size_bytes}
    events = await ended(
        suite,
        step("deep", "${task.input.deep}"),
        step("shallow", "${task.input.deep == `false`}"),
        output=b"1",
        input=json_payload(json.dumps(given).encode()),
    )
    assert states(events) == {"deep": SUCCEEDED, "shallow": SKIPPED}


async def test_given_two_dispatchers_then_each_step_is_decided_once(start_suite) -> None:
    first, _ = await start_suite(), await start_suite()
    events = await ended(
        first, step("first"), *(step(f"s{at}", "${first}") for at in range(250)), step("end", "${s7}"), output=b"true"
    )
    assert [state for name, state in states(events).items() if state != SUCCEEDED] == []
    ready = [event.step for event in events if event.type == task_pb2.EVENT_TYPE_STEP_READY]
    assert len(ready) == len(set(ready)) == 252
