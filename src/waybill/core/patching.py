"""Checking a patch of a plan that runs, and linking it: the same rules as for plans, and those of what stands already.

The ledger checks once more what may have changed meanwhile; what is refused here is told by field, to whoever wrote it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from waybill.core.budget import TaskPolicy
from waybill.core.limits import MAX_PLAN_STEPS
from waybill.core.patch import LinkedPatch, Patch
from waybill.core.plan import AgentSchema, Condition, LinkedStep
from waybill.core.task import StepState
from waybill.core.validation import Linking
from waybill.core.violations import closest, shown
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
    """The patch with its edges, if it fits the plan of `known` steps; `own_step` is whose agent asks for it.

    Raises `InvalidPlan` with all violations, by fields such as `patch.steps[0].agent`.
    """
    return _Patching(patch, known, agents, policy, own_step).run()


class _Patching:
    """One call of `link_patch`."""

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
        self._own_step = own_step
        self._agents = agents
        self._positions = {step.name: position for position, step in enumerate(known)}
        self._new = {step.name: position for position, step in enumerate(patch.steps)}
        self._found: list[Violation] = []

    def run(self) -> LinkedPatch:
        self._check_size()
        drop = self._dropped()
        substitutes = self._substitutes(drop)
        linking = Linking(self._patch.steps, self._agents, self._standing(substitutes), "patch")
        linked = linking.run()
        for position, step in enumerate(self._patch.steps):
            if step.agent in self._agents and not self._policy.allows_agent(step.agent):
                self._add(f"steps[{position}].agent", f"the task's policy does not allow agent {step.agent}")
        if linking.violations:
            self._found += linking.violations.listed("patch")
        self._check_edges(linked, drop)
        if self._found:
            raise InvalidPlan.of(self._found)
        return LinkedPatch(
            tuple(self._relative(step) for step in linked),
            tuple(position + 1 for position in drop),
            tuple((old + 1, -new - 1) for old, new in substitutes.items()),
            self._patch.reason,
        )

    def _add(self, field: str, problem: str) -> None:
        self._found.append(Violation(f"patch.{field}", problem))

    def _check_size(self) -> None:
        if not self._patch.steps and not self._patch.drop:
            self._add("steps", "is empty, and nothing is dropped; a patch changes something")
        total = len(self._known) + len(self._patch.steps)
        if total > MAX_PLAN_STEPS:
            self._add("steps", f"make {total} steps in all, and at most {MAX_PLAN_STEPS} are allowed")
        if len(self._patch.steps) > self._policy.max_added_steps:
            most = self._policy.max_added_steps
            self._add("steps", f"are {len(self._patch.steps)}, and the task's policy allows {most} to be added")

    def _dropped(self) -> list[int]:
        found = []
        for index, name in enumerate(self._patch.drop):
            position = self._positions.get(name)
            if position is None:
                self._add(f"drop[{index}]", f"the plan has no step {shown(name)}{closest(name, self._positions)}")
            elif self._known[position].state not in _MAY_BE_DROPPED or self._known[position].dropped:
                self._add(f"drop[{index}]", f"step {name} cannot be dropped: it is {self._known[position].state}")
            elif position in found:
                self._add(f"drop[{index}]", f"step {name} is named twice")
            else:
                found.append(position)
        return found

    def _substitutes(self, drop: Sequence[int]) -> dict[int, int]:
        found: dict[int, int] = {}
        for old, new in self._patch.substitutes.items():
            field, position = f"substitutes.{old}", self._positions.get(old)
            if new not in self._new:
                self._add(field, f"the patch adds no step {shown(new)}{closest(new, self._new)}")
            elif position is None:
                self._add(field, f"the plan has no step {shown(old)}{closest(old, self._positions)}")
            elif not self._replaceable(position, drop):
                state = self._known[position].state
                self._add(field, f"step {old} cannot be replaced: it is {state}, and not dropped")
            else:
                found[position] = self._new[new]
        return found

    def _replaceable(self, position: int, drop: Sequence[int]) -> bool:
        step = self._known[position]
        failed = step.state is StepState.FAILED and not step.dropped
        return position in drop or failed or step.name == self._own_step

    def _standing(self, substitutes: Mapping[int, int]) -> list[tuple[str, list[int]]]:
        """The plan's steps with what they will depend on once the substitutes are in place."""
        first = len(self._known)
        places = {old: first + new for old, new in substitutes.items()}
        return [(step.name, [places.get(at - 1, at - 1) for at in step.dependencies]) for step in self._known]

    def _check_edges(self, linked: Sequence[LinkedStep], drop: Sequence[int]) -> None:
        for index, step in enumerate(linked):
            for number in step.dependencies:
                if number > len(self._known):
                    continue
                needed = self._known[number - 1]
                if needed.dropped or needed.state in _NEVER_SUCCEEDS or number - 1 in drop:
                    self._add(f"steps[{index}]", f"depends on step {needed.name}, which will never succeed")

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
