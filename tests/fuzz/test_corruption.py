"""A store with garbage in it: what cannot be read becomes a dead letter, and keeps nothing else from running."""

from __future__ import annotations

import time
from contextlib import closing

import grpc
import msgspec
import pytest
from fuzz_calls import call, methods_of
from fuzz_store import send, step
from fuzz_suite import WORST_SECONDS, Suite
from hypothesis import given
from hypothesis import strategies as st

from waybill.api.v1 import gateway_pb2 as pb
from waybill.api.v1 import task_pb2
from waybill.ledger import keys

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats()
    | st.text(max_size=5)
    | st.binary(max_size=5),
    lambda inner: st.lists(inner, max_size=20) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=25,
)
GARBAGE = st.binary(max_size=40) | VALUES.map(msgspec.msgpack.encode)
READS = [
    ("GetTask", "name"), ("ListSteps", "parent"), ("GetTaskMetrics", "name"), ("ListEffects", "parent"),
    ("WatchTask", "name"),
]  # fmt: skip
FAILED = task_pb2.TASK_STATE_FAILED
ENDED = (task_pb2.TASK_STATE_SUCCEEDED, FAILED, task_pb2.TASK_STATE_CANCELLED)


def held_back(suite: Suite) -> str:
    """A task of three steps side by side that an agent's pause keeps from starting."""
    send(suite, "PauseAgent", pb.PauseAgentRequest(name="agents/echo"))
    steps = [step(name) for name in ("a", "b", "c")]
    plan = task_pb2.Plan(steps=steps, failure_policy=task_pb2.FAILURE_POLICY_CONTINUE)
    task = send(suite, "SubmitTask", pb.SubmitTaskRequest(spec=task_pb2.TaskSpec(plan=plan))).task
    return str(task.name.removeprefix("tasks/"))


def ended(suite: Suite, task_id: str) -> task_pb2.Task:
    """The task, once it has ended after its agent was resumed."""
    send(suite, "ResumeAgent", pb.ResumeAgentRequest(name="agents/echo"))
    deadline = time.monotonic() + WORST_SECONDS
    while time.monotonic() < deadline:
        task: task_pb2.Task = send(suite, "GetTask", pb.GetTaskRequest(name=f"tasks/{task_id}")).task
        if task.state in ENDED:
            return task
        time.sleep(0.02)
    raise AssertionError(f"{task_id} does not end: {task}")


@pytest.mark.parametrize("field", ["spec", "run"])
def test_a_step_that_no_code_can_read_is_a_dead_letter_and_the_others_run(working: Suite, field: str) -> None:
    @given(GARBAGE)
    def holds(garbage: bytes) -> None:
        task_id = held_back(working)
        with closing(working.client()) as client:
            client.hset(keys.key("0", "task", task_id), f"{field}:2", garbage)
        task = ended(working, task_id)
        assert task.state == FAILED
        listed = send(working, "ListDeadLetters", pb.ListDeadLettersRequest()).dead_letters
        (letter,) = [item for item in listed if item.name == f"deadLetters/{task_id}.2"]
        assert letter.failure.reason == "UNDECODABLE"
        send(working, "GetDeadLetter", pb.GetDeadLetterRequest(name=letter.name))
        steps = send(working, "ListSteps", pb.ListStepsRequest(parent=task.name)).steps
        assert [item.state for item in steps] == [
            task_pb2.STEP_STATE_SUCCEEDED,
            task_pb2.STEP_STATE_FAILED,
            task_pb2.STEP_STATE_SUCCEEDED,
        ]
        assert_readable(working, task.name)

    holds()
    working.assert_serving()


def assert_readable(suite: Suite, name: str) -> None:
    """Whatever can be asked about a task is answered."""
    for method in methods_of("gateway"):
        for read, field in READS:
            if method.name == read:
                request = getattr(pb, f"{read}Request")(**{field: name})
                answer = call(suite.services["gateway"], method, request.SerializeToString())
                assert answer.code is grpc.StatusCode.OK, (read, answer)


def test_an_input_that_is_not_json_fails_its_step_and_the_others_run(working: Suite) -> None:
    @given(GARBAGE)
    def holds(garbage: bytes) -> None:
        task_id = held_back(working)
        with closing(working.client()) as client:
            client.hset(keys.key("0", "task", task_id), "in:2", garbage)
        task = ended(working, task_id)
        states = [item.state for item in send(working, "ListSteps", pb.ListStepsRequest(parent=task.name)).steps]
        assert states[0] == states[2] == task_pb2.STEP_STATE_SUCCEEDED
        assert_readable(working, task.name)

    holds()
    working.assert_serving()


def test_garbage_in_a_queue_keeps_nothing_from_running(working: Suite) -> None:
    queue = keys.key("0", "queue", "echo", "normal")
    told = st.sampled_from([b"x:1", b"x:1 y:2", b"0-x:-1", b":::", b"0-x:" + b"9" * 20]) | st.binary(max_size=40)

    @given(st.lists(st.tuples(told, st.booleans()), min_size=1, max_size=5))
    def holds(entries: list[tuple[bytes, bool]]) -> None:
        with closing(working.client()) as client:
            for body, is_foreign in entries:
                client.xadd(queue, {"other" if is_foreign else "steps": body})
            assert ended(working, held_back(working)).state == task_pb2.TASK_STATE_SUCCEEDED
            deadline = time.monotonic() + WORST_SECONDS
            while client.xlen(queue) or client.xpending(queue, keys.GROUP)["pending"]:
                assert time.monotonic() < deadline, "garbage stays in the queue"
                time.sleep(0.05)

    holds()
    working.assert_serving()
