"""Messages, the domain and JSON say the same."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from waybill.api.v1 import task_pb2
from waybill.core.plan import Plan, PlanStep, RetryPolicy
from waybill.core.task import Event, EventType, Failure, Priority, StepState, TaskState, Usage
from waybill.errors import InvalidArgument, InvalidPlan
from waybill.rpc import conversion, enums
from waybill.rpc.payloads import MAX_JSON_DEPTH

COUNTS = st.integers(0, 2**31 - 1)
LONG_COUNTS = st.integers(0, 2**63 - 1)
TEXTS = st.text(max_size=20)
USAGES = st.builds(Usage, LONG_COUNTS, LONG_COUNTS, LONG_COUNTS)
FAILURES = st.builds(Failure, TEXTS, TEXTS)
EVENTS = st.builds(
    Event,
    type=st.sampled_from(EventType),
    time_ms=st.integers(0, 10**13),
    sequence=LONG_COUNTS,
    step=TEXTS,
    attempt=COUNTS,
    agent=TEXTS,
    worker=TEXTS,
    state=st.none() | st.sampled_from(TaskState),
    step_state=st.none() | st.sampled_from(StepState),
    revision=COUNTS,
    step_count=COUNTS,
    message=TEXTS,
    fraction=st.none() | st.floats(0, 1),
    text=TEXTS,
    failure=st.none() | FAILURES,
    delay_ms=LONG_COUNTS,
    usage=st.none() | USAGES,
    wait_ms=LONG_COUNTS,
    run_ms=LONG_COUNTS,
    elapsed_ms=LONG_COUNTS,
)
RETRIES = st.builds(
    RetryPolicy,
    max_attempts=st.integers(1, 100),
    initial_backoff_ms=st.integers(0, 3_600_000),
    max_backoff_ms=st.integers(0, 86_400_000),
    multiplier=st.floats(1, 10),
)
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=10,
)
STEPS = st.builds(
    PlanStep,
    name=TEXTS,
    agent=TEXTS,
    input=st.dictionaries(TEXTS, JSON_VALUES, max_size=3).map(lambda value: json.dumps(value).encode()),
    after=st.lists(TEXTS, max_size=3).map(tuple),
    retry=RETRIES,
    run_timeout_ms=st.integers(1, 86_400_000),
)


@given(EVENTS)
def test_an_event_survives_the_way_to_a_message_and_back(event):
    assert conversion.event_from_proto(conversion.event_to_proto(event)) == event


@given(EVENTS)
def test_an_event_as_json_shows_what_is_set_and_nothing_else(event):
    shown = conversion.event_to_json(conversion.event_to_proto(event))
    assert json.loads(json.dumps(shown)) == shown
    assert (shown["sequence"], shown["type"]) == (event.sequence, event.type.value)
    for name in ("step", "attempt", "message", "fraction", "state", "step_state", "run_ms"):
        value = getattr(event, name)
        is_set = value is not None if name == "fraction" else bool(value)
        assert shown.get(name) == (value if is_set else None)
        assert (name in shown) == is_set
    assert ("failure" in shown, "usage" in shown) == (event.failure is not None, event.usage is not None)


@given(st.lists(STEPS, min_size=1, max_size=4))
def test_a_plan_survives_the_way_to_a_message_and_back(steps):
    plan = Plan(tuple(steps))
    assert conversion.plan_from_proto(conversion.plan_to_proto(plan)) == plan


@given(st.lists(STEPS, min_size=1, max_size=3))
def test_a_plan_file_says_the_same_as_the_message(steps):
    written = {
        "steps": [
            {
                "name": step.name,
                "agent": step.agent,
                "input": json.loads(step.input),
                "after": list(step.after),
                "retry": {name: getattr(step.retry, name) for name in RetryPolicy.__slots__},
                "run_timeout_ms": step.run_timeout_ms,
            }
            for step in steps
        ]
    }
    read = conversion.plan_from_proto(conversion.plan_from_json(json.dumps(written)))
    for met, step in zip(read.steps, steps, strict=True):
        assert (met.name, met.agent, met.after, met.retry) == (step.name, step.agent, step.after, step.retry)
        assert json.loads(met.input) == json.loads(step.input)


def test_a_step_left_short_gets_the_defaults():
    plan = conversion.plan_from_proto(conversion.plan_from_json({"steps": [{"name": "a", "agent": "b"}]}))
    assert plan.steps == (PlanStep(name="a", agent="b"),)


def test_a_wait_of_zero_is_not_taken_for_a_default():
    plan = task_pb2.Plan(steps=[task_pb2.PlanStep(name="a", retry=task_pb2.RetryPolicy(initial_backoff_ms=0))])
    assert conversion.plan_from_proto(plan).steps[0].retry == RetryPolicy(initial_backoff_ms=0)


@pytest.mark.parametrize(
    ("retry", "field"),
    [
        ({"max_attempts": -1}, "max_attempts"),
        ({"max_attempts": 101}, "max_attempts"),
        ({"initial_backoff_ms": 3_600_001}, "initial_backoff_ms"),
        ({"max_backoff_ms": -1}, "max_backoff_ms"),
        ({"multiplier": 0.5}, "multiplier"),
        ({"multiplier": math.nan}, "multiplier"),
        ({"multiplier": math.inf}, "multiplier"),
    ],
)
def test_a_retry_policy_out_of_range_is_refused_by_its_field(retry, field):
    step = task_pb2.PlanStep(name="a", retry=task_pb2.RetryPolicy(**retry))
    with pytest.raises(InvalidPlan) as caught:
        conversion.plan_from_proto(task_pb2.Plan(steps=[task_pb2.PlanStep(), step]))
    assert [violation.field for violation in caught.value.violations] == [f"plan.steps[1].retry.{field}"]


def test_every_violation_of_a_plan_is_listed():
    steps = [task_pb2.PlanStep(run_timeout_ms=-1, input=task_pb2.Payload(data=b"[]")) for _ in range(3)]
    fields = [violation.field for violation in conversion.plan_violations(task_pb2.Plan(steps=steps))]
    assert fields == [f"plan.steps[{n}].{name}" for n in range(3) for name in ("input", "run_timeout_ms")]


@given(JSON_VALUES)
def test_what_json_writes_has_no_defect(value):
    assert conversion.json_defect(json.dumps(value).encode()) == ""


@pytest.mark.parametrize(
    "text", [b"", b"NaN", b"[Infinity]", b"{'a': 1}", b'"\xff"', b'"\\ud800"', b"1 2", b"[" * 10**5]
)
def test_what_is_not_json_is_told(text):
    assert conversion.json_defect(text)


@given(st.integers(1, 2 * MAX_JSON_DEPTH))
def test_nesting_is_bounded(depth):
    assert bool(conversion.json_defect(b"[" * depth + b"]" * depth)) == (depth > MAX_JSON_DEPTH)


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        ({"gaol": "x"}, "gaol"),
        ({"plan": {"steps": [{"name": "a", "agent": "b"}, {"name": "c"}]}}, "plan.steps[1].agent"),
        ({"documents": [{"name": "x"}]}, "documents[0]"),
        ({"paths": "docs"}, "paths"),
        ({"goal": object()}, "body"),
    ],
)
def test_a_spec_that_does_not_fit_is_refused_by_its_field(spec, field):
    with pytest.raises(InvalidArgument) as caught:
        conversion.spec_from_json(spec)
    assert [violation.field for violation in caught.value.violations] == [field]


def test_every_enum_of_the_domain_has_its_message_and_back():
    for kind, to_proto, from_proto in (
        (TaskState, enums.TASK_STATE_TO_PROTO, enums.TASK_STATE_FROM_PROTO),
        (StepState, enums.STEP_STATE_TO_PROTO, enums.STEP_STATE_FROM_PROTO),
        (Priority, enums.PRIORITY_TO_PROTO, enums.PRIORITY_FROM_PROTO),
        (EventType, enums.EVENT_TYPE_TO_PROTO, enums.EVENT_TYPE_FROM_PROTO),
    ):
        assert [from_proto[to_proto[member]] for member in kind] == list(kind)
    assert enums.PRIORITY_FROM_PROTO[task_pb2.PRIORITY_UNSPECIFIED] is Priority.NORMAL


def test_a_task_as_json_has_its_output_inline_and_only_what_is_set():
    task = task_pb2.Task(name="tasks/t", state=task_pb2.TASK_STATE_SUCCEEDED, step_count=2)
    task.output.data = b'{"n": 12345678901234567890}'
    task.create_time.FromMilliseconds(1_500)
    shown = conversion.task_to_json(task)
    assert shown["output"] == {"n": 12345678901234567890}
    assert (shown["state"], shown["priority"]) == ("succeeded", "normal")
    assert shown["create_time"] == "1970-01-01T00:00:01.500Z"
    assert not {"goal", "failure", "end_time", "waiting_reason"} & set(shown)


def test_a_payload_that_is_not_json_is_shown_as_base64():
    payload = task_pb2.Payload(media_type="text/plain", data=b"hi")
    assert conversion.payload_to_json(payload) == {"media_type": "text/plain", "data_base64": "aGk="}
