"""Plans written in Python: a builder whose code reads like the graph that it makes.

    plan = PlanBuilder()
    find = plan.step("find", retriever, question=plan.task.input.question)
    judge = plan.step("judge", analyst, question=plan.task.input.question, passages=find.output.passages)
    plan.step("report", writer, goal="Tides", sections=[judge])
    task = await client.submit(plan=plan, input={"question": "What is a tide?"})

Texts in inputs are read as in plan files: `${find.title}` in one is a reference. Text that comes from elsewhere goes
through `literal`, or through the task's own input.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import reduce
from typing import TYPE_CHECKING, Any

import msgspec

from waybill.core.limits import RESERVED_STEP_NAMES, STEP_NAME
from waybill.core.plan import AgentSchema, FailurePolicy, Plan, PlanStep, Question, RetryPolicy
from waybill.core.plan_writing import plan_json, plan_yaml
from waybill.core.references import MAX_INPUT_DEPTH, below, escape
from waybill.core.schema import misfits, with_unknowns
from waybill.core.validation import link
from waybill.core.violations import shown
from waybill.errors import InvalidPlan, Permanent, Violation

if TYPE_CHECKING:
    from waybill.agent import AgentDefinition

_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_STEP = PlanStep(name="")


class Reference:
    """What a step will have returned, or a part of it: `find.output.documents[0].title`.

    `reference["odd key"]` names any member, `reference[1:]` a part of a list, and `reference | "length(@)"` applies
    JMESPath. In a text it stands for itself: `f"About {find.output.title}"`.
    """

    __slots__ = ("_expression",)
    __iter__ = None
    __contains__ = None

    def __init__(self, expression: str) -> None:
        self._expression = expression

    def __getattr__(self, name: str) -> Reference:
        if name.startswith("__"):  # Python asks for these by itself, as when it copies
            raise AttributeError(name)
        return self[name]

    def __getitem__(self, part: str | int | slice) -> Reference:
        if isinstance(part, str):
            named = part if _IDENTIFIER.fullmatch(part) else msgspec.json.encode(part).decode()
            return Reference(f"{self._expression}.{named}")
        if isinstance(part, slice):
            bounds = [part.start, part.stop, *([] if part.step is None else [part.step])]
            return Reference(f"{self._expression}[{':'.join('' if bound is None else str(bound) for bound in bounds)}]")
        return Reference(f"{self._expression}[{int(part)}]")

    def __or__(self, jmespath: str) -> Reference:
        return Reference(f"{self._expression} | {jmespath}")

    def __str__(self) -> str:
        return f"${{{self._expression}}}"

    def __repr__(self) -> str:
        return f"Reference({self._expression!r})"

    def __bool__(self) -> bool:
        raise TypeError(f"{self} is known only when the plan runs: make it a condition of a step, as in when=[...]")


class TaskReference:
    """The task that the plan will be run for: `plan.task.goal`, `plan.task.input.question`."""

    goal = Reference("task.goal")
    input = Reference("task.input")


class Step:
    """A step of a plan that is being built: a handle for those that come after it. `step["title"]` is a part of what
    it returns, `step` itself, among the inputs of another, all of it.
    """

    __slots__ = ("name", "output")
    __iter__ = None
    __contains__ = None

    def __init__(self, name: str) -> None:
        self.name = name
        self.output = Reference(name)

    def __getitem__(self, part: str | int | slice) -> Reference:
        return self.output[part]

    def __str__(self) -> str:
        return str(self.output)

    def __repr__(self) -> str:
        return f"Step({self.name!r})"


class PlanBuilder:
    """A plan that is being built, step by step; what can be known to be wrong with a step is an error at once."""

    task = TaskReference()

    def __init__(self, *, failure_policy: FailurePolicy | str = FailurePolicy.STOP) -> None:
        self._failure_policy = FailurePolicy(failure_policy)
        self._steps: dict[str, PlanStep] = {}
        self._agents: dict[str, AgentSchema] = {}

    def step(
        self,
        name: str,
        agent: str | AgentDefinition,
        /,
        *,
        input: Mapping[str, Any] | None = None,
        after: Iterable[Step | str] = (),
        when: Iterable[Reference | str] = (),
        allow_skipped: bool = False,
        retry: RetryPolicy | None = None,
        run_timeout_ms: int = _STEP.run_timeout_ms,
        queue_timeout_ms: int = 0,
        limits: Iterable[str] = (),
        **parameters: Any,
    ) -> Step:
        """Add a step that runs an agent, given by its name or as what `@agent` made, and return its handle.

        The agent's parameters are keywords; those that are called like an argument of this method go into `input`.
        References in them, and `after`, are what the step waits for. An agent given as itself has its input checked at
        once. Raises `InvalidPlan`.
        """
        definition = None if isinstance(agent, str) else agent
        made = PlanStep(
            name=name,
            agent=agent if isinstance(agent, str) else agent.name,
            input=self._input(name, {**(input or {}), **parameters}),
            after=_names(after),
            when=tuple(map(str, _listed(when, "when"))),
            allow_skipped=allow_skipped,
            retry=retry or _STEP.retry,
            run_timeout_ms=run_timeout_ms,
            queue_timeout_ms=queue_timeout_ms,
            limits=tuple(_listed(limits, "limits")),
        )
        if definition is not None:
            self._check_input(made, definition)
        return self._add(made)

    def ask(
        self,
        name: str,
        prompt: str,
        /,
        *,
        schema: Mapping[str, Any] | bool | None = None,
        timeout_ms: int = 0,
        default: Any = msgspec.UNSET,
        input: Mapping[str, Any] | None = None,
        after: Iterable[Step | str] = (),
        when: Iterable[Reference | str] = (),
        allow_skipped: bool = False,
        **shown_beside: Any,
    ) -> Step:
        """Add a step that asks a person, and return its handle: the answer is its output.

        `schema` is the JSON Schema of the answer, `default` the answer if none comes in time; the other keywords are
        what the person is shown beside the question. Raises `InvalidPlan`.
        """
        question = Question(
            prompt,
            "" if schema is None else self._json(name, "question.answer_schema", schema).decode(),
            timeout_ms,
            b"" if default is msgspec.UNSET else self._json(name, "question.default_answer", default),
        )
        made = PlanStep(
            name=name,
            question=question,
            input=self._input(name, {**(input or {}), **shown_beside}),
            after=_names(after),
            when=tuple(map(str, _listed(when, "when"))),
            allow_skipped=allow_skipped,
        )
        return self._add(made)

    @staticmethod
    def literal(value: Any) -> Any:
        """A JSON value for an input, such as a text from elsewhere, in which no `${` is a reference. It has to stand by
        itself: joined with other text it may become one.
        """
        if isinstance(value, str):
            return escape(value)
        if isinstance(value, Mapping):
            return {key: PlanBuilder.literal(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [PlanBuilder.literal(item) for item in value]
        return value

    def build(self) -> Plan:
        """The plan. Raises `InvalidPlan` with all that is wrong: references to no step, cycles, caps, what does not fit
        the agents that are known here; agents known by name alone are checked when the plan is submitted.
        """
        plan = Plan(tuple(self._steps.values()), self._failure_policy)
        link(plan, self._agents, closed=False)
        return plan

    def to_json(self) -> str:
        """The plan as the text of a plan file in JSON. Raises as `build`."""
        return plan_json(self.build())

    def to_yaml(self) -> str:
        """The plan as the text of a plan file in YAML. Raises as `build`."""
        return plan_yaml(self.build())

    def __iter__(self) -> Iterator[Step]:
        return map(Step, self._steps)

    def __getitem__(self, name: str) -> Step:
        if name not in self._steps:
            raise KeyError(name)
        return Step(name)

    def _add(self, step: PlanStep) -> Step:
        if step.name in self._steps:
            raise self._invalid(f"{shown(step.name)} is the name of a step already; names are unique", "name")
        if not STEP_NAME.fullmatch(step.name) or step.name in RESERVED_STEP_NAMES:
            rule = 'use a lower-case letter, then up to 63 of a-z, 0-9, "_" and "-", and not "task"'
            raise self._invalid(f"{shown(step.name)} is no step name; {rule}", "name")
        self._steps[step.name] = step
        return Step(step.name)

    def _check_input(self, step: PlanStep, agent: AgentDefinition) -> None:
        known = AgentSchema(agent.name, agent.description, agent.input_schema, agent.output_schema, agent.max_batch)
        if self._agents.setdefault(agent.name, known) != known:
            raise self._invalid(f"another agent is named {agent.name} in this plan", "agent")
        try:
            wrong = misfits(known.input_schema, with_unknowns(msgspec.json.decode(step.input)))
        except Permanent as error:
            raise self._invalid(error.message, "input") from error
        if wrong:
            place = f"plan.steps[{len(self._steps)}].input"
            raise InvalidPlan.of(
                [
                    Violation(reduce(below, path, place), f"does not fit agent {agent.name}: {problem}")
                    for path, problem in wrong
                ]
            )

    def _input(self, name: str, parameters: dict[str, Any]) -> bytes:
        return self._json(name, "input", parameters)

    def _json(self, name: str, field: str, value: Any) -> bytes:
        try:
            return msgspec.json.encode(_written(value, 0))
        except (TypeError, ValueError, OverflowError, RecursionError) as error:
            raise self._invalid(f"of step {shown(name)} has no JSON form: {str(error)[:200]}", field) from error

    def _invalid(self, problem: str, field: str) -> InvalidPlan:
        return InvalidPlan.of([Violation(f"plan.steps[{len(self._steps)}].{field}", problem)])


def _written(value: Any, depth: int) -> Any:
    """The value with handles and references as the texts that stand for them; models as their JSON values."""
    if isinstance(value, Step | Reference):
        return str(value)
    if depth > MAX_INPUT_DEPTH:
        raise ValueError(f"it is nested more than {MAX_INPUT_DEPTH} deep")
    if isinstance(value, Mapping):
        return {_key(key): _written(item, depth + 1) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_written(item, depth + 1) for item in value]
    dump = getattr(value, "model_dump", None)
    return dump(mode="json") if dump is not None else value


def _key(key: Any) -> str:
    if not isinstance(key, str):
        raise TypeError(f"a key is {type(key).__name__}, and must be a text")
    return key


def _names(steps: Iterable[Step | str]) -> tuple[str, ...]:
    return tuple(step if isinstance(step, str) else step.name for step in _listed(steps, "after"))


def _listed(values: Any, argument: str) -> Sequence[Any]:
    if isinstance(values, str | Step | Reference):
        raise TypeError(f"{argument} is a list: write {argument}=[...]")
    return tuple(values)
