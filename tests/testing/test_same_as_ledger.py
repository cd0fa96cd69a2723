"""Plans come to the same in memory as on the ledger, run by a worker: states, outputs, attempts, skips and events."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterator, Sequence
from typing import Any

import plan_agents
import pytest
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st
from real_plans import Ran, RealPlans

from waybill import TaskPolicy
from waybill.core.patch import Patch
from waybill.core.plan import PlanStep
from waybill.core.task import Event, EventType, StepState, TaskState
from waybill.progress import TaskProgress
from waybill.testing import PlanRun, Revision, run_plan

POLICY = TaskPolicy(max_revisions=100)
ANSWERS = {f"{kind}s{number}": {"ok": number % 2 == 0} for number in range(10) for kind in ("", "droppable-")}
NO_WAIT = {"max_attempts": 2, "initial_backoff_ms": 1, "max_backoff_ms": 1, "jitter": 0.0}
NUMBER = re.compile(r"(?<=of step )\d+")
"""Steps that are added side by side are numbered as they come."""
REPORTS = (EventType.STEP_TEXT, EventType.STEP_PROGRESS)
KINDS = ["echo", "echo", "plain-echo", "flaky", "hopeless", "undecided", "mapper", "question"]
Step = dict[str, Any]


def revised(failed: Sequence[str], pending: Sequence[str]) -> Patch:
    """Each step that failed has a substitute that succeeds, unless what follows it is to be dropped."""
    steps = [PlanStep(f"{name}-again", "echo", b'{"value":{"ok":true}}') for name in failed]
    drop = tuple(name for name in pending if name.startswith("droppable"))
    kept = {} if drop else {name: f"{name}-again" for name in failed}
    return Patch(tuple(steps), drop=drop, substitutes=kept, reason="once more")


def replan(revision: Revision) -> Patch:
    steps = revision.steps.values()
    failed = [step.name for step in steps if step.state is StepState.FAILED and not step.dropped]
    return revised(failed, [step.name for step in steps if step.state is StepState.PENDING])


@pytest.fixture
def real(embedded_url: str) -> Iterator[RealPlans]:
    """The real thing."""
    plans = RealPlans(embedded_url, POLICY, revised, ANSWERS)
    with plans.opened():
        yield plans


def references_to(names: Sequence[str]) -> st.SearchStrategy[list[str]]:
    if not names:
        return st.just([])
    paths = st.sampled_from(["", ".ok", ".missing", " | not_null(@.ok, `false`)"])
    return st.lists(st.builds(lambda name, path: f"${{{name}{path}}}", st.sampled_from(names), paths), max_size=2)


@st.composite
def steps(draw: st.DrawFn, number: int, before: Sequence[str], *, chained: bool, kinds: Sequence[str]) -> Step:
    step: Step = {"name": f"s{number}"}
    others = before[-1:] if chained else before
    value = {"ok": draw(st.booleans()), "of": draw(references_to(others))}
    kind = draw(st.sampled_from(kinds))
    if kind == "question":
        step |= {"question": {"prompt": "Go on?"}, "input": {"about": value}}
    else:
        inputs: dict[str, Step] = {
            "flaky": {"failures": draw(st.integers(0, 2)), "reason": draw(st.sampled_from(["LATER", "GONE"]))},
            "mapper": {
                "items": draw(st.lists(st.integers(0, 3), max_size=2, unique=True)),
                "result": chained or draw(st.booleans()),
            },
        }
        given_input = inputs.get(kind, {})
        if kind in ("echo", "plain-echo", "flaky"):
            given_input = {**given_input, "value": value}
        step |= {"agent": kind, "input": given_input, "retry": {**NO_WAIT, "final_reasons": ["GONE"]}}
    step["when"] = draw(references_to(others))
    step["after"] = list(others) if chained else draw(st.lists(st.sampled_from(others), max_size=2)) if others else []
    step["allow_skipped"] = draw(st.booleans())
    return step


@st.composite
def plans(draw: st.DrawFn, policy: str, *, chained: bool = False) -> dict[str, Any]:
    # Where others fail meanwhile, which of them a revision that one step asks for makes up for is a matter of time.
    kinds = KINDS if policy == "replan" or chained else [kind for kind in KINDS if kind != "undecided"]
    made: list[Step] = []
    for number in range(draw(st.integers(1, 6))):
        made.append(draw(steps(number, [step["name"] for step in made], chained=chained, kinds=kinds)))
    return {"steps": made, "failure_policy": policy}


def told(events: Sequence[Event], step: str) -> list[tuple[object, ...]]:
    """What events tell of a step, or of the task; times and the pieces of streamed text are the machine's."""
    return [
        (event.type, event.attempt, event.state, event.step_state, NUMBER.sub("", event.message), event.delay_ms,
         event.agent, event.failure and event.failure.reason, event.usage)
        for event in events
        if event.step == step and event.type not in REPORTS
    ]  # fmt: skip


