"""Plans as messages and as domain values, with the checks that need one step alone.

Whether the steps fit together and fit the agents is `waybill.core.validation`'s to say.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from waybill.api.v1 import task_pb2
from waybill.core.limits import MAX_INPUT_BYTES, MAX_PLAN_INPUT_BYTES, MAX_PLAN_STEPS
from waybill.core.plan import Plan, PlanStep, Question, RetryPolicy
from waybill.core.step_rules import NOT_FOR_QUESTIONS, Defect, range_defects
from waybill.errors import InvalidPlan, Violation
from waybill.rpc.enums import FAILURE_POLICY_FROM_PROTO, FAILURE_POLICY_TO_PROTO
from waybill.rpc.payloads import json_payload, payload_defect

_RETRY = RetryPolicy()
_RUN_TIMEOUT_MS = PlanStep(name="").run_timeout_ms


def plan_from_proto(plan: task_pb2.Plan) -> Plan:
    """The plan, defaults filled in. Raises `InvalidPlan` with every violation of `plan_violations`."""
    violations = plan_violations(plan)
    if violations:
        raise InvalidPlan.of(violations)
    return Plan(tuple(_step_from_proto(step) for step in plan.steps), FAILURE_POLICY_FROM_PROTO[plan.failure_policy])


def plan_to_proto(plan: Plan) -> task_pb2.Plan:
    """The plan as a message, every field set that a step of its kind has."""
    return task_pb2.Plan(
        steps=[_step_to_proto(step) for step in plan.steps],
        failure_policy=FAILURE_POLICY_TO_PROTO[plan.failure_policy],
    )


def steps_from_proto(steps: Iterable[task_pb2.PlanStep]) -> tuple[PlanStep, ...]:
    """Steps, defaults filled in, whatever is wrong with them."""
    return tuple(map(_step_from_proto, steps))


def steps_to_proto(steps: Iterable[PlanStep]) -> list[task_pb2.PlanStep]:
    """Steps as messages."""
    return list(map(_step_to_proto, steps))


def step_violations(steps: Sequence[task_pb2.PlanStep], field: str) -> list[Violation]:
    """What is wrong with payloads, retry policies and times of steps; fields are paths below `field`."""
    return [
        Violation(f"{field}[{position}].{below_step}", problem)
        for position, step in enumerate(steps)
        for below_step, problem in _step_defects(step)
    ]


def plan_violations(plan: task_pb2.Plan) -> list[Violation]:
    """What is wrong with sizes, payloads, retry policies and times; fields are paths such as `plan.steps[2].input`.

    Cheap enough for the edge. What a question's schema allows is checked where plans are linked.
    """
    found = whole_plan_violations(plan)
    if not 1 <= len(plan.steps) <= MAX_PLAN_STEPS:
        return found
    return found + step_violations(plan.steps, "plan.steps")


def whole_plan_violations(plan: task_pb2.Plan) -> list[Violation]:
    """The part of `plan_violations` that is about the plan as a whole, and takes next to no time."""
    count = len(plan.steps)
    if not count:
        return [Violation("plan.steps", "is empty; a plan needs at least one step")]
    if count > MAX_PLAN_STEPS:
        return [Violation("plan.steps", f"has {count} steps, over the limit of {MAX_PLAN_STEPS}; split it")]
    found: list[Violation] = []
    if plan.failure_policy not in FAILURE_POLICY_FROM_PROTO:
        told = f"is {plan.failure_policy}, which is no failure policy; use stop, continue or replan"
        found.append(Violation("plan.failure_policy", told))
    total_bytes = sum(map(_input_bytes, plan.steps)) if plan.ByteSize() > MAX_PLAN_INPUT_BYTES else 0
    if total_bytes > MAX_PLAN_INPUT_BYTES:
        limit = f"over the limit of {MAX_PLAN_INPUT_BYTES}; send large data as documents"
        found.append(Violation("plan.steps", f"the inputs have {total_bytes} bytes in all, {limit}"))
    return found


def _input_bytes(step: task_pb2.PlanStep) -> int:
    asked = step.question
    return len(step.input.data) + len(asked.answer_schema) + len(asked.default_answer.data)


def _step_defects(step: task_pb2.PlanStep) -> Iterator[Defect]:
    defect = payload_defect(step.input, MAX_INPUT_BYTES, must_be_object=True)
    if defect:
        yield "input", defect
    yield from range_defects(_step_from_proto(step))
    if not step.HasField("question"):
        return
    if step.HasField("retry") and _retry_from_proto(step.retry) == _RETRY:
        yield "retry", NOT_FOR_QUESTIONS
    if step.run_timeout_ms == _RUN_TIMEOUT_MS:
        yield "run_timeout_ms", NOT_FOR_QUESTIONS
    if step.question.HasField("default_answer"):
        answer = step.question.default_answer
        defect = payload_defect(answer, MAX_INPUT_BYTES) or ("" if answer.data else "is empty; leave it out for none")
        if defect:
            yield "question.default_answer", defect


def _step_from_proto(step: task_pb2.PlanStep) -> PlanStep:
    return PlanStep(
        name=step.name,
        agent=step.agent,
        input=step.input.data or b"{}",
        after=tuple(step.after),
        retry=_retry_from_proto(step.retry) if step.HasField("retry") else _RETRY,
        run_timeout_ms=step.run_timeout_ms or _RUN_TIMEOUT_MS,
        queue_timeout_ms=step.queue_timeout_ms,
        question=question_from_proto(step.question) if step.HasField("question") else None,
        when=tuple(step.when),
        allow_skipped=step.allow_skipped,
        limits=tuple(step.limits),
    )


def _retry_from_proto(retry: task_pb2.RetryPolicy) -> RetryPolicy:
    def given(field: str) -> bool:
        return retry.HasField(field)  # type: ignore[arg-type]

    return RetryPolicy(
        max_attempts=retry.max_attempts or _RETRY.max_attempts,
        initial_backoff_ms=retry.initial_backoff_ms if given("initial_backoff_ms") else _RETRY.initial_backoff_ms,
        max_backoff_ms=retry.max_backoff_ms if given("max_backoff_ms") else _RETRY.max_backoff_ms,
        multiplier=retry.multiplier if given("multiplier") else _RETRY.multiplier,
        jitter=retry.jitter if given("jitter") else _RETRY.jitter,
        final_reasons=tuple(retry.final_reasons),
    )


def question_from_proto(question: task_pb2.Question) -> Question:
    """The question of a message."""
    return Question(question.prompt, question.answer_schema, question.timeout_ms, question.default_answer.data)


def question_to_proto(question: Question) -> task_pb2.Question:
    """The question as a message; a default answer only if there is one."""
    return task_pb2.Question(
        prompt=question.prompt,
        answer_schema=question.answer_schema,
        timeout_ms=question.timeout_ms,
        default_answer=json_payload(question.default_answer) if question.default_answer else None,
    )


def _step_to_proto(step: PlanStep) -> task_pb2.PlanStep:
    message = task_pb2.PlanStep(
        name=step.name,
        agent=step.agent,
        input=json_payload(step.input),
        after=step.after,
        when=step.when,
        allow_skipped=step.allow_skipped,
        limits=step.limits,
    )
    if step.question is not None:
        message.question.CopyFrom(question_to_proto(step.question))
    # A step that asks a person has none of the following; what it wrongly has is kept, so that it is refused.
    if step.question is None or step.retry != _RETRY:
        message.retry.CopyFrom(_retry_to_proto(step.retry))
    if step.question is None or step.run_timeout_ms != _RUN_TIMEOUT_MS:
        message.run_timeout_ms = step.run_timeout_ms
    message.queue_timeout_ms = step.queue_timeout_ms
    return message


def _retry_to_proto(retry: RetryPolicy) -> task_pb2.RetryPolicy:
    return task_pb2.RetryPolicy(
        max_attempts=retry.max_attempts,
        initial_backoff_ms=retry.initial_backoff_ms,
        max_backoff_ms=retry.max_backoff_ms,
        multiplier=retry.multiplier,
        jitter=retry.jitter,
        final_reasons=retry.final_reasons,
    )
