"""Templates take typed parameters, and whatever those hold stays data."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from plan_values import values

from waybill.core.plan import AgentSchema, Plan
from waybill.core.references import resolve
from waybill.core.template import Template, make_template
from waybill.core.validation import link
from waybill.errors import InvalidArgument
from waybill.rpc.plans import plan_from_proto
from waybill.rpc.specs import plan_from_json

AGENTS = {"echo": AgentSchema("echo", "", "{}")}
ANY: dict[str, Any] = {}


def template(properties: dict[str, Any], required: tuple[str, ...] = (), **step: Any) -> Template:
    """A template of a step `first`, and a step `second` with these fields."""
    steps = [{"name": "first", "agent": "echo"}, {"name": "second", "agent": "echo", **step}]
    return make_template("try", "", properties, required, {"steps": steps})


def second(made: Template, **parameters: Any) -> Any:
    return made.expand(json.dumps(parameters).encode())["steps"][1]


def linked(plan: Any) -> Plan:
    made = plan_from_proto(plan_from_json(plan))
    link(made, AGENTS)
    return made


def test_a_text_that_is_one_reference_takes_the_parameter_with_its_type() -> None:
    made = template(
        {"x": ANY, "list": ANY, "ms": {"type": "integer"}, "flag": {"type": "boolean"}},
        input={"x": "${parameters.x}", "some": ["${parameters.list[1:]}", "a ${parameters.x}!", "$${parameters.x}"]},
        run_timeout_ms="${parameters.ms}",
        allow_skipped="${parameters.flag}",
        limits=["team-${parameters.x}"],
        retry={"max_attempts": "${parameters.ms}"},
    )
    assert second(made, x=5, list=[1, 2, {"a": None}], ms=7, flag=True) == {
        "name": "second",
        "agent": "echo",
        "input": {"x": 5, "some": [[2, {"a": None}], "a 5!", "$${parameters.x}"]},
        "run_timeout_ms": 7,
        "allow_skipped": True,
        "limits": ["team-5"],
        "retry": {"max_attempts": 7},
    }


def test_references_to_steps_and_the_task_stay_what_they_are() -> None:
    made = template({"x": ANY}, input={"a": "${parameters.x}: ${first.title} of ${ task.goal }", "b": "${first}"})
    assert second(made, x="A")["input"] == {"a": "A: ${first.title} of ${task.goal}", "b": "${first}"}


hostile_texts = st.one_of(
    st.text(max_size=6),
    st.lists(
        st.sampled_from(["$", "{", "}", "${", "$${", "first", "task.input", "nobody", "'", '"', "|"]), max_size=5
    ).map("".join),
)
hostile = st.recursive(
    values | hostile_texts,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(hostile_texts, inner, max_size=2),
    max_leaves=4,
)
TEXTS = [
    "${parameters.a}",
    "${parameters.a}${parameters.b}",
    "${parameters.a}{task.input}",
    "x${parameters.a}${first}",
    "${first}${parameters.a}{first}",
    "$${${parameters.b}}",
    "${parameters.b}${first.t}${parameters.a}",
]


@given(a=hostile, b=hostile_texts, text=st.sampled_from(TEXTS))
@settings(max_examples=150, deadline=None)
def test_what_a_parameter_holds_is_never_a_reference(a: Any, b: str, text: str) -> None:
    if a is None:
        return
    made = template({"a": ANY, "b": ANY}, input={"text": text})
    plan = linked(made.expand(msgspec.json.encode({"a": a, "b": b})))
    assert [step.name for step in plan.steps] == ["first", "second"]
    roots = {"first": b'{"t":"T"}', "task": b'{"goal":"G","input":{}}'}
    found = msgspec.json.decode(resolve(plan.steps[1].input, roots))["text"]
    if text == "${parameters.a}":
        assert found == a
        return
    written = a if isinstance(a, str) else msgspec.json.encode(a).decode()
    wanted = {
        "${parameters.a}${parameters.b}": written + b,
        "${parameters.a}{task.input}": written + "{task.input}",
        "x${parameters.a}${first}": f'x{written}{{"t":"T"}}',
        "${first}${parameters.a}{first}": f'{{"t":"T"}}{written}{{first}}',
        "$${${parameters.b}}": f"${{{b}}}",
        "${parameters.b}${first.t}${parameters.a}": f"{b}T{written}",
    }
    assert found == wanted[text]


@given(text=hostile_texts)
@settings(max_examples=60, deadline=None)
def test_a_question_and_its_default_say_what_a_parameter_holds(text: str) -> None:
    question = {"prompt": "Is it ${parameters.x}?", "default_answer": {"said": "${parameters.x}", "by": "$${me}"}}
    steps = [{"name": "only", "question": question}]
    made = make_template("try", "", {"x": ANY}, (), {"steps": steps})
    asked = made.expand(msgspec.json.encode({"x": text}))["steps"][0]["question"]
    assert asked == {"prompt": f"Is it {text}?", "default_answer": {"said": text, "by": "${me}"}}


def test_a_condition_may_be_a_parameter() -> None:
    made = template({"deep": {"type": "boolean"}, "list": ANY}, when=["${parameters.deep}", "${parameters.list | [0]}"])
    for parameters, holds in (({"deep": True, "list": [1]}, [True, True]), ({"deep": False}, [False, False])):
        when = second(made, **parameters)["when"]
        assert when == ["${task | `true`}" if held else "${task | `false`}" for held in holds]
    linked(made.expand(b"{}"))


def test_defaults_stand_for_what_is_not_given_and_null_for_what_has_none() -> None:
    made = template(
        {"x": {"type": "integer", "default": 5}, "y": ANY, "z": ANY},
        ("z",),
        input={"x": "${parameters.x}", "y": "${parameters.y}", "all": "${parameters}"},
    )
    assert second(made, z=1)["input"] == {"x": 5, "y": None, "all": {"z": 1, "x": 5}}
    assert second(made, z=1, x=6, y=7)["input"] == {"x": 6, "y": 7, "all": {"z": 1, "x": 6, "y": 7}}


@pytest.mark.parametrize(
    ("parameters", "field", "problem"),
    [
        (b'{"z": 1, "qestion": 1}', "parameters.qestion", "did you mean 'question'?; known parameters: question, z"),
        (b"{}", "parameters.z", "is required"),
        (b'{"z": 1, "question": 5}', "parameters.question", "must be of type string"),
        (b"[]", "parameters", "must be a JSON object"),
        (b"{", "parameters", "not valid JSON"),
        (b'{"z": null}', "parameters", "is null there, among text"),
        (b'{"z": 1, "question": "x", "deep": ' + b"[" * 10_000, "parameters", "not valid JSON"),
        (b'{"z": "' + b"x" * 2**20 + b'"}', "parameters", "over the limit"),
    ],
)
def test_parameters_that_do_not_fit_are_refused_by_name(parameters: bytes, field: str, problem: str) -> None:
    made = template({"question": {"type": "string"}, "z": ANY}, ("z",), input={"x": "about ${parameters.z}"})
    with pytest.raises(InvalidArgument) as refused:
        made.expand(parameters)
    assert refused.value.violations[0].field == field
    assert problem in refused.value.violations[0].description


def test_parameters_cannot_grow_a_plan_without_bounds() -> None:
    made = template({"x": ANY}, input={"x": ["${parameters.x}"] * 100})
    with pytest.raises(InvalidArgument, match="grow over"):
        second(made, x="y" * 500_000)


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"name": "No Name"}, "name"),
        ({"properties": {"not a name": ANY}}, 'parameters["not a name"]'),
        ({"properties": {"x": {"type": "nothing"}}}, "parameters"),
        ({"properties": {"x": {"type": "integer", "default": "five"}}}, "parameters.x.default"),
        ({"required": ("y",)}, "required[0]"),
        ({"properties": {"x": {"default": 1}}, "required": ("x",)}, "required[0]"),
        ({"step": {"input": {"a": "${parameters.y}"}}}, "plan.steps[0].input.a"),
        ({"step": {"input": {"a": "${parameters.x"}}}, "plan.steps[0].input.a"),
        ({"step": {"name": "${parameters.x}"}}, "plan.steps[0].name"),
        ({"step": {"after": ["${parameters.x}"]}}, "plan.steps[0].after[0]"),
        ({"step": {"when": ["${parameters.x}!"]}}, "plan.steps[0].when[0]"),
        ({"step": {"name": "parameters"}}, "plan.steps[0].name"),
        ({"description": "x" * 2_000}, "description"),
    ],
)
def test_a_template_that_could_never_be_used_is_refused(changed: dict[str, Any], field: str) -> None:
    step = {"name": "only", "agent": "echo", **changed.pop("step", {})}
    whole = {"name": "try", "description": "", "properties": {"x": ANY}, "required": (), "plan": {"steps": [step]}}
    with pytest.raises(InvalidArgument) as refused:
        make_template(**{**whole, **changed})
    assert field in {violation.field for violation in refused.value.violations}


def test_the_skeleton_is_a_plan_to_check_without_parameters() -> None:
    made = template(
        {"x": ANY},
        agent="${parameters.x}",
        input={"a": "${parameters.x} and ${first.b}", "b": "$${c} ${parameters}"},
        run_timeout_ms="${parameters.x}",
        retry={"max_attempts": "${parameters.x}", "jitter": 0.1},
        when=["${parameters.x}", "${first.ok}"],
        limits=["${parameters.x}"],
    )
    assert made.skeleton()["steps"][1] == {
        "name": "second",
        "agent": "agent",
        "input": {"a": "${task.input} and ${first.b}", "b": "$${c} ${task.input}"},
        "retry": {"jitter": 0.1},
        "when": ["${first.ok}"],
    }
