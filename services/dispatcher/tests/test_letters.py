"""Dead letters: they are shown with their history, and retried or dropped once."""

from __future__ import annotations

import grpc
import pytest

from waybill.api.v1 import dispatcher_pb2, task_pb2
from waybill.core.task import Failure
from waybill.ledger.records import Outcome, Settlement

RETRY, DROP = dispatcher_pb2.DEAD_LETTER_ACTION_RETRY, dispatcher_pb2.DEAD_LETTER_ACTION_DROP
STEP = task_pb2.PlanStep(name="only", agent="echo", input=task_pb2.Payload(data=b'{"n": 1}'))
ONE = task_pb2.Plan(steps=[STEP])
GOES_ON = task_pb2.Plan(
    steps=[STEP, task_pb2.PlanStep(name="ask", question=task_pb2.Question(prompt="Well?"))],
    failure_policy=task_pb2.FAILURE_POLICY_CONTINUE,
)


def die(grant) -> Settlement:
    return Settlement(grant.ref, Outcome.DIED, failure=Failure("PROCESS_DIED", "it died"))


async def dead(suite, plan: task_pb2.Plan = ONE, **fields) -> str:
    """Name of the letter of a step that has killed its process often enough."""
    await suite.announce("echo")
    submitted = await suite.submit(plan=plan, **fields)
    assert submitted.task.name, submitted.refusal
    await suite.run_steps(["echo"], settle=die)
    return submitted.task.name.replace("tasks/", "deadLetters/") + ".1"


def task_of(letter: str) -> str:
    return letter.replace("deadLetters/", "tasks/").removesuffix(".1")


async def letters(suite, **fields) -> list[str]:
    return [letter.name for letter in (await suite.call("ReadDeadLetters", **fields)).dead_letters]


async def test_given_a_step_that_kills_its_process_then_its_letter_tells_all_of_it(suite) -> None:
    name = await dead(suite)
    letter = (await suite.call("ReadDeadLetter", name=name)).dead_letter
    assert (letter.name, letter.step, letter.agent) == (name, f"{task_of(name)}/steps/only", "echo")
    assert (letter.deaths, letter.attempt, letter.failure.reason) == (3, 3, "PROCESS_DIED")
    assert letter.input.data == b'{"n": 1}'
    assert [(attempt.attempt, attempt.state, attempt.worker) for attempt in letter.attempts] == [
        (number, task_pb2.STEP_STATE_FAILED, "hand.1") for number in (1, 2, 3)
    ]
    (listed,) = (await suite.call("ReadDeadLetters")).dead_letters
    assert (listed.name, len(listed.attempts), listed.HasField("input")) == (name, 0, False)


async def test_given_many_letters_then_pages_hold_each_once_newest_first(suite) -> None:
    names = [await dead(suite, request_id=f"r{at}") for at in range(5)]
    listed = []
    token = ""
    while True:
        page = await suite.call("ReadDeadLetters", page_size=2, page_token=token)
        listed += page.dead_letters
        token = page.next_page_token
        if not token:
            break
    assert sorted(letter.name for letter in listed) == sorted(names)
    times = [letter.create_time.ToMilliseconds() for letter in listed]
    assert times == sorted(times, reverse=True)


@pytest.mark.parametrize("action", [RETRY, DROP])
async def test_given_a_letter_when_it_is_settled_twice_under_one_request_then_it_is_settled_once(suite, action) -> None:
    name = await dead(suite)
    task = (await suite.call("SettleDeadLetter", name=name, action=action, request_id="r")).task
    assert task.state == (task_pb2.TASK_STATE_RUNNING if action == RETRY else task_pb2.TASK_STATE_FAILED)
    assert await letters(suite) == []
    if action == RETRY:
        await suite.run_steps(["echo"], settle=die)
        assert await letters(suite) == [name], "it killed three more"
    again = (await suite.call("SettleDeadLetter", name=name, action=action, request_id="r")).task
    assert again.state == task_pb2.TASK_STATE_FAILED
    other = DROP if action == RETRY else RETRY
    code, _ = await suite.refused("SettleDeadLetter", name=name, action=other, request_id="r")
    assert code == grpc.StatusCode.ALREADY_EXISTS


@pytest.mark.parametrize("action", [RETRY, DROP])
async def test_given_a_letter_that_is_gone_then_a_new_request_finds_nothing(suite, action) -> None:
    name = await dead(suite)
    await suite.call("SettleDeadLetter", name=name, action=DROP, request_id="r")
    assert (await suite.refused("SettleDeadLetter", name=name, action=action, request_id="new"))[0] == (
        grpc.StatusCode.NOT_FOUND
    )
    assert (await suite.task(task_of(name))).state == task_pb2.TASK_STATE_FAILED
    assert (await suite.refused("ReadDeadLetter", name=name))[0] == grpc.StatusCode.NOT_FOUND


async def test_given_a_task_that_goes_on_then_its_letter_can_be_retried_once_it_has_ended(suite) -> None:
    name = await dead(suite, GOES_ON)
    code, _ = await suite.refused("SettleDeadLetter", name=name, action=RETRY, request_id="early")
    assert code == grpc.StatusCode.FAILED_PRECONDITION
    assert await letters(suite) == [name]
    await suite.call(
        "SubmitAnswer", name=f"{task_of(name)}/steps/ask", answer=task_pb2.Payload(data=b"1"), request_id="answer"
    )
    task = (await suite.call("SettleDeadLetter", name=name, action=RETRY, request_id="late")).task
    assert task.state == task_pb2.TASK_STATE_RUNNING
    await suite.run_steps(["echo"])
    assert (await suite.task(task.name)).state == task_pb2.TASK_STATE_SUCCEEDED


async def test_given_another_tenant_then_there_are_no_letters(suite) -> None:
    name = await dead(suite)
    other = {"tenant": "other"}
    assert await letters(suite, **other) == []
    assert (await suite.refused("ReadDeadLetter", name=name, **other))[0] == grpc.StatusCode.NOT_FOUND
    for action in (RETRY, DROP):
        code, _ = await suite.refused("SettleDeadLetter", name=name, action=action, request_id="r", **other)
        assert code == grpc.StatusCode.NOT_FOUND
    assert await letters(suite) == [name]


@pytest.mark.parametrize("name", ["deadLetters/", "tasks/0-1", "deadLetters"])
async def test_given_what_is_no_letter_s_name_then_it_is_refused(suite, name: str) -> None:
    assert (await suite.refused("ReadDeadLetter", name=name))[0] == grpc.StatusCode.INVALID_ARGUMENT
    assert (await suite.refused("SettleDeadLetter", name=name, action=DROP, request_id="r"))[0] == (
        grpc.StatusCode.INVALID_ARGUMENT
    )
