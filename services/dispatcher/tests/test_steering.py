"""Steering: what is asked under one request id happens once, and only to what is the caller's own."""

from __future__ import annotations

import asyncio

import grpc
import pytest

from waybill.api.v1 import dispatcher_pb2, task_pb2
from waybill.ledger.ledger import new_task_id
from waybill.ledger.records import Outcome, Settlement

CANCEL, RETRY = dispatcher_pb2.TASK_ACTION_CANCEL, dispatcher_pb2.TASK_ACTION_RETRY
PAUSE, RESUME = dispatcher_pb2.TASK_ACTION_PAUSE, dispatcher_pb2.TASK_ACTION_RESUME
FAILED, SUCCEEDED = task_pb2.TASK_STATE_FAILED, task_pb2.TASK_STATE_SUCCEEDED
ONE = task_pb2.Plan(steps=[task_pb2.PlanStep(name="only", agent="echo")])


def fail(grant) -> Settlement:
    return Settlement(grant.ref, Outcome.FAILED_FINALLY)


async def submit_many(suite, count: int, **spec) -> list[str]:
    """Names of so many tasks, oldest first."""
    await suite.announce("echo")
    ids = [new_task_id() for _ in range(count)]
    return [(await suite.submit(plan=ONE, request_id=request_id, **spec)).task.name for request_id in ids]


async def retry_all(suite, page_size: int = 2, request_id: str = "bulk", **wanted) -> list[str]:
    """Names of what a whole bulk retry says runs again."""
    names, token = [], ""
    while True:
        page = await suite.call(
            "RetryMany",
            filter=task_pb2.TaskFilter(**wanted),
            page_size=page_size,
            page_token=token,
            request_id=request_id,
        )
        names += page.names
        token = page.next_page_token
        if not token:
            return names


async def attempts(suite, name: str) -> int:
    return len((await suite.call("ReadAttempts", parent=f"{name}/steps/only")).attempts)


async def test_given_the_same_request_when_it_comes_again_then_nothing_more_happens(suite) -> None:
    (name,) = await submit_many(suite, 1)
    for _ in range(2):
        task = (await suite.call("SteerTask", name=name, action=CANCEL, request_id="stop")).task
        assert task.state == task_pb2.TASK_STATE_CANCELLED
    await suite.call("SteerTask", name=name, action=RETRY, request_id="again")
    task = (await suite.call("SteerTask", name=name, action=CANCEL, request_id="stop")).task
    assert task.state == task_pb2.TASK_STATE_RUNNING, "the cancellation was repeated, not asked anew"
    code, _ = await suite.refused("SteerTask", name=name, action=PAUSE, request_id="stop")
    assert code == grpc.StatusCode.ALREADY_EXISTS


async def test_given_a_state_that_does_not_allow_it_then_steering_is_refused(suite) -> None:
    (name,) = await submit_many(suite, 1)
    await suite.run_steps(["echo"])
    for action in (CANCEL, PAUSE, RESUME, RETRY):
        code, _ = await suite.refused("SteerTask", name=name, action=action, request_id=f"r{action}")
        assert code == grpc.StatusCode.FAILED_PRECONDITION


async def test_given_failed_tasks_when_retried_by_filter_then_each_runs_again_once(suite) -> None:
    failing = await submit_many(suite, 5, labels={"kind": "bad"})
    await suite.run_steps(["echo"], settle=fail)
    good = await submit_many(suite, 2, labels={"kind": "good"})
    await suite.run_steps(["echo"])
    assert sorted(await retry_all(suite, states=[FAILED])) == sorted(failing)
    await suite.run_steps(["echo"], settle=fail)
    # The call is repeated, as after a lost reply: none runs a third time.
    assert await retry_all(suite, states=[FAILED]) == []
    assert [await attempts(suite, name) for name in failing] == [2] * 5
    assert sorted(await retry_all(suite, request_id="another", labels={"kind": "bad"})) == sorted(failing)
    assert [await attempts(suite, name) for name in good] == [1] * 2
    await suite.run_steps(["echo"])


