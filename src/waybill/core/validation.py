"""Checking a plan and linking it into a graph: the one place that decides which plans may run.

`link` looks at everything and reports every violation at once, each with its field path, such as
`plan.steps[2].input.question`; steps are counted from 0 there, as in any JSON path.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import partial, reduce
from typing import Any

import msgspec

from waybill.core.edges import cycles_of, dependents_of
from waybill.core.keywords import Allowance
from waybill.core.limits import (
    AGENT_NAME,
    MAX_CONDITIONS,
    MAX_DEPENDENCIES_PER_STEP,
    MAX_INPUT_BYTES,
    MAX_PLAN_INPUT_BYTES,
    MAX_PLAN_STEPS,
    RESERVED_STEP_NAMES,
    STEP_NAME,
)
from waybill.core.plan import AgentSchema, Condition, Graph, LinkedStep, Plan, PlanStep
from waybill.core.references import MAX_INPUT_DEPTH, Reference, below, may_hold_references, parse, strings_of
from waybill.core.schema import COSTLY, misfits, with_unknowns
from waybill.core.step_rules import question_defects, range_defects
from waybill.core.violations import Violations, closest, listing, shown
from waybill.errors import InvalidArgument, InvalidPlan, Permanent, Violation

MAX_PLAN_DEPENDENCIES = 1_000_000
"""Most edges of a plan, over all its steps."""
MAX_CYCLE_STEPS_SHOWN = 10

_NAME_RULE = 'use a lower-case letter, then up to 63 of a-z, 0-9, "_" and "-"'
_TASK_FIELDS = frozenset({"goal", "input"})
_FIRST_FIELD = re.compile(r"@\s*\.\s*(\w+)(?!\w*\s*\()")


def link(plan: Plan, agents: Mapping[str, AgentSchema], *, closed: bool = True) -> Graph:
    """The plan's graph, if it can run with the given agents, which are keyed by name.

    Unless `closed`, there may be other agents too, of which nothing is known but their names.

    Raises `InvalidPlan` with all violations (the first hundred, and how many more there are). A plan over
    MAX_PLAN_STEPS is refused for that alone.
    """
    if not plan.steps:
        raise InvalidPlan.of([Violation("plan.steps", "is empty; a plan needs at least one step")])
    if len(plan.steps) > MAX_PLAN_STEPS:
        problem = f"has {len(plan.steps)} steps, and at most {MAX_PLAN_STEPS} are allowed; split the task"
        raise InvalidPlan.of([Violation("plan.steps", problem)])
    linking = Linking(plan.steps, agents, closed=closed)
    steps = linking.run()
    if linking.violations:
        raise InvalidPlan.of(linking.violations.listed("plan"))
    return Graph(steps, plan.failure_policy)


class Linking:
    """Finds what is wrong with steps, and their edges. Steps are positions from 0 here.

    `standing` are the steps of a plan that runs, to which these are added: names to refer to, each with what it depends
    on; their positions come first. `field` is where the steps stand in what is checked.
    """

    def __init__(
        self,
        steps: Sequence[PlanStep],
        agents: Mapping[str, AgentSchema],
        standing: Sequence[tuple[str, Sequence[int]]] = (),
        field: str = "plan",
        *,
        closed: bool = True,
    ) -> None:
        self.violations = Violations()
        self._steps = steps
        self._first = len(standing)
        self._field = field
        self._agents = agents
        self._closed = closed
        self._names = [*(name for name, _ in standing), *(step.name for step in steps)]
        self._positions: dict[str, int] = {}
        for position, name in enumerate(self._names):
            self._positions.setdefault(name, position)
        self._dependencies: list[list[int]] = [list(needed) for _, needed in standing]
        self._references: list[tuple[int, ...]] = []
        self._conditions: list[tuple[Condition, ...]] = []
        self._broken_schemas: dict[str, str] = {}
        self._allowance = Allowance()

    def run(self) -> tuple[LinkedStep, ...]:
        """The steps with their edges, counted from 1; of use only if there are no `violations`."""
        self._check_size()
        for position, step in enumerate(self._steps, self._first):
            field = self._path(position)
            self._check_name(step, position, field)
            for below_step, problem in (*range_defects(step), *question_defects(step, self._allowance)):
                self.violations.add(f"{field}.{below_step}", problem)
            known = self._check_agent(step, field)
            needed: dict[int, None] = {}
            self._follow_after(step, position, field, needed)
            self._references.append(self._check_input(step, position, field, needed, known))
            self._conditions.append(self._follow_conditions(step, position, field, needed))
            self._dependencies.append(sorted(needed))
        if sum(map(len, self._dependencies)) > MAX_PLAN_DEPENDENCIES:
            self.violations.add(f"{self._field}.steps", f"have more than {MAX_PLAN_DEPENDENCIES} dependencies in all")
        dependents = dependents_of(self._dependencies)
        for cycle in cycles_of(self._dependencies, dependents):
            # One that goes through the plan that runs is told where a new step takes part in it.
            told = next((position for position in cycle if position >= self._first), cycle[0])
            self.violations.add(self._path(told), partial(self._cycle, cycle))
        return tuple(
            LinkedStep(step, _numbers(needed), _numbers(followers), references, conditions)
            for step, needed, followers, references, conditions in zip(
                self._steps,
                self._dependencies[self._first :],
                dependents[self._first :],
                self._references,
                self._conditions,
                strict=True,
            )
        )

    def _path(self, position: int) -> str:
        return f"{self._field}.steps[{position - self._first}]"

    def _check_size(self) -> None:
        total_bytes = sum(map(_input_bytes, self._steps))
        if total_bytes > MAX_PLAN_INPUT_BYTES:
            self.violations.add(
                f"{self._field}.steps",
                f"have inputs of {total_bytes} bytes in all, and at most {MAX_PLAN_INPUT_BYTES} are allowed; "
                "send large texts as documents of the task",
            )

    def _check_name(self, step: PlanStep, position: int, field: str) -> None:
        name = step.name
        if not name:
            self.violations.add(f"{field}.name", f"is empty; {_NAME_RULE}")
        elif not STEP_NAME.fullmatch(name):
            self.violations.add(f"{field}.name", lambda: f"{shown(name)} is no step name; {_NAME_RULE}")
        elif name in RESERVED_STEP_NAMES:
            self.violations.add(f"{field}.name", f"{name!r} is reserved; use another name")
        first = self._positions[name]
        if name and first != position:
            self.violations.add(
                f"{field}.name", lambda: f"{shown(name)} is the name of {self._holder(first)} already; names are unique"
            )

    def _holder(self, position: int) -> str:
        return self._path(position) if position >= self._first else "a step of the plan"

    def _check_agent(self, step: PlanStep, field: str) -> AgentSchema | None:
        known = self._agents.get(step.agent)
        is_possible = not self._closed and AGENT_NAME.fullmatch(step.agent)
        if known is None and not is_possible and not (step.question and not step.agent):
            self.violations.add(f"{field}.agent", lambda: self._unknown_agent(step.agent))
        return known

    def _unknown_agent(self, name: str) -> str:
        known = f"; known agents: {listing(self._agents)}" if self._closed else ""
        if not name:
            return f"is empty; name the agent that runs the step, or give a question to ask a person{known}"
        if not AGENT_NAME.fullmatch(name):
            return f"{shown(name)} is no agent name; {_NAME_RULE}{known}"
        return f"no agent is named {shown(name)}{closest(name, self._agents)}{known}"

    def _follow_after(self, step: PlanStep, position: int, field: str, needed: dict[int, None]) -> None:
        if len(step.after) > MAX_DEPENDENCIES_PER_STEP:
            self.violations.add(
                f"{field}.after", f"has {len(step.after)} entries, and at most {MAX_DEPENDENCIES_PER_STEP} are allowed"
            )
            return
        for index, name in enumerate(step.after):
            self._follow(name, position, needed, f"{field}.after[{index}]")

    def _follow(self, name: str, position: int, needed: dict[int, None], field: str) -> int | None:
        target = self._positions.get(name)
        if target is None or name in RESERVED_STEP_NAMES:
            self.violations.add(field, lambda: self._unknown_step(name))
            return None
        if target == position:
            self.violations.add(field, f"step {shown(name)} depends on itself")
            return None
        needed[target] = None
        return target

    def _unknown_step(self, name: str) -> str:
        if name in RESERVED_STEP_NAMES:
            return f"{name!r} stands for the task itself, which no step can wait for"
        return f"the plan has no step {shown(name)}{closest(name, self._positions)}"

    def _check_input(
        self, step: PlanStep, position: int, field: str, needed: dict[int, None], agent: AgentSchema | None
    ) -> tuple[int, ...]:
        field = f"{field}.input"
        try:
            value = decoded_input(step.input)
        except InvalidArgument as error:
            self.violations.add(field, error.message)
            return ()
        roots: dict[int, None] = {}
        if may_hold_references(step.input):
            well_formed = self._follow_references(value, position, field, needed, roots)
            if not well_formed:
                return tuple(sorted(roots))
            value = with_unknowns(value)
        if agent is not None:
            self._check_fit(agent, value, field)
        return tuple(sorted(roots))

    def _follow_references(
        self, value: Any, position: int, field: str, needed: dict[int, None], roots: dict[int, None]
    ) -> bool:
        """Adds what the input refers to to `needed` and `roots` (0 is the task); False if a reference is malformed."""
        well_formed = True
        for path, text in strings_of(value, field):
            try:
                references = [part for part in parse(text) if isinstance(part, Reference)]
            except Permanent as error:
                self.violations.add(path, error.message)
                well_formed = False
                continue
            for reference in references:
                if reference.root in RESERVED_STEP_NAMES:
                    self._check_task_field(reference, path)
                    roots[0] = None
                    continue
                target = self._follow(reference.root, position, needed, path)
                if target is not None:
                    roots[target + 1] = None
        return well_formed

    def _follow_conditions(
        self, step: PlanStep, position: int, field: str, needed: dict[int, None]
    ) -> tuple[Condition, ...]:
        conditions: list[Condition] = []
        for index, text in enumerate(step.when[:MAX_CONDITIONS]):
            path = f"{field}.when[{index}]"
            try:
                parts = parse(text)
            except Permanent as error:
                self.violations.add(path, error.message)
                continue
            reference = parts[0] if len(parts) == 1 else None
            if not isinstance(reference, Reference):
                self.violations.add(path, f"{shown(text)} is not one reference, such as ${{check.ok}}")
            elif reference.root in RESERVED_STEP_NAMES:
                self._check_task_field(reference, path)
                conditions.append(Condition(reference.path, 0))
            elif (target := self._follow(reference.root, position, needed, path)) is not None:
                conditions.append(Condition(reference.path, target + 1))
        return tuple(conditions)

    def _check_task_field(self, reference: Reference, path: str) -> None:
        named = _FIRST_FIELD.match(reference.path)
        if named and named[1] not in _TASK_FIELDS:
            self.violations.add(path, f"the task has no {shown(named[1])}; use ${{task.goal}} or ${{task.input}}")

    def _check_fit(self, agent: AgentSchema, value: Any, field: str) -> None:
        broken = self._broken_schemas.get(agent.name)
        if broken is None:
            try:
                for path, problem in misfits(agent.input_schema, value, self._allowance):
                    self.violations.add(reduce(below, path, field), f"does not fit agent {agent.name}: {problem}")
            except InvalidArgument as error:
                broken = f"agent {agent.name}: {error.message}"
                if error.reason != COSTLY:
                    self._broken_schemas[agent.name] = broken
        if broken is not None:
            self.violations.add(field, broken)

    def _cycle(self, cycle: list[int]) -> str:
        names = [shown(self._names[position]) for position in cycle]
        if len(names) > MAX_CYCLE_STEPS_SHOWN:
            names[MAX_CYCLE_STEPS_SHOWN:] = [f"({len(names) - MAX_CYCLE_STEPS_SHOWN} more)"]
        path = " -> ".join([*names, names[0]])
        return f"is on a cycle, each step of which depends on the next: {path}; remove one of these dependencies"


def _input_bytes(step: PlanStep) -> int:
    question = step.question
    return len(step.input) + (len(question.answer_schema) + len(question.default_answer) if question else 0)


def decoded_input(data: bytes) -> dict[str, Any]:
    """A step's input as a value. Raises `InvalidArgument` for what no step can have."""
    if len(data) > MAX_INPUT_BYTES:
        raise InvalidArgument(
            f"has {len(data)} bytes, and at most {MAX_INPUT_BYTES} are allowed; "
            "send large texts as documents of the task"
        )
    try:
        value = msgspec.json.decode(data)
    except (ValueError, RecursionError) as error:
        raise InvalidArgument(f"is not valid JSON: {error}") from error
    if not isinstance(value, dict):
        raise InvalidArgument("is not a JSON object; write the agent's parameters as {...}")
    may_be_deep = data.count(b"{") + data.count(b"[") > MAX_INPUT_DEPTH  # most inputs are told from this alone
    if may_be_deep and _depth(value) > MAX_INPUT_DEPTH:
        raise InvalidArgument(f"is nested more than {MAX_INPUT_DEPTH} deep")
    return value


def _depth(value: Any) -> int:
    level, depth = [value], 0
    while level := [item for item in level if isinstance(item, dict | list)]:
        depth += 1
        level = [inner for item in level for inner in (item.values() if isinstance(item, dict) else item)]
    return depth


def _numbers(positions: list[int]) -> tuple[int, ...]:
    return tuple(position + 1 for position in positions)
