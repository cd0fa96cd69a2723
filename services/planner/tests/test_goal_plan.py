"""Plans for goals."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from waybill_planner.goal_plan import plan_of_goal
from waybill_planner.questions import questions_of

from waybill.agent import load_agents
from waybill.core.plan import AgentSchema, Plan
from waybill.core.references import references_of, resolve
from waybill.core.validation import link


@pytest.fixture(scope="module")
def agents() -> dict[str, AgentSchema]:
    """The agents that ship, found as a worker finds them."""
    return {
        name: AgentSchema(name, found.description, found.input_schema, found.output_schema, found.max_batch)
        for name, found in load_agents([]).items()
    }


def inputs(plan: Plan) -> dict[str, dict[str, object]]:
    return {step.name: json.loads(step.input) for step in plan.steps}


def test_each_question_is_retrieved_and_analysed_and_one_writer_joins_them() -> None:
    plan = plan_of_goal("What is a lease and how does it expire?", ["docs", "README.md"])
    assert inputs(plan) == {
        "retrieve-1": {"question": "What is a lease?", "paths": ["docs", "README.md"]},
        "analyse-1": {
            "question": "What is a lease?",
            "passages": "${retrieve-1.passages}",
            "warnings": "${retrieve-1.warnings}",
        },
        "retrieve-2": {"question": "How does a lease expire?", "paths": ["docs", "README.md"]},
        "analyse-2": {
            "question": "How does a lease expire?",
            "passages": "${retrieve-2.passages}",
            "warnings": "${retrieve-2.warnings}",
        },
        "write": {"goal": "${task.goal}", "sections": ["${analyse-1}", "${analyse-2}"]},
    }


def test_questions_do_not_wait_for_each_other(agents: dict[str, AgentSchema]) -> None:
    graph = link(plan_of_goal("Explain batching, fencing and retries"), agents)
    assert [linked.dependencies for linked in graph.steps] == [(), (1,), (), (3,), (), (5,), (2, 4, 6)]
    assert [linked.step.agent for linked in graph.steps] == ["retriever", "analyst"] * 3 + ["writer"]
    assert graph.steps[-1].references == (0, 2, 4, 6)


@given(goal=st.text(min_size=1).map(lambda text: f"x{text} ${{task.goal}} and ${{a"), path=st.text())
def test_whatever_a_goal_says_it_stays_data(agents: dict[str, AgentSchema], goal: str, path: str) -> None:
    plan = plan_of_goal(goal, [path, "${retrieve-1}"])
    assert len(link(plan, agents).steps) == len(plan.steps)
    retrieval = plan.steps[0].input
    assert references_of(json.loads(retrieval)) == []
    assert json.loads(resolve(retrieval, {})) == {"question": questions_of(goal)[0], "paths": [path, "${retrieve-1}"]}