@pytest.mark.parametrize("page_size", [1, 3])
async def test_given_tasks_that_come_and_change_meanwhile_then_none_is_skipped_or_retried_twice(
    suite, page_size: int
) -> None:
    failing = await submit_many(suite, 6)
    await suite.run_steps(["echo"], settle=fail)
    seen: list[str] = []
    token = ""
    for turn in range(20):
        page = await suite.call(
            "RetryMany",
            filter=task_pb2.TaskFilter(states=[FAILED]),
            page_size=page_size,
            page_token=token,
            request_id="bulk",
        )
        seen += page.names
        token = page.next_page_token
        if not token:
            break
        # What was retried fails again, and new tasks fail too, while the next page is asked for.
        await suite.submit(plan=ONE, request_id=f"new{turn}")
        await suite.run_steps(["echo"], settle=fail)
    assert sorted(seen) == sorted(failing)
    await suite.run_steps(["echo"])
    assert [await attempts(suite, name) for name in failing] == [2] * 6


async def test_given_two_bulk_retries_of_one_request_at_once_then_each_task_runs_again_once(suite) -> None:
    failing = await submit_many(suite, 6)
    await suite.run_steps(["echo"], settle=fail)
    await asyncio.gather(*(retry_all(suite, states=[FAILED]) for _ in range(4)))
    await suite.run_steps(["echo"], settle=fail)
    await retry_all(suite, states=[FAILED])
    assert [await attempts(suite, name) for name in failing] == [2] * 6


async def test_given_another_tenant_then_its_tasks_are_not_retried(suite) -> None:
    await suite.announce("echo")
    theirs = (await suite.submit(plan=ONE, tenant="theirs")).task
    await suite.run_steps(["echo"], settle=fail)
    assert await retry_all(suite, states=[FAILED]) == []
    assert (await suite.task(theirs.name, tenant="theirs")).state == FAILED


@pytest.mark.parametrize(
    ("wanted", "field"),
    [({}, "filter"), ({"states": [SUCCEEDED]}, "filter.states"), ({"states": [FAILED, 99]}, "filter.states")],
)
async def test_given_a_filter_that_must_not_choose_what_is_retried_then_it_is_refused(suite, wanted, field) -> None:
    code, details = await suite.refused("RetryMany", filter=task_pb2.TaskFilter(**wanted), request_id="r")
    assert (code, details.split(":")[0]) == (grpc.StatusCode.INVALID_ARGUMENT, field)


async def test_given_an_agent_that_was_never_announced_then_it_cannot_be_paused(suite) -> None:
    assert (await suite.refused("SetPause", name="agents/nobody", paused=True, request_id="r"))[0] == (
        grpc.StatusCode.NOT_FOUND
    )


async def test_given_a_pause_that_was_undone_when_it_is_repeated_then_it_stays_undone(suite) -> None:
    await suite.announce("echo")
    await suite.call("SetPause", name="agents/echo", paused=True, request_id="1")
    await suite.call("SetPause", name="agents/echo", paused=False, request_id="2")
    assert not (await suite.call("SetPause", name="agents/echo", paused=True, request_id="1")).agent.paused
    assert (await suite.refused("SetPause", paused=True, request_id="1"))[0] == grpc.StatusCode.ALREADY_EXISTS


CHANGES = [
    ("SteerTask", {"name": "tasks/0-1", "action": CANCEL}),
    ("RetryMany", {"filter": task_pb2.TaskFilter(states=[FAILED])}),
    ("SubmitAnswer", {"name": "tasks/0-1/steps/a"}),
    ("DecideEffect", {"step": "tasks/0-1/steps/a"}),
    ("SettleDeadLetter", {"name": "deadLetters/0-1.1"}),
    ("SetPause", {}),
]


@pytest.mark.parametrize(("rpc", "fields"), CHANGES)
@pytest.mark.parametrize("request_id", ["", "two words", "ü", "x" * 129])
async def test_given_no_usable_request_id_then_every_change_is_refused(suite, rpc, fields, request_id) -> None:
    code, details = await suite.refused(rpc, **fields, request_id=request_id)
    assert (code, details.split(":")[0]) == (grpc.StatusCode.INVALID_ARGUMENT, "request_id")
