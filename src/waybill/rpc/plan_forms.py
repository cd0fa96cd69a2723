"""Plans written as JSON or YAML: the forms that plan files, HTTP bodies and models fill in. Strict, as all forms.

What is said of each field here becomes part of the JSON Schema of plans. Patterns in `extra_json_schema` help editors;
what they say is checked where plans are linked, which tells more of what is wrong.
"""

from __future__ import annotations

from typing import Annotated

from msgspec import UNSET, Meta, Raw, UnsetType, field

from waybill.api.v1 import task_pb2
from waybill.core.limits import (
    AGENT_NAME,
    LIMIT_KEY,
    MAX_ANSWER_TIMEOUT_MS,
    MAX_CONDITIONS,
    MAX_FINAL_REASONS,
    MAX_LIMIT_KEYS,
    MAX_PLAN_STEPS,
    MAX_PROMPT_CHARS,
    MAX_QUEUE_TIMEOUT_MS,
    STEP_NAME,
)
from waybill.core.plan import FailurePolicy
from waybill.core.step_rules import MAX_ATTEMPTS, MAX_BACKOFF_MS, MAX_INITIAL_BACKOFF_MS, MAX_RUN_TIMEOUT_MS, REASON
from waybill.rpc.enums import FAILURE_POLICY_TO_PROTO
from waybill.rpc.payloads import json_payload
from waybill.rpc.strict import Strict

SCHEMA_KEY = "$schema"
"""The member by which a file names its schema for editors; it says nothing else."""


def _all_of(pattern: str) -> dict[str, str]:
    return {"pattern": f"^(?:{pattern})$"}


_StepName = Annotated[str, Meta(extra_json_schema=_all_of(STEP_NAME.pattern))]
_Reason = Annotated[str, Meta(extra_json_schema=_all_of(REASON.pattern))]
_LimitKey = Annotated[str, Meta(extra_json_schema=_all_of(LIMIT_KEY.pattern))]
_BackoffMs = Annotated[int, Meta(ge=0, le=MAX_BACKOFF_MS)]
_InitialBackoffMs = Annotated[int, Meta(ge=0, le=MAX_INITIAL_BACKOFF_MS)]
_Multiplier = Annotated[float, Meta(ge=1.0, le=10.0)]
_Jitter = Annotated[float, Meta(ge=0.0, le=1.0)]


class RetryForm(Strict):
    """When and how often a failed step is tried again."""

    max_attempts: Annotated[
        int, Meta(ge=1, le=MAX_ATTEMPTS, description="Attempts in all, the first one included. Default: 3.")
    ] = 0
    initial_backoff_ms: Annotated[
        _InitialBackoffMs | None, Meta(description="Milliseconds before the second attempt. Default: 500.")
    ] = None
    max_backoff_ms: Annotated[
        _BackoffMs | None, Meta(description="Most milliseconds between two attempts. Default: 30,000.")
    ] = None
    multiplier: Annotated[
        _Multiplier | None, Meta(description="How much longer each wait is than the one before. Default: 2.")
    ] = None
    jitter: Annotated[
        _Jitter | None, Meta(description="Largest part of a wait that is taken off at random. Default: 0.5.")
    ] = None
    final_reasons: Annotated[
        list[_Reason],
        Meta(
            description='Failure reasons after which no other attempt is made, such as "TIMEOUT".',
            extra_json_schema={"maxItems": MAX_FINAL_REASONS},
        ),
    ] = field(default_factory=list)


class QuestionForm(Strict):
    """What a step asks a person. The answer is the step's output."""

    prompt: Annotated[
        str,
        Meta(
            description="What is asked.",
            extra_json_schema={"minLength": 1, "maxLength": MAX_PROMPT_CHARS},
        ),
    ]
    answer_schema: Annotated[
        Raw | UnsetType,
        Meta(
            description="JSON Schema that the answer has to fit. Default: any JSON value will do.",
            extra_json_schema={"type": ["object", "boolean"]},
        ),
    ] = UNSET
    timeout_ms: Annotated[
        int,
        Meta(
            ge=0,
            le=MAX_ANSWER_TIMEOUT_MS,
            description="Milliseconds to wait for the answer. Default: as long as it takes.",
        ),
    ] = 0
    default_answer: Annotated[
        Raw | UnsetType,
        Meta(description="The answer if none has come in time. Default: none, and the step fails with ANSWER_TIMEOUT."),
    ] = UNSET


