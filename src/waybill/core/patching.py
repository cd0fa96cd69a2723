"""Checking a patch of a plan that runs, and linking it: the same rules as for plans, and those of what stands already.

The ledger checks once more what may have changed meanwhile; what is refused here is told by field, to whoever wrote it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

from waybill.core.budget import TaskPolicy
from waybill.core.edges import dependents_of
from waybill.core.limits import MAX_EVENT_MESSAGE_CHARS, MAX_PLAN_STEPS
from waybill.core.patch import LinkedPatch, Patch
from waybill.core.plan import AgentSchema, Condition, LinkedStep
from waybill.core.task import StepState
from waybill.core.validation import Linking
from waybill.core.violations import Violations, closest, shown
from waybill.errors import InvalidPlan, Violation

_MAY_BE_DROPPED = frozenset({StepState.PENDING, StepState.READY, StepState.BACKOFF})
_NEVER_SUCCEEDS = frozenset({StepState.FAILED, StepState.CANCELLED})


@dataclass(frozen=True, slots=True)
class KnownStep:
    """A step of the plan that runs: `dependencies` are positions, from 1. `dropped` ones are out for good."""

    name: str
    state: StepState
    dependencies: tuple[int, ...] = ()
    dropped: bool = False


def link_patch(
    patch: Patch,
    known: Sequence[KnownStep],
    agents: Mapping[str, AgentSchema],
    policy: TaskPolicy,
    own_step: str = "",
) -> LinkedPatch:
    """The patch with its edges, if it fits the plan of `known` steps; `own_step` is whose agent adds steps when it ends
    well. The planner's patch may make up for steps that failed, too.

    Raises `InvalidPlan` with all violations (the first hundreds, and how many more there are), by fields such as
    `patch.steps[0].agent`. A patch that names more steps than a plan may have is refused for that alone.
    """
    total = len(known) + len(patch.steps)
    if total > MAX_PLAN_STEPS:
        told = f"make {total} steps in all, and at most {MAX_PLAN_STEPS} are allowed; add fewer"
        raise InvalidPlan.of([Violation("patch.steps", told)])
    if max(len(patch.drop), len(patch.substitutes)) > MAX_PLAN_STEPS:
        raise InvalidPlan.of([Violation("patch", f"names more than {MAX_PLAN_STEPS} steps, which no plan has")])
    return _Patching(patch, known, agents, policy, own_step).run()


class _Patching:
    """One call of `link_patch`. Steps are positions from 0, those of the plan first."""

    def __init__(
        self,
        patch: Patch,
        known: Sequence[KnownStep],
        agents: Mapping[str, AgentSchema],
        policy: TaskPolicy,
        own_step: str,
    ) -> None:
        self._patch = patch
        self._known = known
        self._policy = policy
        self._agents = agents
        self._positions = {step.name: position for position, step in enumerate(known)}
        own = self._positions.get(own_step)
        self._own = own if own is not None and known[own].state is not StepState.FAILED else None
        self._new = {step.name: position for position, step in enumerate(patch.steps)}
        self._violations = Violations()

    def run(self) -> LinkedPatch:
        self._check_size()
        drop = self._dropped()
        substitutes = self._substitutes(drop)
        standing = self._standing(substitutes)
        linking = Linking(self._patch.steps, self._agents, standing, "patch")
        linked = linking.run()
        self._check_agents()
        self._check_edges(linked, self._lost(drop, [needed for _, needed in standing]))
        found = [*linking.violations.listed("patch"), *self._violations.listed("patch")]
        if found:
            raise InvalidPlan.of(found)
        return LinkedPatch(
            tuple(self._relative(step) for step in linked),
            tuple(position + 1 for position in drop),
            tuple((old + 1, -new - 1) for old, new in substitutes.items()),
            self._patch.reason,
            len(self._known),
        )

    def _check_size(self) -> None:
        add, patch, most = self._violations.add, self._patch, self._policy.max_added_steps
        if not patch.steps and not patch.drop:
            add("patch.steps", "is empty, and nothing is dropped; a patch changes something")
        if len(patch.steps) > most:
            add("patch.steps", f"are {len(patch.steps)}, and the task's policy allows {most} to be added")
        if len(patch.reason) > MAX_EVENT_MESSAGE_CHARS:
            told = f"has {len(patch.reason)} characters, and at most {MAX_EVENT_MESSAGE_CHARS} are allowed"
            add("patch.reason", told)

    def _check_agents(self) -> None:
        for position, step in enumerate(self._patch.steps):
            if step.agent in self._agents and not self._policy.allows_agent(step.agent):
                self._violations.add(
                    f"patch.steps[{position}].agent", f"the task's policy does not allow agent {step.agent}"
                )

    def _dropped(self) -> dict[int, None]:
        found: dict[int, None] = {}
        for index, name in enumerate(self._patch.drop):
            field, position = f"patch.drop[{index}]", self._positions.get(name)
            if position is None:
                self._violations.add(field, partial(self._unknown, name))
            elif self._known[position].state not in _MAY_BE_DROPPED:
                state = self._known[position].state
                self._violations.add(field, f"step {name} cannot be dropped: it is {state}; only what waits can")
            elif position in found:
                self._violations.add(field, f"step {name} is named twice")
            else:
                found[position] = None
        return found

    def _unknown(self, name: str) -> str:
        return f"the plan has no step {shown(name)}{closest(name, self._positions)}"

    def _not_added(self, name: str) -> str:
        return f"the patch adds no step {shown(name)}{closest(name, self._new)}"

    def _substitutes(self, drop: Mapping[int, None]) -> dict[int, int]:
        """The positions of steps of the plan, each with that of its substitute among the new ones."""
        found: dict[int, int] = {}
        for old, new in self._patch.substitutes.items():
            field, position = f"patch.substitutes.{old[:80]}", self._positions.get(old)
            if position is None:
                self._violations.add(field, partial(self._unknown, old))
            elif new not in self._new:
                self._violations.add(field, partial(self._not_added, new))
            elif not self._is_replaceable(position, drop):
                state = self._known[position].state
                self._violations.add(field, f"step {old} cannot be replaced: it is {state}, and is not dropped")
            else:
                found[position] = self._new[new]
        return found

    def _is_replaceable(self, position: int, drop: Mapping[int, None]) -> bool:
        step = self._known[position]
        if self._own is not None:
            return position in drop or position == self._own
        return position in drop or (step.state is StepState.FAILED and not step.dropped)

    def _standing(self, substitutes: Mapping[int, int]) -> list[tuple[str, list[int]]]:
        """The plan's steps with what they will depend on once the substitutes are in place."""
        first = len(self._known)
        places = {old: first + new for old, new in substitutes.items()}
        return [(step.name, [places.get(at - 1, at - 1) for at in step.dependencies]) for step in self._known]

    def _lost(self, drop: Iterable[int], dependencies: Sequence[Sequence[int]]) -> set[int]:
        """What can never succeed: what failed or is out, and all that depends on it once the patch is applied."""
        lost = {at for at, step in enumerate(self._known) if step.dropped or step.state in _NEVER_SUCCEEDS}
        # What waits for a failed step when an agent adds others may yet get a substitute, from the planner.
        reached = [*drop, *(lost if self._own is None else ())]
        lost.update(drop)
        dependents = dependents_of([*dependencies, *([] for _ in self._patch.steps)])
        while reached:
            for dependent in dependents[reached.pop()]:
                if dependent not in lost:
                    lost.add(dependent)
                    reached.append(dependent)
        return lost

    def _check_edges(self, linked: Sequence[LinkedStep], lost: set[int]) -> None:
        for index, step in enumerate(linked):
            for number in step.dependencies:
                if number - 1 in lost:
                    name = self._known[number - 1].name
                    self._violations.add(f"patch.steps[{index}]", f"depends on step {name}, which will never succeed")

    def _relative(self, linked: LinkedStep) -> LinkedStep:
        def place(number: int) -> int:
            return number if number <= len(self._known) else len(self._known) - number

        return replace(
            linked,
            dependencies=tuple(map(place, linked.dependencies)),
            dependents=(),
            references=tuple(map(place, linked.references)),
            conditions=tuple(Condition(item.path, place(item.number)) for item in linked.conditions),
        )