def streamed(events: Sequence[Event], step: str) -> list[tuple[int, str]]:
    return [(event.attempt, event.text) for event in events if event.step == step and event.type is EventType.STEP_TEXT]


def assert_same(memory: PlanRun, real: Ran) -> None:
    assert {name: step.state for name, step in memory.steps.items()} == {
        name: step.state for name, step in real.steps.items()
    }
    for name, step in memory.steps.items():
        other = real.steps[name]
        assert step.output == (json.loads(other.output) if other.output else None)
        assert (step.attempts, step.usage, step.dropped) == (other.attempt, other.usage, other.dropped)
        if step.state is StepState.FAILED:
            assert step.failure == other.failure
        assert told(memory.events, name) == told(real.events, name)
        assert streamed(memory.events, name) == streamed(real.events, name)
    assert (memory.state, memory.usage) == (real.task.state, real.task.usage)
    if memory.state is TaskState.SUCCEEDED:
        assert memory.output == json.loads(real.output)
    assert [event.sequence for event in memory.events] == list(range(1, len(memory.events) + 1))
    fold = TaskProgress("")
    for event in memory.events:
        fold.apply(event)
    assert {name: step.state for name, step in fold.steps.items() if step.state is not StepState.PENDING} == {
        name: step.state for name, step in memory.steps.items()
    }
    assert (fold.state, fold.usage, fold.revision) == (memory.state, memory.usage, memory.revision)


def run_both(plan: dict[str, Any], real: RealPlans) -> tuple[PlanRun, Ran]:
    note(json.dumps(plan))
    memory = asyncio.run(
        run_plan(
            plan, [plan_agents], input={"n": 1}, policy=POLICY, answers=lambda asked: ANSWERS[asked.step], replan=replan
        )
    )
    return memory, real.run(plan)


# The suite that runs beside draws its own random numbers while a plan is drawn, which is held against the strategy.
pytestmark = pytest.mark.filterwarnings("ignore:Do not use the `random` module inside strategies")

several = settings(deadline=None, max_examples=40, suppress_health_check=list(HealthCheck))


@several
@given(plans("continue"))
def test_a_plan_that_goes_on_after_failures_comes_to_the_same(real: RealPlans, plan: dict[str, Any]) -> None:
    assert_same(*run_both(plan, real))


@several
@given(plans("stop", chained=True))
def test_a_chain_that_stops_at_a_failure_comes_to_the_same(real: RealPlans, plan: dict[str, Any]) -> None:
    assert_same(*run_both(plan, real))


@several
@given(plans("replan"))
def test_a_plan_that_is_revised_at_each_failure_comes_to_the_same(real: RealPlans, plan: dict[str, Any]) -> None:
    assert_same(*run_both(plan, real))


@several
@given(plans("replan", chained=True), st.integers(1, 6))
def test_a_chain_whose_rest_is_dropped_at_a_failure_comes_to_the_same(
    real: RealPlans, plan: dict[str, Any], first: int
) -> None:
    text = json.dumps(plan)
    for number in range(first, len(plan["steps"])):
        text = text.replace(f"s{number}", f"droppable-s{number}")
    assert_same(*run_both(json.loads(text), real))


@several
@given(plans("stop"))
def test_a_plan_that_stops_at_a_failure_fails_in_both(real: RealPlans, plan: dict[str, Any]) -> None:
    memory, ledger = run_both(plan, real)
    assert memory.state == ledger.task.state
    for name in memory.steps.keys() & ledger.steps.keys():
        if memory.steps[name].state is ledger.steps[name].state is StepState.SUCCEEDED:
            assert memory.steps[name].output == json.loads(ledger.steps[name].output)