class StepForm(Strict):
    """One step. It runs an agent or asks a question."""

    name: Annotated[_StepName, Meta(description="Unique in the plan; references call the step by it.")]
    agent: Annotated[
        str,
        Meta(description="Agent that runs the step.", extra_json_schema=_all_of(f"({AGENT_NAME.pattern})?")),
    ] = ""
    input: Annotated[
        Raw | UnsetType,
        Meta(
            description="Parameters of the agent, or what a person is shown beside a question. Texts may refer to what "
            "earlier steps returned, as in ${find.documents[0].title}, and to ${task.goal} and ${task.input}; each "
            "reference is a dependency. Write $${ for a literal ${.",
            extra_json_schema={"type": "object"},
        ),
    ] = UNSET
    after: Annotated[
        list[_StepName],
        Meta(description="Names of steps that have to succeed first although the input does not refer to them."),
    ] = field(default_factory=list)
    retry: Annotated[
        RetryForm | None, Meta(description="When and how often a failed attempt is followed by another.")
    ] = None
    run_timeout_ms: Annotated[
        int,
        Meta(
            ge=1,
            le=MAX_RUN_TIMEOUT_MS,
            description="Milliseconds that one attempt may run. Default: 300,000 (5 minutes).",
        ),
    ] = 0
    queue_timeout_ms: Annotated[
        int,
        Meta(
            ge=0,
            le=MAX_QUEUE_TIMEOUT_MS,
            description="Milliseconds that the step may wait for a worker. Default: as long as it takes.",
        ),
    ] = 0
    question: Annotated[QuestionForm | None, Meta(description="What a person is asked, in place of an agent.")] = None
    when: Annotated[
        list[str],
        Meta(
            description="Conditions, each one reference such as ${check.ok}. Unless all hold, the step is skipped.",
            extra_json_schema={"maxItems": MAX_CONDITIONS},
        ),
    ] = field(default_factory=list)
    allow_skipped: Annotated[
        bool, Meta(description="Whether it runs although a step that it depends on was skipped by a condition.")
    ] = False
    limits: Annotated[
        list[_LimitKey],
        Meta(
            description="Keys that limit how many such steps run at once.",
            extra_json_schema={"maxItems": MAX_LIMIT_KEYS, "uniqueItems": True},
        ),
    ] = field(default_factory=list)


class PlanForm(Strict):
    """The graph of the steps of a task."""

    steps: Annotated[
        list[StepForm],
        Meta(
            description="The steps. The task returns the output of the last one, or, of several that nothing depends "
            "on, an object of their outputs by name.",
            extra_json_schema={"minItems": 1, "maxItems": MAX_PLAN_STEPS},
        ),
    ]
    failure_policy: Annotated[
        FailurePolicy,
        Meta(
            description="What becomes of the other steps when one fails for good: they are stopped; those that do not "
            "depend on it go on; or the planner is asked for a revision of the plan."
        ),
    ] = FailurePolicy.STOP


def plan_of_form(plan: PlanForm) -> task_pb2.Plan:
    """The plan that a form stands for."""
    return task_pb2.Plan(
        steps=[_step(step) for step in plan.steps], failure_policy=FAILURE_POLICY_TO_PROTO[plan.failure_policy]
    )


def inline_payload(value: Raw | UnsetType) -> task_pb2.Payload | None:
    """What stands inline in the JSON, as a payload; None if nothing does."""
    return json_payload(bytes(value)) if isinstance(value, Raw) else None


def _step(step: StepForm) -> task_pb2.PlanStep:
    return task_pb2.PlanStep(
        name=step.name,
        agent=step.agent,
        input=inline_payload(step.input),
        after=step.after,
        retry=_retry(step.retry) if step.retry is not None else None,
        run_timeout_ms=step.run_timeout_ms,
        queue_timeout_ms=step.queue_timeout_ms,
        question=_question(step.question) if step.question is not None else None,
        when=step.when,
        allow_skipped=step.allow_skipped,
        limits=step.limits,
    )


def _retry(retry: RetryForm) -> task_pb2.RetryPolicy:
    return task_pb2.RetryPolicy(
        max_attempts=retry.max_attempts,
        initial_backoff_ms=retry.initial_backoff_ms,
        max_backoff_ms=retry.max_backoff_ms,
        multiplier=retry.multiplier,
        jitter=retry.jitter,
        final_reasons=retry.final_reasons,
    )


def _question(question: QuestionForm) -> task_pb2.Question:
    return task_pb2.Question(
        prompt=question.prompt,
        answer_schema=bytes(question.answer_schema).decode() if isinstance(question.answer_schema, Raw) else "",
        timeout_ms=question.timeout_ms,
        default_answer=inline_payload(question.default_answer),
    )
