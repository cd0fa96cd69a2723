"""Plans that nobody means well: each is refused with the fields that are wrong, or runs to its end."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Sequence
from typing import Any

import grpc
import httpx
import pytest
from fuzz_calls import Answer, call, methods_of
from fuzz_store import send, step
from fuzz_suite import WORST_SECONDS, Suite
from hypothesis import given
from hypothesis import strategies as st

from waybill.api.v1 import gateway_pb2 as pb
from waybill.api.v1 import task_pb2
from waybill.core.limits import MAX_PLAN_STEPS

ENDED = (task_pb2.TASK_STATE_SUCCEEDED, task_pb2.TASK_STATE_FAILED, task_pb2.TASK_STATE_CANCELLED)
LARGEST = MAX_PLAN_STEPS
_SUBMIT = next(method for method in methods_of("gateway") if method.name == "SubmitTask")

Steps = Sequence[task_pb2.PlanStep]


def submitted(suite: Suite, steps: Iterable[task_pb2.PlanStep]) -> Answer:
    """What the gateway says to a plan: yes, or the plan's fields that are wrong."""
    spec = task_pb2.TaskSpec(plan=task_pb2.Plan(steps=steps))
    answer = call(suite.services["gateway"], _SUBMIT, pb.SubmitTaskRequest(spec=spec).SerializeToString())
    if answer.code is not grpc.StatusCode.OK:
        assert answer.code is grpc.StatusCode.INVALID_ARGUMENT, answer
        assert answer.fields, answer
        assert all(field.startswith("plan") for field in answer.fields), answer
    return answer


def ended(suite: Suite, answer: Answer) -> task_pb2.Task:
    """The task of a plan that was accepted, once it has ended."""
    assert answer.messages, answer
    name = pb.SubmitTaskResponse.FromString(answer.messages[0]).task.name
    seen, deadline = -1, 0.0
    while True:
        task: task_pb2.Task = send(suite, "GetTask", pb.GetTaskRequest(name=name)).task
        if task.state in ENDED:
            return task
        if task.last_sequence > seen:
            seen, deadline = task.last_sequence, time.monotonic() + WORST_SECONDS
        assert time.monotonic() < deadline, f"{name} stands still: {task}"
        time.sleep(0.05)


def payload(value: Any) -> task_pb2.Payload:
    return task_pb2.Payload(data=value if isinstance(value, bytes) else json.dumps(value).encode())


def chain(length: int) -> Steps:
    return [step(f"s{number}", after=[f"s{number - 1}"] if number else []) for number in range(length)]


def fan(width: int) -> Steps:
    names = [f"s{number}" for number in range(width)]
    middle = [step(name, after=["first"]) for name in names]
    return [step("first"), *middle, step("last", after=names)]


def ladder(rungs: int) -> Steps:
    """Layers of ten, each step of which waits for the whole layer before."""
    layers = [[f"s{layer}-{number}" for number in range(10)] for layer in range(rungs)]
    before = [[], *layers]
    return [step(name, after=before[at]) for at, names in enumerate(layers) for name in names]


