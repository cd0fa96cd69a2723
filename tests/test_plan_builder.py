"""A plan that is built in Python is the plan that its YAML and JSON say."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given, settings
from plan_values import plan_values

from waybill import PlanBuilder, agent
from waybill.core.plan import Plan, RetryPolicy
from waybill.errors import InvalidPlan
from waybill.plan_file import read_plan_file
from waybill.resources import Submission
from waybill.rpc.plans import plan_from_proto, plan_to_proto


@agent
async def shorten(text: str, words: int = 10) -> str:
    """The text, shortened."""
    return " ".join(text.split()[:words])


def read(text: str) -> Plan:
    return plan_from_proto(read_plan_file(text.encode(), "plan").plan)


def built(value: dict[str, Any]) -> PlanBuilder:
    """A builder that is told all that a plan's JSON value says."""
    plan = PlanBuilder(failure_policy=value.get("failure_policy", "stop"))
    for step in value["steps"]:
        options = {
            name: step[name]
            for name in ("after", "when", "allow_skipped", "run_timeout_ms", "queue_timeout_ms", "limits", "input")
            if name in step
        }
        if step.get("retry"):
            options["retry"] = RetryPolicy(
                **{
                    name: tuple(item) if name == "final_reasons" else item
                    for name, item in step["retry"].items()
                    if item is not None
                }
            )
        if "agent" in step:
            plan.step(step["name"], step["agent"], **options)
            continue
        question = step["question"]
        for name, option in (("answer_schema", "schema"), ("timeout_ms", "timeout_ms"), ("default_answer", "default")):
            if name in question:
                options[option] = question[name]
        plan.ask(step["name"], question["prompt"], **options)
    return plan


@given(plan_values())
@settings(max_examples=120, deadline=None)
def test_yaml_and_json_of_a_builder_are_the_plan_that_it_builds(value: dict[str, Any]) -> None:
    plan = built(value)
    made = plan.build()
    assert read(plan.to_yaml()) == made
    assert read(plan.to_json()) == made
    assert plan_from_proto(plan_to_proto(made)) == made


def test_a_builder_reads_like_the_graph_it_makes() -> None:
    plan = PlanBuilder(failure_policy="continue")
    find = plan.step("find", "retriever", question=plan.task.input.question, limits=["eu"])
    drafts = [
        plan.step(f"draft-{number}", "writer", about=find["documents"][number].title, retry=RetryPolicy(max_attempts=5))
        for number in range(2)
    ]
    approve = plan.ask("approve", "Send it?", schema={"type": "boolean"}, timeout_ms=1000, default=False, drafts=drafts)
    last = plan.step(
        "send",
        "mailer",
        input={"after": f"{plan.task.goal}: {find.output['odd key']}"},
        total=find.output.documents | "length(@)",
        tail=find.output.documents[1:],
        after=["approve", drafts[0]],
        when=[approve.output],
        allow_skipped=True,
    )
    assert (
        read(
            """
failure_policy: continue
steps:
- {name: find, agent: retriever, input: {question: "${task.input.question}"}, limits: [eu]}
- {name: draft-0, agent: writer, input: {about: "${find.documents[0].title}"}, retry: {max_attempts: 5}}
- {name: draft-1, agent: writer, input: {about: "${find.documents[1].title}"}, retry: {max_attempts: 5}}
- name: approve
  input: {drafts: ["${draft-0}", "${draft-1}"]}
  question: {prompt: "Send it?", answer_schema: {type: boolean}, timeout_ms: 1000, default_answer: false}
- name: send
  agent: mailer
  input:
    after: '${task.goal}: ${find."odd key"}'
    total: ${find.documents | length(@)}
    tail: ${find.documents[1:]}
  after: [approve, draft-0]
  when: ["${approve}"]
  allow_skipped: true
"""
        )
        == plan.build()
    )
    assert [step.name for step in plan] == ["find", "draft-0", "draft-1", "approve", last.name]
    assert plan["send"].name == "send"


def test_the_input_of_an_agent_that_is_known_is_checked_at_once() -> None:
    plan = PlanBuilder()
    first = plan.step("first", shorten, text=plan.task.goal, words=5)
    plan.step("second", shorten, text=f"And {first}", words=first.output)
    for parameters in ({"text": 5}, {"text": "a", "wrds": 5}, {"words": 5}):
        with pytest.raises(InvalidPlan, match=r"plan\.steps\[2\]\.input.*does not fit agent shorten"):
            plan.step("third", shorten, **parameters)
    assert len(plan.build().steps) == 2


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        (lambda plan: plan.step("first", "echo"), "unique"),
        (lambda plan: plan.step("task", "echo"), "no step name"),
        (lambda plan: plan.step("Not One", "echo"), "no step name"),
        (lambda plan: plan.step("next", "echo", input={"a": object()}), "JSON"),
        (lambda plan: plan.step("next", "echo", input={1: 2}), "JSON"),
        (lambda plan: plan.step("next", shorten, text="${oops"), "closed"),
    ],
)
def test_a_step_that_will_not_do_is_refused_where_it_is_written(wrong: Any, told: str) -> None:
    plan = PlanBuilder()
    plan.step("first", "echo")
    with pytest.raises(InvalidPlan, match=told):
        wrong(plan)
    assert [step.name for step in plan] == ["first"]


def test_building_refuses_what_only_the_whole_plan_tells() -> None:
    plan = PlanBuilder()
    plan.step("first", "echo", after=["second"])
    plan.step("second", "echo", after=["first", "nobody"])
    plan.step("third", "Not An Agent", text="${elsewhere.title}")
    with pytest.raises(InvalidPlan) as refused:
        plan.build()
    told = " ".join(violation.description for violation in refused.value.violations)
    assert "cycle" in told
    assert "nobody" in told
    assert "elsewhere" in told
    assert "no agent name" in told
    with pytest.raises(InvalidPlan, match="empty"):
        PlanBuilder().build()


def test_text_from_elsewhere_can_be_kept_from_being_a_reference() -> None:
    hostile = {"text": "${task.input.secret} $${", "list": ("${first}",)}
    plan = PlanBuilder()
    plan.step("first", "echo", about=plan.literal(hostile))
    assert plan.build().steps[0].input == b'{"about":{"text":"$${task.input.secret} $$${","list":["$${first}"]}}'


def test_a_reference_is_no_value_yet() -> None:
    plan = PlanBuilder()
    first = plan.step("first", "echo")
    for misuse in (lambda: bool(first.output.ok), lambda: list(first.output), lambda: "a" in first.output):
        with pytest.raises(TypeError):
            misuse()
    for misuse in (
        lambda: plan.step("next", "echo", after=first),
        lambda: plan.step("next", "echo", when=first.output),
        lambda: plan.step("next", "echo", after="first"),
    ):
        with pytest.raises(TypeError, match=r"write (after|when)="):
            misuse()
    assert str(copy.copy(first.output.a)) == "${first.a}"


def test_a_builder_is_submitted_as_the_plan_it_builds() -> None:
    plan = PlanBuilder()
    plan.step("first", shorten, text="a b")
    assert Submission(plan=plan).spec() == Submission(plan=plan.build()).spec()
    with pytest.raises(InvalidPlan):
        Submission(plan=PlanBuilder()).spec()
