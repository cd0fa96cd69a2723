"""Plans and patches drawn at random."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from ledger_transitions import ModelTask

from waybill.core.budget import TaskPolicy
from waybill.core.patch import LinkedPatch, Patch
from waybill.core.patching import KnownStep, link_patch
from waybill.core.plan import AgentSchema, FailurePolicy, Graph, Plan, PlanStep, Question, RetryPolicy
from waybill.core.task import StepState
from waybill.core.validation import link
from waybill.errors import InvalidPlan

AGENTS = ("echo", "slow")
RETRIES = (
    RetryPolicy(max_attempts=3, initial_backoff_ms=50, max_backoff_ms=200, jitter=0.0, final_reasons=("GONE",)),
    RetryPolicy(max_attempts=1, jitter=0.0),
)
QUESTIONS = (Question("go?"), Question("go?", timeout_ms=400), Question("go?", timeout_ms=400, default_answer=b'"yes"'))
POLICIES = (FailurePolicy.STOP, FailurePolicy.CONTINUE, FailurePolicy.REPLAN, FailurePolicy.REPLAN)
_SCHEMAS = {name: AgentSchema(name, "", '{"type": "object"}') for name in AGENTS}
_UNBOUND = TaskPolicy(max_added_steps=10_000)


def random_step(random: Random, name: str, before: Sequence[str]) -> PlanStep:
    """A step that comes after some of `before`: it waits for them, refers to them, or has a condition on them."""
    needed = [other for other in before if random.random() < 0.4]
    referred = [other for other in needed if random.random() < 0.5]
    wanted = random.choice([*before, "task.input"]) if random.random() < 0.2 else ""
    fields = b",".join(b'"%s": "${%s}"' % (other.encode(), other.encode()) for other in referred)
    common = {
        "input": b"{" + fields + b"}",
        "after": tuple(other for other in needed if other not in referred),
        "when": (f"${{{wanted}}}",) if wanted else (),
        "allow_skipped": random.random() < 0.4,
    }
    if random.random() < 0.15:
        return PlanStep(name, question=random.choice(QUESTIONS), **common)
    return PlanStep(
        name,
        random.choice(AGENTS),
        retry=random.choice(RETRIES),
        run_timeout_ms=random.choice([1_000, 60_000, 60_000]),
        queue_timeout_ms=random.choice([0] * 9 + [700]),
        **common,
    )


def random_graph(random: Random) -> Graph:
    """A graph of up to six steps, some of which ask a person or have conditions."""
    steps: list[PlanStep] = []
    for at in range(random.randint(1, 6)):
        steps.append(random_step(random, f"s{at}", [step.name for step in steps]))
    return link(Plan(tuple(steps), random.choice(POLICIES)), _SCHEMAS)


def random_patch(random: Random, task: ModelTask, fresh: str, own: str = "") -> LinkedPatch | None:
    """A patch of a plan as it stands: of the planner, or of the agent that runs step `own`. None if it is not valid.

    Names of new steps begin with `fresh`, but for some that others may choose as well.
    """
    known = [KnownStep(step.name, step.state, tuple(step.dependencies), step.dropped) for step in task.steps.values()]
    droppable = {StepState.PENDING, StepState.READY, StepState.BACKOFF}
    drop = [step.name for step in known if step.state in droppable and random.random() < (0.1 if own else 0.25)]
    failed = [step.name for step in known if step.state is StepState.FAILED and not step.dropped]
    # What follows on steps that get no substitute is lost, and what follows on those that do must not come before it;
    # sometimes nobody has thought of that.
    avoided = _followers(task, {own} if own else {*drop, *failed}) if random.random() < 0.9 else set()
    lost = {step.name for step in known if step.dropped or step.state in (StepState.FAILED, StepState.CANCELLED)}
    before = [step.name for step in known if step.name not in {*lost, *drop, *avoided}]
    steps: list[PlanStep] = []
    for at in range(random.randint(0 if drop else 1, 3)):
        name = f"same-{at}" if random.random() < 0.2 else f"{fresh}-{at}"
        steps.append(random_step(random, name, [*before, *(step.name for step in steps)]))
    old = [*drop, *([own] if own else failed)]
    places = random.sample(steps, random.randint(1, len(steps))) if steps else []
    substitutes = {name: random.choice(places).name for name in old if places and random.random() < 0.7}
    try:
        return link_patch(Patch(tuple(steps), tuple(drop), substitutes, "at random"), known, _SCHEMAS, _UNBOUND, own)
    except InvalidPlan:
        return None


def _followers(task: ModelTask, names: set[str]) -> set[str]:
    reached = [step for step in task.steps.values() if step.name in names]
    found: set[str] = set()
    while reached:
        for other in task.dependents(reached.pop()):
            if other.name not in found:
                found.add(other.name)
                reached.append(other)
    return found
