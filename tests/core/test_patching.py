"""Patches of plans that run: what may be added, dropped and replaced, and how the rest is refused."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from waybill.core.budget import TaskPolicy
from waybill.core.limits import MAX_PLAN_STEPS
from waybill.core.patch import LinkedPatch, Patch
from waybill.core.patching import KnownStep, link_patch
from waybill.core.plan import AgentSchema, Condition, PlanStep
from waybill.core.task import StepState
from waybill.errors import InvalidPlan

AGENTS = {
    name: AgentSchema(name, "", '{"type": "object", "properties": {"n": {"type": "integer"}}}')
    for name in ("echo", "other")
}
UNBOUND = TaskPolicy()
KNOWN = (
    KnownStep("done", StepState.SUCCEEDED),
    KnownStep("bad", StepState.FAILED),
    KnownStep("runs", StepState.RUNNING),
    KnownStep("next", StepState.PENDING, (2,)),
    KnownStep("last", StepState.PENDING, (3, 4)),
    KnownStep("queued", StepState.READY),
    KnownStep("out", StepState.SKIPPED, (), dropped=True),
)


def step(name: str, *after: str, agent: str = "echo", input: bytes = b"{}", when: tuple[str, ...] = ()) -> PlanStep:
    return PlanStep(name, agent, input=input, after=after, when=when)


def linked(
    *steps: PlanStep,
    drop: tuple[str, ...] = (),
    substitutes: Mapping[str, str] | None = None,
    reason: str = "",
    policy: TaskPolicy = UNBOUND,
    own_step: str = "",
) -> LinkedPatch:
    return link_patch(Patch(steps, drop, substitutes or {}, reason), KNOWN, AGENTS, policy, own_step)


def test_given_steps_that_refer_to_old_and_new_ones_then_their_edges_are_relative() -> None:
    patch = linked(
        step("a", "done", when=("${task.goal}",)),
        step("b", input=b'{"x": "${a}", "y": "${runs.z}"}', when=("${a.ok}",)),
        drop=("queued",),
        substitutes={"bad": "b", "queued": "a"},
        reason="better",
    )
    a, b = patch.steps
    assert (a.dependencies, a.references, a.conditions) == ((1,), (), (Condition("@.goal", 0),))
    assert (b.dependencies, b.references, b.conditions) == ((3, -1), (3, -1), (Condition("@.ok", -1),))
    assert (patch.drop, patch.substitutes, patch.reason, patch.known) == ((6,), ((2, -2), (6, -1)), "better", 7)


@pytest.mark.parametrize(
    ("patch", "field", "told"),
    [
        (Patch(), "patch.steps", "is empty, and nothing is dropped"),
        (Patch((step("done"),)), "patch.steps[0].name", "is the name of a step of the plan already"),
        (Patch((step("a"), step("a"))), "patch.steps[1].name", "is the name of patch.steps[0] already"),
        (Patch((step("a", agent="ecko"),)), "patch.steps[0].agent", "did you mean 'echo'?"),
        (Patch((step("a", agent="other"),)), "patch.steps[0].agent", "the task's policy does not allow agent other"),
        (Patch((step("a", "runz"),)), "patch.steps[0].after[0]", "did you mean 'runs'?"),
        (Patch((step("a", input=b'{"n": "x"}'),)), "patch.steps[0].input.n", "does not fit agent echo"),
        (Patch((step("a", when=("done",)),)), "patch.steps[0].when[0]", "is not one reference"),
        (Patch((step("a", "bad"),)), "patch.steps[0]", "depends on step bad, which will never succeed"),
        (Patch((step("a", "next"),)), "patch.steps[0]", "depends on step next, which will never succeed"),
        (Patch((step("a", "last"),)), "patch.steps[0]", "depends on step last, which will never succeed"),
        (Patch((step("a", "out"),)), "patch.steps[0]", "depends on step out, which will never succeed"),
        (Patch((step("a", "queued"),), ("queued",)), "patch.steps[0]", "depends on step queued, which will never"),
        (Patch((step("a", "b"), step("b", "a"))), "patch.steps[0]", "is on a cycle"),
        (Patch((step("a", "last"),), (), {"bad": "a"}), "patch.steps[0]", "is on a cycle"),
        (Patch(drop=("nexd",)), "patch.drop[0]", "did you mean 'next'?"),
        (Patch(drop=("runs",)), "patch.drop[0]", "step runs cannot be dropped: it is running"),
        (Patch(drop=("out",)), "patch.drop[0]", "step out cannot be dropped: it is skipped"),
        (Patch(drop=("next", "next")), "patch.drop[1]", "step next is named twice"),
        (Patch((step("a"),), (), {"queed": "a"}), "patch.substitutes.queed", "did you mean 'queued'?"),
        (Patch((step("a"),), (), {"bad": "b"}), "patch.substitutes.bad", "the patch adds no step 'b'"),
        (Patch((step("a"),), (), {"next": "a"}), "patch.substitutes.next", "it is pending, and is not dropped"),
        (Patch((step("a"),), (), {"done": "a"}), "patch.substitutes.done", "it is succeeded, and is not dropped"),
        (Patch((step("a"),), (), {}, "x" * 1_001), "patch.reason", "at most 1000 are allowed"),
    ],
)
def test_given_a_patch_that_does_not_fit_then_its_field_is_told(patch: Patch, field: str, told: str) -> None:
    with pytest.raises(InvalidPlan) as raised:
        link_patch(patch, KNOWN, AGENTS, TaskPolicy(allowed_agents=("echo",)))
    found = {violation.field: violation.description for violation in raised.value.violations}
    assert told in found[field]


def test_given_an_agent_then_it_replaces_its_own_step_alone_and_may_wait_for_what_is_to_be_revised() -> None:
    patch = linked(step("a", "done"), step("b", "next"), substitutes={"runs": "a"}, own_step="runs")
    assert patch.substitutes == ((3, -1),)
    with pytest.raises(InvalidPlan, match=r"patch\.substitutes\.bad: step bad cannot be replaced: it is failed"):
        linked(step("a"), substitutes={"bad": "a"}, own_step="runs")
    with pytest.raises(InvalidPlan, match="is on a cycle"):
        linked(step("a", "last"), substitutes={"runs": "a"}, own_step="runs")


def test_given_a_substitute_then_what_waits_for_it_may_be_waited_for() -> None:
    patch = linked(step("a"), step("b", "last"), substitutes={"bad": "a"})
    assert [found.dependencies for found in patch.steps] == [(), (5,)]


def test_given_a_policy_then_no_more_steps_are_added_than_it_allows() -> None:
    with pytest.raises(InvalidPlan, match=r"patch\.steps: are 2, and the task's policy allows 1"):
        linked(step("a"), step("b"), policy=TaskPolicy(max_added_steps=1))


def test_given_more_steps_than_a_plan_may_have_then_that_alone_is_told() -> None:
    steps = [step(f"s{at}", "nothing") for at in range(MAX_PLAN_STEPS)]
    with pytest.raises(InvalidPlan) as raised:
        linked(*steps)
    (violation,) = raised.value.violations
    assert violation.description == "make 10007 steps in all, and at most 10000 are allowed; add fewer"


def test_given_thousands_of_wrong_names_then_the_first_hundred_are_told() -> None:
    with pytest.raises(InvalidPlan) as raised:
        linked(drop=tuple(f"nothing-{at}" for at in range(5_000)))
    assert len(raised.value.violations) == 101
    assert raised.value.violations[-1].description == "and 4900 more violations, not listed"


NAMES = st.sampled_from([found.name for found in KNOWN] + ["a", "b", "c"])


@given(
    edges=st.dictionaries(st.sampled_from(["a", "b", "c"]), st.sets(NAMES, max_size=3), min_size=1),
    drop=st.sets(NAMES, max_size=2),
    substitutes=st.dictionaries(NAMES, NAMES, max_size=2),
    own_step=st.sampled_from(["", "runs"]),
)
def test_given_any_patch_then_it_is_refused_or_every_edge_leads_somewhere(
    edges: Mapping[str, set[str]], drop: set[str], substitutes: Mapping[str, str], own_step: str
) -> None:
    steps = [step(name, *sorted(after)) for name, after in edges.items()]
    try:
        patch = linked(*steps, drop=tuple(drop), substitutes=substitutes, own_step=own_step)
    except InvalidPlan as error:
        fields = [violation.field for violation in error.violations]
    else:
        fields = []
        _check_edges(patch, edges, drop, substitutes)
    assert all(field.startswith("patch.") for field in fields)


def _check_edges(
    patch: LinkedPatch, edges: Mapping[str, set[str]], drop: set[str], substitutes: Mapping[str, str]
) -> None:
    names = {number: known.name for number, known in enumerate(KNOWN, 1)}
    names |= {-number: added.step.name for number, added in enumerate(patch.steps, 1)}
    for added in patch.steps:
        assert {names[number] for number in added.dependencies} == edges[added.step.name]
    assert {names[number] for number in patch.drop} == drop
    assert {names[old]: names[new] for old, new in patch.substitutes} == substitutes
