"""Answers: one that fits is the step's output, once; one that does not says where."""

from __future__ import annotations

import json

import grpc

from waybill.api.v1 import dispatcher_pb2, task_pb2

SCHEMA = json.dumps(
    {
        "type": "object",
        "properties": {"approved": {"type": "boolean"}, "notes": {"type": "array", "items": {"type": "string"}}},
        "required": ["approved"],
    }
)
GOOD = b'{"approved": true, "notes": ["${left} as it stands"]}'


def payload(data: bytes) -> task_pb2.Payload:
    return task_pb2.Payload(data=data)


def asking(**question) -> task_pb2.Plan:
    """A step, a question about what it returned, and a step that uses the answer."""
    shown = payload(b'{"draft": "${draft}", "goal": "${task.input.topic}"}')
    asked = task_pb2.Question(prompt="Is it right?", **question)
    return task_pb2.Plan(
        steps=[
            task_pb2.PlanStep(name="draft", agent="echo"),
            task_pb2.PlanStep(name="approve", question=asked, input=shown),
            task_pb2.PlanStep(name="send", agent="echo", input=payload(b'{"by": "${approve}"}')),
        ]
    )


async def asked(suite, **question) -> str:
    """Name of a step that waits for its answer."""
    await suite.announce("echo")
    submitted = await suite.submit(plan=asking(**question), input=payload(b'{"topic": "rivers"}'))
    assert submitted.task.name, submitted.refusal
    await suite.run_steps(["echo"], b'{"text": "It flows."}')
    return f"{submitted.task.name}/steps/approve"


async def read(suite, step: str):
    steps = (await suite.call("ReadSteps", parent=step.partition("/steps/")[0])).steps
    return next(seen for seen in steps if seen.name == step)


async def test_given_a_question_then_it_is_shown_with_what_the_answer_is_about(suite) -> None:
    step = await read(suite, await asked(suite, answer_schema=SCHEMA, timeout_ms=60_000, default_answer=payload(GOOD)))
    assert step.state == task_pb2.STEP_STATE_WAITING
    assert (step.question.prompt, step.question.answer_schema) == ("Is it right?", SCHEMA)
    assert (step.question.timeout_ms, step.question.default_answer.data) == (60_000, GOOD)
    assert json.loads(step.question_input.data) == {"draft": {"text": "It flows."}, "goal": "rivers"}
    assert json.loads(step.input.data)["draft"] == "${draft}"


async def test_given_an_answer_that_fits_then_it_is_the_output_and_the_task_goes_on(suite) -> None:
    name = await asked(suite, answer_schema=SCHEMA)
    step = (await suite.call("SubmitAnswer", name=name, answer=payload(GOOD), request_id="yes")).step
    assert (step.state, step.output.data) == (task_pb2.STEP_STATE_SUCCEEDED, GOOD)
    assert not step.HasField("question_input")
    await suite.run_steps(["echo"], b'"sent"')
    assert (await suite.task(name.partition("/steps/")[0])).output.data == b'"sent"'
    again = (await suite.call("SubmitAnswer", name=name, answer=payload(GOOD), request_id="yes")).step
    assert again.output.data == GOOD


async def test_given_an_answer_that_comes_second_then_it_is_refused(suite) -> None:
    name = await asked(suite)
    await suite.call("SubmitAnswer", name=name, answer=payload(b"1"), request_id="first")
    code, _ = await suite.refused("SubmitAnswer", name=name, answer=payload(b"2"), request_id="second")
    assert code == grpc.StatusCode.FAILED_PRECONDITION
    code, _ = await suite.refused("SubmitAnswer", name=name, answer=payload(b"2"), request_id="first")
    assert code == grpc.StatusCode.ALREADY_EXISTS
    assert (await read(suite, name)).output.data == b"1"


async def test_given_an_answer_that_does_not_fit_then_every_field_is_named_and_nothing_happens(suite) -> None:
    name = await asked(suite, answer_schema=SCHEMA)
    code, details = await suite.refused(
        "SubmitAnswer", name=name, answer=payload(b'{"notes": ["a", 2]}'), request_id="r"
    )
    assert code == grpc.StatusCode.INVALID_ARGUMENT
    assert "answer.notes[1]: must be of type string" in details
    assert "'approved' is a required property" in details
    assert (await read(suite, name)).state == task_pb2.STEP_STATE_WAITING


async def test_given_what_is_no_answer_at_all_then_it_is_refused(suite) -> None:
    name = await asked(suite)
    for answer in (payload(b""), payload(b"{"), payload(b"NaN"), task_pb2.Payload(media_type="text/plain", data=b"1")):
        code, details = await suite.refused("SubmitAnswer", name=name, answer=answer, request_id="r")
        assert (code, details.split(":")[0]) == (grpc.StatusCode.INVALID_ARGUMENT, "answer")


async def test_given_a_step_that_asks_nobody_or_is_not_there_then_there_is_nothing_to_answer(suite) -> None:
    task = (await asked(suite)).partition("/steps/")[0]
    wrong = [("draft", "default"), ("send", "default"), ("nobody", "default"), ("approve", "other")]
    codes = [
        (
            await suite.refused(
                "SubmitAnswer", name=f"{task}/steps/{step}", answer=payload(b"1"), request_id="r", tenant=tenant
            )
        )[0]
        for step, tenant in wrong
    ]
    wrong_state, missing = grpc.StatusCode.FAILED_PRECONDITION, grpc.StatusCode.NOT_FOUND
    assert codes == [wrong_state, wrong_state, missing, missing]


async def test_given_an_answer_that_is_late_then_the_default_stands(suite) -> None:
    name = await asked(suite, timeout_ms=1, default_answer=payload(b'"nobody"'))
    await suite.until(name.partition("/steps/")[0], lambda task: task.ended_step_count == 2)
    code, _ = await suite.refused("SubmitAnswer", name=name, answer=payload(b"1"), request_id="r")
    assert code == grpc.StatusCode.FAILED_PRECONDITION
    attempts = (await suite.call("ReadAttempts", parent=name)).attempts
    assert [(attempt.attempt, attempt.state, attempt.worker) for attempt in attempts] == [
        (1, task_pb2.STEP_STATE_SUCCEEDED, "")
    ]
    await suite.run_steps(["echo"])


async def test_given_a_cancelled_task_then_its_question_is_void(suite) -> None:
    name = await asked(suite)
    task = name.partition("/steps/")[0]
    await suite.call("SteerTask", name=task, action=dispatcher_pb2.TASK_ACTION_CANCEL, request_id="stop")
    code, _ = await suite.refused("SubmitAnswer", name=name, answer=payload(b"1"), request_id="r")
    assert code == grpc.StatusCode.FAILED_PRECONDITION
