"""Messages, the domain and JSON say the same."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from waybill.api.v1 import dispatcher_pb2, task_pb2
from waybill.core import limits
from waybill.core.plan import FailurePolicy, Plan, PlanStep, Question, RetryPolicy
from waybill.core.step_rules import REASON
from waybill.core.task import Event, EventType, Failure, Priority, StepState, TaskState, Usage
from waybill.errors import InvalidArgument, InvalidPlan
from waybill.rpc import conversion, enums
from waybill.rpc.packed_events import packed_event, packed_events
from waybill.rpc.payloads import MAX_JSON_DEPTH
from waybill.rpc.wire import tag

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
    text_offset=LONG_COUNTS,
    digest=st.integers(0, 2**32 - 1),
    call=COUNTS,
    model=TEXTS,
)
RETRIES = st.builds(
    RetryPolicy,
    max_attempts=st.integers(1, 100),
    initial_backoff_ms=st.integers(0, 3_600_000),
    max_backoff_ms=st.integers(0, 86_400_000),
    multiplier=st.floats(1, 10),
    jitter=st.floats(0, 1),
    final_reasons=st.lists(st.from_regex(REASON, fullmatch=True), max_size=3).map(tuple),
)
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=10,
)
INPUTS = st.dictionaries(TEXTS, JSON_VALUES, max_size=3).map(lambda value: json.dumps(value).encode())
NAMES_BEFORE = st.lists(TEXTS, max_size=3).map(tuple)
QUESTIONS = st.builds(
    Question,
    prompt=TEXTS,
    answer_schema=st.sampled_from(["", "true", '{"type":["object","null"]}']),
    timeout_ms=st.integers(0, limits.MAX_ANSWER_TIMEOUT_MS),
    default_answer=st.just(b"") | JSON_VALUES.map(lambda value: json.dumps(value).encode()),
)
STEPS = st.builds(
    PlanStep,
    name=TEXTS,
    agent=TEXTS,
    input=INPUTS,
    after=NAMES_BEFORE,
    retry=RETRIES,
    run_timeout_ms=st.integers(1, 86_400_000),
    queue_timeout_ms=st.integers(0, limits.MAX_QUEUE_TIMEOUT_MS),
) | st.builds(PlanStep, name=TEXTS, input=INPUTS, after=NAMES_BEFORE, question=QUESTIONS)
PLANS = st.builds(Plan, st.lists(STEPS, min_size=1, max_size=4).map(tuple), st.sampled_from(FailurePolicy))


@given(EVENTS)
def test_an_event_survives_the_way_to_a_message_and_back(event):
    assert conversion.event_from_proto(conversion.event_to_proto(event)) == event


@given(EVENTS)
def test_a_packed_event_is_the_message_of_the_event(event):
    message = conversion.event_to_proto(event)
    assert task_pb2.TaskEvent.FromString(packed_event(event)) == message
    response = dispatcher_pb2.StreamEventsResponse.FromString(
        packed_events(tag(dispatcher_pb2.StreamEventsResponse, "events"), [event, event])
    )
    assert list(response.events) == [message, message]


@given(EVENTS)
def test_an_event_as_json_shows_what_is_set_and_nothing_else(event):
    shown = conversion.event_to_json(conversion.event_to_proto(event))
    assert json.loads(json.dumps(shown)) == shown
    assert (shown["sequence"], shown["type"]) == (event.sequence, event.type.value)
    for name in ("step", "attempt", "message", "fraction", "state", "step_state", "run_ms", "text_offset", "digest"):
        value = getattr(event, name)
        is_set = value is not None if name == "fraction" else bool(value)
        assert shown.get(name) == (value if is_set else None)
        assert (name in shown) == is_set
    assert ("failure" in shown, "usage" in shown) == (event.failure is not None, event.usage is not None)


@given(PLANS)
def test_a_plan_survives_the_way_to_a_message_and_back(plan):
    assert conversion.plan_from_proto(conversion.plan_to_proto(plan)) == plan


def question_as_written(question: Question) -> dict[str, Any]:
    written = {"prompt": question.prompt, "timeout_ms": question.timeout_ms}
    if question.answer_schema:
        written["answer_schema"] = json.loads(question.answer_schema)
    if question.default_answer:
        written["default_answer"] = json.loads(question.default_answer)
    return written


def step_as_written(step: PlanStep) -> dict[str, Any]:
    written = {"name": step.name, "input": json.loads(step.input), "after": list(step.after)}
    if step.question is not None:
        return {**written, "question": question_as_written(step.question)}
    return {
        **written,
        "agent": step.agent,
        "retry": {name: getattr(step.retry, name) for name in RetryPolicy.__slots__},
        "run_timeout_ms": step.run_timeout_ms,
        "queue_timeout_ms": step.queue_timeout_ms,
    }


@given(PLANS)
def test_a_plan_file_says_the_same_as_the_message(plan):
    written = {"steps": [step_as_written(step) for step in plan.steps], "failure_policy": plan.failure_policy}
    read = conversion.plan_from_proto(conversion.plan_from_json(json.dumps(written)))
    assert read.failure_policy is plan.failure_policy
    for met, step in zip(read.steps, plan.steps, strict=True):
        assert replace(met, input=b"", question=None) == replace(step, input=b"", question=None)
        assert json.loads(met.input) == json.loads(step.input)
        assert (met.question is None) == (step.question is None)
        if met.question is not None and step.question is not None:
            assert question_as_written(met.question) == question_as_written(step.question)


@given(st.integers(0, limits.MAX_DEADLINE_MS), TEXTS)
def test_a_submission_as_json_keeps_its_deadline_and_template(deadline_ms, template):
    spec = conversion.spec_from_json({"goal": "Why?", "deadline_ms": deadline_ms, "template": template})
    assert (spec.deadline_ms, spec.template) == (deadline_ms, template)


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
        ({"jitter": 1.1}, "jitter"),
        ({"jitter": math.nan}, "jitter"),
        ({"final_reasons": ["OK", "not ok"]}, "final_reasons[1]"),
        ({"final_reasons": ["A" * 65]}, "final_reasons[0]"),
        ({"final_reasons": ["A"] * 33}, "final_reasons"),
    ],
)
def test_a_retry_policy_out_of_range_is_refused_by_its_field(retry, field):
    step = task_pb2.PlanStep(name="a", retry=task_pb2.RetryPolicy(**retry))
    with pytest.raises(InvalidPlan) as caught:
        conversion.plan_from_proto(task_pb2.Plan(steps=[task_pb2.PlanStep(), step]))
    assert [violation.field for violation in caught.value.violations] == [f"plan.steps[1].retry.{field}"]


ASKED = task_pb2.Question(prompt="May I?")


@pytest.mark.parametrize(
    ("step", "field"),
    [
        (task_pb2.PlanStep(queue_timeout_ms=-1), "queue_timeout_ms"),
        (task_pb2.PlanStep(queue_timeout_ms=limits.MAX_QUEUE_TIMEOUT_MS + 1), "queue_timeout_ms"),
        (task_pb2.PlanStep(question=ASKED, retry=task_pb2.RetryPolicy()), "retry"),
        (task_pb2.PlanStep(question=ASKED, run_timeout_ms=300_000), "run_timeout_ms"),
        (task_pb2.PlanStep(question=task_pb2.Question(timeout_ms=-1)), "question.timeout_ms"),
        (
            task_pb2.PlanStep(question=task_pb2.Question(timeout_ms=limits.MAX_ANSWER_TIMEOUT_MS + 1)),
            "question.timeout_ms",
        ),
        (
            task_pb2.PlanStep(question=task_pb2.Question(default_answer=task_pb2.Payload())),
            "question.default_answer",
        ),
        (
            task_pb2.PlanStep(question=task_pb2.Question(default_answer=task_pb2.Payload(data=b"{"))),
            "question.default_answer",
        ),
    ],
)
def test_a_step_that_is_wrong_by_itself_is_refused_by_its_field(step, field):
    found = conversion.plan_violations(task_pb2.Plan(steps=[step]))
    assert [violation.field for violation in found] == [f"plan.steps[0].{field}"]


def test_an_unknown_failure_policy_is_refused():
    plan = task_pb2.Plan(steps=[task_pb2.PlanStep(name="a", agent="b")], failure_policy=9)
    assert [violation.field for violation in conversion.plan_violations(plan)] == ["plan.failure_policy"]


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
        ({"plan": {"steps": [{"name": "a", "agent": "b"}, {"agent": "c"}]}}, "plan.steps[1].name"),
        ({"plan": {"steps": [{"name": "a", "question": {}}]}}, "plan.steps[0].question.prompt"),
        ({"plan": {"steps": [], "failure_policy": "shrug"}}, "plan.failure_policy"),
        ({"deadline_ms": -1}, "deadline_ms"),
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
        (FailurePolicy, enums.FAILURE_POLICY_TO_PROTO, enums.FAILURE_POLICY_FROM_PROTO),
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
