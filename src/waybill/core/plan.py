"""The plan: a graph of steps, as data. `waybill.core.validation` checks one and links it into a `Graph`."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol, runtime_checkable


class FailurePolicy(StrEnum):
    """What a plan does when one of its steps fails for good."""

    STOP = "stop"
    """Its other steps are cancelled."""
    CONTINUE = "continue"
    """What does not depend on the failed step goes on; what does is skipped."""
    REPLAN = "replan"
    """The planner is asked for a revision that does without the failed step; without one it is as with STOP."""


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """When and how often a failed step is tried again. Times in milliseconds.

    `jitter` is the largest part of a wait that is taken off at random; after a failure with one of `final_reasons` no
    other attempt is made.
    """

    max_attempts: int = 3
    initial_backoff_ms: int = 500
    max_backoff_ms: int = 30_000
    multiplier: float = 2.0
    jitter: float = 0.5
    final_reasons: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Question:
    """What a step asks a person. `answer_schema` is JSON text, empty for any value; `timeout_ms` 0 waits for ever;
    `default_answer` is JSON text, empty if there is none: then a wait that is over fails the step.
    """

    prompt: str
    answer_schema: str = ""
    timeout_ms: int = 0
    default_answer: bytes = b""


@dataclass(frozen=True, slots=True)
class PlanStep:
    """One step as its author wrote it. `input` is JSON text, references unresolved, and stays bytes.

    It either runs `agent` or asks `question`. `queue_timeout_ms` 0 waits for a worker as long as it takes. `when` are
    conditions, each one reference: unless all hold the step is skipped, as it is where something it depends on was
    skipped by a condition, except with `allow_skipped`. `limits` are keys that limit how many such steps run.
    """

    name: str
    agent: str = ""
    input: bytes = b"{}"
    after: tuple[str, ...] = ()
    retry: RetryPolicy = RetryPolicy()
    run_timeout_ms: int = 300_000
    queue_timeout_ms: int = 0
    question: Question | None = None
    when: tuple[str, ...] = ()
    allow_skipped: bool = False
    limits: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Plan:
    """The steps of a task, in the order their author gave them."""

    steps: tuple[PlanStep, ...]
    failure_policy: FailurePolicy = FailurePolicy.STOP


@runtime_checkable
class PlanSource(Protocol):
    """What makes a plan when it is submitted, such as a builder."""

    def build(self) -> Plan:
        """The plan. Raises `InvalidPlan`."""
        ...


@dataclass(frozen=True, slots=True)
class Condition:
    """One of a step's conditions: JMESPath on the output of step `number`, or on the task itself for 0."""

    path: str
    number: int


@dataclass(frozen=True, slots=True)
class LinkedStep:
    """A step with its edges as positions in the plan, counted from 1.

    `references` are the positions whose outputs the input refers to, a subset of `dependencies`, and 0 for the
    task itself (`${task.goal}`, `${task.input}`), which is no dependency. `conditions` are the step's `when`.
    """

    step: PlanStep
    dependencies: tuple[int, ...]
    dependents: tuple[int, ...]
    references: tuple[int, ...]
    conditions: tuple[Condition, ...] = ()


@dataclass(frozen=True, slots=True)
class Graph:
    """A valid plan with its edges. Step number i (from 1) is `steps[i - 1]`."""

    steps: tuple[LinkedStep, ...]
    failure_policy: FailurePolicy = FailurePolicy.STOP


@dataclass(frozen=True, slots=True)
class AgentSchema:
    """What a plan is checked against: an agent's name and JSON Schemas (JSON text; output may be empty)."""

    name: str
    description: str
    input_schema: str
    output_schema: str = ""
    max_batch: int = 1
