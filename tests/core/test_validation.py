"""Linking plans: valid ones become the right graph, invalid ones get every violation at once."""

import json
import random
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from waybill.core import limits
from waybill.core.plan import AgentSchema, FailurePolicy, Graph, Plan, PlanStep, Question, RetryPolicy
from waybill.core.validation import link
from waybill.errors import InvalidPlan

ECHO = AgentSchema("echo", "Returns its input.", '{"type":"object"}')
ASK = AgentSchema(
    "ask",
    "Answers a question.",
    json.dumps(
        {
            "type": "object",
            "properties": {"question": {"type": "string"}, "limit": {"type": "integer"}},
            "required": ["question"],
            "additionalProperties": False,
        }
    ),
)
AGENTS = {"echo": ECHO, "ask": ASK}


def step(name: str, agent: str = "echo", *, after: tuple[str, ...] = (), **inputs: object) -> PlanStep:
    return PlanStep(name, agent, json.dumps(inputs).encode(), after)


def violations_of(*steps: PlanStep) -> dict[str, str]:
    """Field paths with their descriptions, of a plan that must be refused."""
    with pytest.raises(InvalidPlan) as raised:
        link(Plan(steps), AGENTS)
    assert raised.value.reason == "PLAN_INVALID"
    return {violation.field: violation.description for violation in raised.value.violations}


def edges(graph: Graph) -> list[tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]]:
    return [(linked.dependencies, linked.dependents, linked.references) for linked in graph.steps]


def test_a_diamond_is_linked_by_after_and_by_reference_in_any_order() -> None:
    join = step("join", after=("left",), both=["${right.x}", "${left}"], goal="${task.goal}")
    graph = link(Plan((join, step("left", after=("top",)), step("right", top="${top}"), step("top"))), AGENTS)
    assert edges(graph) == [((2, 3), (), (0, 2, 3)), ((4,), (1,), ()), ((4,), (1,), (4,)), ((), (2, 3), ())]
    assert graph.steps[0].step is join


def test_an_edge_said_twice_is_one_edge() -> None:
    graph = link(Plan((step("a"), step("b", after=("a", "a"), x="${a.x}", y="${a.y}"))), AGENTS)
    assert edges(graph) == [((), (2,), ()), ((1,), (), (1,))]


def test_every_violation_of_a_plan_is_reported_at_once() -> None:
    found = violations_of(
        step("fetch", "ech"),
        step("fetch", "ask", question=5, extra=True),
        step("Bad name"),
        step("task"),
        step("self", after=("self", "nowhere", "task")),
        step("uses", first="${fetchh.x}", deep={"list": ["${nope..}", "${task.gaol}"]}),
        PlanStep("raw", "echo", b'{"a": NaN}'),
        PlanStep("array", "echo", b"[]"),
        step("round", after=("about",)),
        step("about", x="${round}"),
    )
    assert list(found) == [
        "plan.steps[0].agent",
        "plan.steps[1].name",
        "plan.steps[1].input.question",
        "plan.steps[1].input",
        "plan.steps[2].name",
        "plan.steps[3].name",
        "plan.steps[4].after[0]",
        "plan.steps[4].after[1]",
        "plan.steps[4].after[2]",
        "plan.steps[5].input.first",
        "plan.steps[5].input.deep.list[0]",
        "plan.steps[5].input.deep.list[1]",
        "plan.steps[6].input",
        "plan.steps[7].input",
        "plan.steps[8]",
    ]
    assert found["plan.steps[0].agent"] == "no agent is named 'ech'; did you mean 'echo'?; known agents: ask, echo"
    assert "plan.steps[0] already" in found["plan.steps[1].name"]
    assert "'extra' was unexpected" in found["plan.steps[1].input"]
    assert found["plan.steps[1].input.question"] == "does not fit agent ask: must be of type string, is integer"
    assert "lower-case letter" in found["plan.steps[2].name"]
    assert "reserved" in found["plan.steps[3].name"]
    assert "depends on itself" in found["plan.steps[4].after[0]"]
    assert found["plan.steps[5].input.first"] == "the plan has no step 'fetchh'; did you mean 'fetch'?"
    assert "is not JMESPath" in found["plan.steps[5].input.deep.list[0]"]
    assert "${task.goal} or ${task.input}" in found["plan.steps[5].input.deep.list[1]"]
    assert "not valid JSON" in found["plan.steps[6].input"]
    assert "not a JSON object" in found["plan.steps[7].input"]
    assert "'round' -> 'about' -> 'round'" in found["plan.steps[8]"]


@pytest.mark.parametrize("name", ["", "A", "1a", "a b", "a" * 65, "é", "a\n"])
def test_a_malformed_name_is_refused(name: str) -> None:
    assert list(violations_of(step(name))) == ["plan.steps[0].name"]


@pytest.mark.parametrize(
    "data", [b"", b"{", b'{"a":}', b'{"a":1e999}', b'{"a":"\xff"}', b'{"a":"\\ud800"}', b"[" * 5_000]
)
def test_an_input_that_is_not_json_is_refused(data: bytes) -> None:
    assert "not valid JSON" in violations_of(PlanStep("a", "echo", data))["plan.steps[0].input"]


