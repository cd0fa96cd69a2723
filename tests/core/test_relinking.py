"""A plan of a known shape is linked as it would be as a whole, or left to that."""

from __future__ import annotations

from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from waybill.core.limits import MAX_INPUT_BYTES, MAX_PLAN_INPUT_BYTES
from waybill.core.plan import AgentSchema, Graph, Plan, PlanStep, Question
from waybill.core.relinking import takes_other_inputs, with_inputs
from waybill.core.validation import link
from waybill.errors import InvalidPlan

NUMBERS = '{"type":"object","properties":{"n":{"type":"integer","minimum":0}},"additionalProperties":false}'
AGENTS = {"counter": AgentSchema("counter", "", NUMBERS), "any": AgentSchema("any", "", '{"type":"object"}')}
SHAPE = (
    PlanStep("first", "counter"),
    PlanStep("second", "any", after=("first",), when=("${first.ok}",), limits=("db",)),
)
texts = st.sampled_from(["x", "${first.n}", "${task.input}", "$${", "${", "${nobody}", "{["])
members: st.SearchStrategy[Any] = st.integers(-1, 2) | texts | st.none() | st.lists(texts, max_size=2)
written = st.dictionaries(st.sampled_from("nm"), members, max_size=2).map(msgspec.json.encode)
broken = st.sampled_from([b"", b"[]", b"{", b'{"n":1}x', b'{"a":' * 70 + b"1" + b"}" * 70, b"\xff", b"null"])
inputs = st.tuples(written | broken, written | broken)


def plan_of(first: bytes, second: bytes) -> Plan:
    given_inputs = zip(SHAPE, (first, second), strict=True)
    return Plan(
        tuple(
            PlanStep(step.name, step.agent, data, step.after, when=step.when, limits=step.limits)
            for step, data in given_inputs
        )
    )


def linked(plan: Plan) -> Graph | None:
    try:
        return link(plan, AGENTS)
    except InvalidPlan:
        return None


@given(inputs)
def test_whatever_the_inputs_are_what_comes_out_is_the_graph_of_the_whole_plan(found: tuple[bytes, bytes]) -> None:
    known = link(plan_of(b'{"n":7}', b'{"m":"other"}'), AGENTS)
    assert takes_other_inputs(known)
    again, whole = with_inputs(known, found, AGENTS), linked(plan_of(*found))
    assert again is None or again == whole
    if whole is not None and takes_other_inputs(whole):
        assert again == whole


def test_inputs_that_are_too_large_are_left_to_the_whole() -> None:
    known = link(Plan(tuple(PlanStep(f"s{number}", "any") for number in range(5))), AGENTS)
    fitting = b'{"m":"%s"}' % (b"x" * (MAX_PLAN_INPUT_BYTES // 5 - 20))
    assert with_inputs(known, [fitting] * 5, AGENTS) is not None
    too_large = b'{"m":"%s"}' % (b"x" * MAX_INPUT_BYTES)
    assert with_inputs(known, [too_large, b"{}", b"{}", b"{}", b"{}"], AGENTS) is None
    too_much = b'{"m":"%s"}' % (b"x" * (MAX_PLAN_INPUT_BYTES // 5))
    assert with_inputs(known, [too_much] * 5, AGENTS) is None


def test_a_plan_that_asks_or_refers_has_a_graph_of_its_own() -> None:
    asks = Plan((PlanStep("asks", question=Question("Send it?")),))
    refers = Plan((PlanStep("first", "any"), PlanStep("second", "any", b'{"m":"${first.n}"}')))
    assert not takes_other_inputs(link(asks, AGENTS))
    assert not takes_other_inputs(link(refers, AGENTS))
