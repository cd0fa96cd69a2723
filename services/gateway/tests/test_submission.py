"""What the edge lets pass, and what it refuses with which field."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from waybill_gateway.submission import admitted_request_id

from waybill.api.v1 import gateway_pb2, task_pb2
from waybill.core import limits
from waybill.errors import InvalidArgument, InvalidPlan
from waybill.rpc.payloads import json_payload


def request_of(request_id: str = "", **spec) -> gateway_pb2.SubmitTaskRequest:
    return gateway_pb2.SubmitTaskRequest(spec=task_pb2.TaskSpec(**spec), request_id=request_id)


def plan(*steps: task_pb2.PlanStep) -> task_pb2.Plan:
    return task_pb2.Plan(steps=steps)


def document(name="a", data=b"", media_type="") -> task_pb2.Document:
    return task_pb2.Document(name=name, data=data, media_type=media_type)


def fields(request) -> list[str]:
    with pytest.raises(InvalidArgument) as caught:
        admitted_request_id(request)
    return [violation.field for violation in caught.value.violations]


@given(st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=128))
def test_any_visible_ascii_is_a_request_id(request_id):
    assert admitted_request_id(request_of(request_id, goal="Why?")) == request_id


@given(st.text(max_size=140).filter(lambda text: text and not limits.REQUEST_ID.fullmatch(text)))
def test_anything_else_is_none(request_id):
    assert fields(request_of(request_id, goal="Why?")) == ["request_id"]


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({}, ["goal"]),
        ({"goal": "a", "plan": plan()}, ["goal"]),
        ({"goal": "\t "}, ["goal"]),
        ({"goal": "ä" * (limits.MAX_GOAL_BYTES // 2 + 1)}, ["goal"]),
        ({"plan": plan()}, ["plan.steps"]),
        ({"plan": plan(*[task_pb2.PlanStep()] * (limits.MAX_PLAN_STEPS + 1))}, ["plan.steps"]),
        ({"plan": plan(*[task_pb2.PlanStep(input=json_payload(b'"' + b"x" * limits.MIB))] * 5)}, ["plan.steps"]),
        ({"goal": "a", "input": json_payload(b" " * (limits.MAX_INPUT_BYTES + 1))}, ["input"]),
        ({"goal": "a", "input": task_pb2.Payload(media_type="text/plain", data=b"1")}, ["input"]),
        ({"goal": "a", "documents": [document("a"), document("b"), document("a")]}, ["documents[2].name"]),
        ({"goal": "a", "documents": [document("")]}, ["documents[0].name"]),
        ({"goal": "a", "documents": [document("a\nb")]}, ["documents[0].name"]),
        ({"goal": "a", "documents": [document(media_type="markdown")]}, ["documents[0].media_type"]),
        ({"goal": "a", "documents": [document(data=b"x" * (limits.MAX_DOCUMENT_BYTES + 1))]}, ["documents"]),
        ({"goal": "a", "documents": [document(str(n)) for n in range(limits.MAX_DOCUMENTS + 1)]}, ["documents"]),
        ({"goal": "a", "paths": ["ok", "", "a\0b"]}, ["paths[1]", "paths[2]"]),
        ({"goal": "a", "paths": ["x"] * (limits.MAX_PATHS + 1)}, ["paths"]),
        ({"goal": "a", "labels": {f"k{n}": "" for n in range(limits.MAX_LABELS + 1)}}, ["labels"]),
        ({"goal": "a", "labels": {"k": "x" * (limits.MAX_LABEL_VALUE_CHARS + 1)}}, ["labels.k"]),
        ({"goal": "a", "priority": 9}, ["priority"]),
        ({"goal": "a", "deadline_ms": -1}, ["deadline_ms"]),
        ({"goal": "a", "deadline_ms": limits.MAX_DEADLINE_MS + 1}, ["deadline_ms"]),
        ({"goal": "a", "start_time": {"seconds": int(time.time()) + 366 * 86_400}}, ["start_time"]),
        ({"goal": "a", "start_time": {"seconds": 2**62}}, ["start_time"]),
        ({"goal": "a", "start_time": {"nanos": -1}}, ["start_time"]),
        ({"goal": "a", "template": "-x"}, ["template"]),
        ({"goal": "a", "template": "x" * 65}, ["template"]),
        ({"plan": task_pb2.Plan(steps=[task_pb2.PlanStep()], failure_policy=9)}, ["plan.failure_policy"]),
        ({"goal": "a", "paths": ["x" * 4096] * 7000}, ["spec"]),
        ({"goal": "a", "budget": {}}, ["budget.max_cost_microusd"]),
        (
            {"goal": "a", "budget": {"max_cost_microusd": limits.MAX_BUDGET_MICROUSD + 1, "on_limit": 9}},
            ["budget.max_cost_microusd", "budget.on_limit"],
        ),
        (
            {"goal": "a", "policy": {"allowed_agents": ["llm", "Not One"], "allowed_hosts": ["https://a.b"]}},
            ["policy.allowed_agents[1]", "policy.allowed_hosts[0]"],
        ),
        (
            {"goal": "a", "policy": {"allowed_tools": ["crm"], "allowed_recipients": ["", "x" * 256, "a\n"]}},
            ["policy.allowed_tools[0]", *(f"policy.allowed_recipients[{position}]" for position in range(3))],
        ),
        ({"goal": "a", "policy": {"allowed_tools": ["a/b"] * 101}}, ["policy.allowed_tools"]),
        (
            {"goal": "a", "policy": {"max_revisions": limits.MAX_REVISIONS + 1, "max_added_steps": -1}},
            ["policy.max_revisions", "policy.max_added_steps"],
        ),
    ],
)
def test_each_cap_and_shape_is_refused_by_its_field(spec, expected):
    found = fields(request_of(**spec))
    assert found[: len(expected)] == expected
    assert all(field.split("[")[0].split(".")[0] == expected[0].split("[")[0].split(".")[0] for field in found)


@given(st.integers(-62_135_596_800, int(time.time()) + 364 * 86_400))
def test_any_time_up_to_a_year_ahead_is_a_start(seconds):
    assert admitted_request_id(request_of("mine", goal="a", start_time={"seconds": seconds})) == "mine"


def test_every_violation_is_listed_at_once():
    request = request_of("a b", goal="a", priority=9, paths=[""], labels={"-": ""}, input=json_payload(b"{"))
    assert fields(request) == ["input", "paths[0]", "labels", "priority", "request_id"]


def test_a_plan_without_steps_is_an_invalid_plan():
    with pytest.raises(InvalidPlan):
        admitted_request_id(request_of(plan=plan()))


def test_a_bad_step_alone_is_left_to_the_dispatcher_which_lists_all_that_is_wrong():
    bad = task_pb2.PlanStep(name="a", agent="b", run_timeout_ms=-1)
    assert admitted_request_id(request_of("mine", plan=plan(bad))) == "mine"
    assert fields(request_of(plan=plan(bad), priority=9)) == ["plan.steps[0].run_timeout_ms", "priority"]