@pytest.mark.parametrize(
    ("field", "wrong"),
    [
        ("retry.max_attempts", PlanStep("a", "echo", retry=RetryPolicy(max_attempts=0))),
        ("retry.max_attempts", PlanStep("a", "echo", retry=RetryPolicy(max_attempts=101))),
        ("retry.initial_backoff_ms", PlanStep("a", "echo", retry=RetryPolicy(initial_backoff_ms=-1))),
        ("retry.initial_backoff_ms", PlanStep("a", "echo", retry=RetryPolicy(initial_backoff_ms=3_600_001))),
        ("retry.max_backoff_ms", PlanStep("a", "echo", retry=RetryPolicy(max_backoff_ms=86_400_001))),
        ("retry.multiplier", PlanStep("a", "echo", retry=RetryPolicy(multiplier=0.9))),
        ("retry.multiplier", PlanStep("a", "echo", retry=RetryPolicy(multiplier=float("nan")))),
        ("retry.multiplier", PlanStep("a", "echo", retry=RetryPolicy(multiplier=float("inf")))),
        ("run_timeout_ms", PlanStep("a", "echo", run_timeout_ms=0)),
        ("run_timeout_ms", PlanStep("a", "echo", run_timeout_ms=86_400_001)),
    ],
)
def test_a_number_out_of_range_is_refused_with_its_range(field: str, wrong: PlanStep) -> None:
    assert "must lie between" in violations_of(wrong)[f"plan.steps[0].{field}"]


def test_the_ends_of_the_ranges_are_allowed() -> None:
    least = PlanStep("a", "echo", retry=RetryPolicy(1, 0, 0, 1.0), run_timeout_ms=1)
    most = PlanStep("b", "echo", retry=RetryPolicy(100, 3_600_000, 86_400_000, 10.0), run_timeout_ms=86_400_000)
    assert len(link(Plan((least, most)), AGENTS).steps) == 2


def asking(name: str = "ask", **fields: object) -> PlanStep:
    """A step that asks a person."""
    return PlanStep(name, question=Question(**{"prompt": "May I?", **fields}))


def test_a_question_is_linked_like_any_step_and_the_policy_is_kept() -> None:
    schema = '{"type":"object","properties":{"ok":{"type":"boolean"}}}'
    question = Question("Send it?", schema, 60_000, b'{"ok":false}')
    approve = PlanStep("approve", input=b'{"draft":"${draft.text}"}', question=question)
    send = step("send", go="${approve.ok}")
    graph = link(Plan((step("draft"), approve, send), FailurePolicy.CONTINUE), AGENTS)
    assert edges(graph) == [((), (2,), ()), ((1,), (3,), (1,)), ((2,), (), (2,))]
    assert graph.failure_policy is FailurePolicy.CONTINUE
    assert graph.steps[1].step is approve


@pytest.mark.parametrize(
    ("wrong", "field", "told"),
    [
        (replace(asking(), agent="echo"), "question", "exactly one of agent and question"),
        (replace(asking(), retry=RetryPolicy(max_attempts=1)), "retry", "no meaning"),
        (replace(asking(), run_timeout_ms=5), "run_timeout_ms", "no meaning"),
        (replace(asking(), queue_timeout_ms=5), "queue_timeout_ms", "no meaning"),
        (asking(prompt=""), "question.prompt", "has 0 characters"),
        (asking(prompt=" \n"), "question.prompt", "must say"),
        (asking(prompt="x" * 1_001), "question.prompt", "has 1001 characters"),
        (asking(timeout_ms=-1), "question.timeout_ms", "must lie between"),
        (asking(answer_schema="{"), "question.answer_schema", "not JSON"),
        (asking(answer_schema='{"type":"strin"}'), "question.answer_schema", "not a JSON Schema"),
        (asking(answer_schema=" " * (limits.MAX_SCHEMA_BYTES + 1)), "question.answer_schema", "at most 65536"),
        (asking(default_answer=b"{"), "question.default_answer", "not valid JSON"),
        (
            asking(default_answer=b'{"a":[1,"x"]}', answer_schema='{"properties":{"a":{"items":{"type":"integer"}}}}'),
            "question.default_answer.a[1]",
            "must be of type integer",
        ),
        (asking(default_answer=b"1", answer_schema='{"$ref":"#"}'), "question.answer_schema", "no end"),
        (replace(step("a"), queue_timeout_ms=-1), "queue_timeout_ms", "must lie between"),
        (replace(step("a"), retry=RetryPolicy(jitter=1.5)), "retry.jitter", "must lie between"),
        (replace(step("a"), retry=RetryPolicy(final_reasons=("lower",))), "retry.final_reasons[0]", "capital letter"),
    ],
)
def test_a_step_that_is_wrong_by_itself_is_told_where_and_why(wrong: PlanStep, field: str, told: str) -> None:
    found = violations_of(wrong)
    assert list(found) == [f"plan.steps[0].{field}"]
    assert told in found[f"plan.steps[0].{field}"]


def test_an_empty_plan_is_refused() -> None:
    assert "at least one step" in violations_of()["plan.steps"]