@pytest.mark.parametrize(
    "steps", [chain(LARGEST), fan(LARGEST - 2), ladder(LARGEST // 10)], ids=["deep", "wide", "dense"]
)
def test_the_largest_plans_run_to_their_end(working: Suite, steps: Steps) -> None:
    task = ended(working, submitted(working, steps))
    assert (task.state, task.ended_step_count) == (task_pb2.TASK_STATE_SUCCEEDED, LARGEST)
    working.assert_serving()


@pytest.mark.parametrize("length", [1, 2, 3, 10, 1_000, LARGEST])
def test_cycles_of_any_length_are_refused(working: Suite, length: int) -> None:
    steps = [step(f"s{number}", after=[f"s{(number + 1) % length}"]) for number in range(length)]
    assert submitted(working, steps).fields


@pytest.mark.parametrize(
    "steps",
    [
        [step("a") for _ in range(LARGEST + 1)],
        [step("a") for _ in range(LARGEST)],
        [step("n" * 1_000_000)],
        [step("a", after=["x" * 100_000] * 50)],
        [step("a\u202eb"), step("💥"), step("é"), step("\0"), step("a b"), step("../..")],
        [step("task"), step("a", after=["task"])],
        [step("a", input=payload({"value": "${a}"}))],
        [step("a", input=payload({"value": "${b}"})), step("b", input=payload({"value": "x ${a} y"}))],
        [step("a"), step("b", input=payload({"value": "${${a}}"}))],
        [step("a"), step("b", input=payload({"value": "${a" + ".a" * 5_000 + "}"}))],
        [step("a"), step("b", input=payload({"value": "${a" + "[" * 900 + "}"}))],
        [step("a"), step("b", input=payload({"value": "${a" + " || a" * 190 + "}"}))],
        [step("a", input=payload(b'{"value":' + b"[" * 100_000)), step("b", input=payload(b"[" * 63 + b"]" * 63))],
        [step("a", input=payload(b'{"value":1e999}'))],
        [step("a", input=payload(b'{"value":NaN}'))],
        [step("a", input=payload(b'{"value":' + b"9" * 100_000 + b"}"))],
        [step("a", input=payload(b'{"value":"\\ud800"}'))],
        [step("a", input=payload(b'{"value":"\xff"}'))],
        [step("a", input=payload(b'{"value":1,"value":2}'))],
        [step("a", input=payload(b'{"valu\\u0065":"$\\u007ba}"}'))],
        [step("a", input=payload({"value": ["${task.input}"] * 50_000}))],
        [step("a"), *[step(f"b{n}", input=payload({"value": f"${{a}} {n}"})) for n in range(500)]],
        [step(f"s{n}", after=[f"s{m}" for m in range(n)]) for n in range(1_500)],
    ],
)
def test_a_hostile_plan_is_refused_or_runs_to_its_end(working: Suite, steps: Steps) -> None:
    answer = submitted(working, steps)
    if answer.messages:
        ended(working, answer)
    working.assert_serving()


def doubling(levels: int) -> dict[str, Any]:
    """A schema that looks at a value 2 ** levels times."""
    steps = {f"s{n}": {"allOf": [{"$ref": f"#/$defs/s{n + 1}"}] * 2} for n in range(levels)}
    return {"$defs": {**steps, f"s{levels}": {"type": "object"}}, "$ref": "#/$defs/s0"}


@pytest.mark.parametrize(
    ("schema", "default"),
    [
        ({"$ref": "#"}, {}),
        ({"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}}, {}),
        ({"$ref": "http://127.0.0.1:1/x.json"}, {}),
        ({"pattern": "^(a+)+$"}, "a" * 500_000 + "b"),
        ({"pattern": "(?:a{1000}){1000}"}, "a"),
        ({"pattern": "(?<=a)b"}, "b"),
        ({"patternProperties": {"^(a|a)*$": False}}, {"a" * 100_000 + "b": 1}),
        ({"$schema": "http://json-schema.org/draft-04/schema#", "pattern": "^(a|a)*$"}, "a" * 100_000 + "b"),
        ({"$schema": "http://127.0.0.1:1/schema", "$id": "http://127.0.0.1:1/schema"}, {}),
        (doubling(60), {}),
        ({"uniqueItems": True}, [{"n": n} for n in range(60_000)]),
        ({"items": {"enum": list(range(10_000))}}, list(range(100_000))),
        (b'{"not":' * 9_000 + b"{}" + b"}" * 9_000, {}),
        ({"allOf": [{} for _ in range(15_000)]}, {}),
        ({"maxLength": 10**400, "multipleOf": 1e-300}, 10**300),
    ],
)
def test_a_hostile_schema_is_refused_or_its_step_runs_to_its_end(working: Suite, schema: Any, default: Any) -> None:
    written = payload(schema).data.decode()
    question = task_pb2.Question(prompt="Well?", answer_schema=written, timeout_ms=1)
    question.default_answer.CopyFrom(payload(default))
    answer = submitted(working, [task_pb2.PlanStep(name="ask", question=question), step("then", after=["ask"])])
    if answer.messages:
        assert ended(working, answer).state == task_pb2.TASK_STATE_SUCCEEDED
    working.assert_serving()


BODIES = [
    b"",
    b"{",
    b"[]",
    b"null",
    b"\xff\xfe",
    b"\xef\xbb\xbf{}",
    b"{}" * 1_000,
    b'{"goal":"x","goal":"y"}',
    b'{"goal":"\\ud800"}',
    b'{"goal":"\\u0000"}',
    b'{"goal":1e400}',
    b'{"goal":"' + b"x" * 20_000,
    b'{"goal":"x","input":' + b"9" * 50_000 + b"}",
    b'{"goal":"x","input":NaN}',
    b'{"goal":"x","labels":{"":""}}',
    b'{"goal":"x","deadline_ms":1.5}',
    b'{"goal":"x","deadline_ms":99999999999999999999}',
    b'{"goal":"x","template":"A"}',
    b'{"plan":{"steps":' + b"[" * 100_000,
    b'{"goal":"x","input":' + b"[" * 300 + b"]" * 300 + b"}",
    b'{"plan":{"steps":[{"name":"a","agent":"echo","input":{"a":1,"a":2}}]}}',
    b'{"plan":{"steps":[{"name":"a","question":{"prompt":"?","answer_schema":"{}"}}]}}',
]


@pytest.mark.parametrize("body", BODIES, ids=range(len(BODIES)))
def test_a_hostile_body_is_refused_or_accepted(working: Suite, body: bytes) -> None:
    response = httpx.post(f"{working.http}/v1/tasks", content=body, timeout=WORST_SECONDS)
    assert response.status_code == 200 or 400 <= response.status_code < 500, response.text
    assert response.json()
    working.assert_serving()


NAMES = st.sampled_from(["a", "b", "c", "d", "task", "A", ""])
FRAGMENTS = st.sampled_from(
    [
        "${a}",
        "${b.x}",
        "${c[0]}",
        "${task.input}",
        "${task.goal}",
        "${d | length(@)}",
        "$${a}",
        "${",
        "}",
        "${a",
        "x",
        "$",
    ]
)
VALUES = st.lists(FRAGMENTS, max_size=3).map("".join) | st.none() | st.integers() | st.floats(allow_nan=False)
QUESTIONS = st.builds(
    task_pb2.Question,
    prompt=st.just("Well?"),
    answer_schema=st.sampled_from(["", "true", "false", '{"type":"object"}', '{"$ref":"#/$defs/a"}']),
    timeout_ms=st.just(1),
    default_answer=st.none() | st.sampled_from([{}, 1, {"x": [1]}]).map(payload),
)
STEPS = st.builds(
    task_pb2.PlanStep,
    name=NAMES,
    agent=st.sampled_from(["echo", "echo", "echo", "nobody"]),
    input=VALUES.map(lambda value: payload({"value": value})),
    after=st.lists(NAMES, max_size=2),
    retry=st.just(task_pb2.RetryPolicy(max_attempts=2, initial_backoff_ms=1)),
    queue_timeout_ms=st.sampled_from([0, 0, 1, 60_000]),
) | st.builds(task_pb2.PlanStep, name=NAMES, question=QUESTIONS, after=st.lists(NAMES, max_size=2))


def test_any_plan_is_refused_or_runs_to_its_end(working: Suite) -> None:
    accepted: list[Answer] = []

    @given(st.lists(STEPS, min_size=1, max_size=5, unique_by=lambda planned: planned.name))
    def holds(steps: Steps) -> None:
        answer = submitted(working, steps)
        if answer.messages:
            accepted.append(answer)

    holds()
    for answer in accepted:
        ended(working, answer)
    working.assert_serving()