def test_caps_are_named_when_crossed() -> None:
    too_many = violations_of(*(step(f"s{number}") for number in range(limits.MAX_PLAN_STEPS + 1)))
    assert "at most 10000" in too_many["plan.steps"]
    large = violations_of(step("a", text="x" * limits.MAX_INPUT_BYTES))
    assert f"at most {limits.MAX_INPUT_BYTES}" in large["plan.steps[0].input"]
    total = violations_of(*(step(f"s{number}", text="x" * 900_000) for number in range(5)))
    assert f"at most {limits.MAX_PLAN_INPUT_BYTES}" in total["plan.steps"]
    entries = violations_of(step("a"), step("b", after=("a",) * (limits.MAX_DEPENDENCIES_PER_STEP + 1)))
    assert f"at most {limits.MAX_DEPENDENCIES_PER_STEP}" in entries["plan.steps[1].after"]
    deep = violations_of(PlanStep("a", "echo", b'{"a":' + b"[" * 70 + b"]" * 70 + b"}"))
    assert "nested more than 64 deep" in deep["plan.steps[0].input"]


def test_a_long_list_of_violations_ends_with_how_many_more_there_are() -> None:
    with pytest.raises(InvalidPlan) as raised:
        link(Plan(tuple(step(f"s{number}", "gone") for number in range(1_000))), AGENTS)
    assert len(raised.value.violations) == 101
    assert raised.value.violations[-1].description == "and 900 more violations, not listed"


def test_an_agent_whose_schema_is_broken_is_named() -> None:
    with pytest.raises(InvalidPlan, match="agent bad: the schema cannot be used"):
        link(Plan((step("a", "bad"), step("b", "bad"))), {"bad": AgentSchema("bad", "", "{")})


def test_a_chain_of_ten_thousand_and_a_fan_of_ten_thousand_are_linked() -> None:
    size = limits.MAX_PLAN_STEPS
    chain = [step("s0")] + [step(f"s{number}", x=f"${{s{number - 1}.x}}") for number in range(1, size)]
    linked = link(Plan(tuple(chain)), AGENTS).steps
    assert all(linked[number].dependencies == (number,) for number in range(1, size))
    join = step("join", parts=[f"${{s{number}}}" for number in range(size - 1)])
    fan = link(Plan((*(step(f"s{number}") for number in range(size - 1)), join)), AGENTS).steps
    assert fan[-1].dependencies == fan[-1].references == tuple(range(1, size))


@st.composite
def random_dags(draw: st.DrawFn) -> list[tuple[set[int], set[int]]]:
    """For each step the earlier steps it names in `after`, and those it refers to."""
    size = draw(st.integers(2, 15))
    earlier = [st.sets(st.integers(0, number - 1)) if number else st.just(set()) for number in range(size)]
    return [(draw(earlier[number]), draw(earlier[number])) for number in range(size)]


def plan_of(dag: list[tuple[set[int], set[int]]], order: list[int]) -> Plan:
    """The plan of a random graph, its steps written down in the given order."""
    steps = [
        step(
            f"s{number}", after=tuple(f"s{needed}" for needed in after), refs=[f"a ${{s{needed}.x}}" for needed in refs]
        )
        for number, (after, refs) in enumerate(dag)
    ]
    return Plan(tuple(steps[number] for number in order))


@given(random_dags(), st.randoms(use_true_random=False))
def test_any_acyclic_graph_is_linked_to_exactly_its_edges(
    dag: list[tuple[set[int], set[int]]], shuffler: random.Random
) -> None:
    order = list(range(len(dag)))
    shuffler.shuffle(order)
    position = {number: place + 1 for place, number in enumerate(order)}
    graph = link(plan_of(dag, order), AGENTS)
    for number, (after, refs) in enumerate(dag):
        linked = graph.steps[position[number] - 1]
        assert linked.dependencies == tuple(sorted(position[needed] for needed in after | refs))
        assert linked.references == tuple(sorted(position[needed] for needed in refs))
        dependents = [position[other] for other, edges in enumerate(dag) if number in edges[0] | edges[1]]
        assert linked.dependents == tuple(sorted(dependents))


@given(random_dags(), st.data())
def test_any_edge_back_is_reported_as_a_cycle(dag: list[tuple[set[int], set[int]]], data: st.DataObject) -> None:
    later = data.draw(st.integers(1, len(dag) - 1))
    earlier = data.draw(st.integers(0, later - 1))
    dag[later][0].add(earlier)
    dag[earlier][data.draw(st.integers(0, 1))].add(later)
    with pytest.raises(InvalidPlan) as raised:
        link(plan_of(dag, list(range(len(dag)))), AGENTS)
    assert len(raised.value.violations) >= 1
    assert all("is on a cycle" in violation.description for violation in raised.value.violations)


@given(st.lists(st.builds(PlanStep, st.text(), st.text(), st.binary(), st.lists(st.text()).map(tuple)), max_size=5))
def test_any_plan_is_either_linked_or_refused(steps: list[PlanStep]) -> None:
    with pytest.raises(InvalidPlan):
        link(Plan(tuple(steps)), {})
